"""Run ablations from the command line."""

import pytest
from commands import TINY, run, run_here, same_bits

VARIANTS = "rotations: {INPUT: {LINE_AUG: {OPS: [rot90]}}}\nno-erasing: {INPUT: {REA: {ENABLED: False}}}\n"


def ablate(drawings, folder, *options, settings=(), variants=VARIANTS):
    (folder / "variants.yml").write_text(variants)
    options = ("--config-file", TINY, "--variants", "variants.yml", *options)
    settings = ("DATASETS.ROOT", drawings, "OUTPUT_DIR", "out", "TEST.NUM_VISUALIZED_QUERIES", 0, *settings)
    return run_here("ablate", *options, *settings, folder=folder)


@pytest.fixture(scope="module")
def finished(drawings, tmp_path_factory):
    """Return the folder and output of an ablation with one variant and two seeds."""
    folder = tmp_path_factory.mktemp("ablation")
    code, output, errors = ablate(drawings, folder, "--only", "rotations", "--seeds", "0,1", "--keep-weights")
    assert code == 0, output + errors
    return folder, output


def test_each_variant_is_trained_per_seed_and_compared(finished, drawings, trained):
    folder, output = finished
    assert "run 4 of 4: variant 'rotations', seed 1, in out/rotations/seed1" in output
    assert same_bits(folder / "out/baseline/seed0/model_final.pth", trained / "model_final.pth")
    assert not same_bits(folder / "out/rotations/seed0/model_final.pth", trained / "model_final.pth")
    table = (folder / "out/variants.md").read_text()
    assert [line.split()[1] for line in table.splitlines()[2:]] == ["baseline", "rotations"]
    assert table in output


def test_finished_runs_are_kept_and_failures_do_not_stop_others(finished, drawings):
    folder, _ = finished
    before = (folder / "out/rotations/seed0/model_final.pth").stat().st_mtime_ns
    variants = "explodes: {SOLVER: {OPT: SGD, BASE_LR: 1.0e+30}}\n" + VARIANTS
    code, output, errors = ablate(drawings, folder, "--seeds", "0", variants=variants)
    assert (code, errors.count("\n")) == (4, 1)
    assert (
        "1 of 2 runs failed and are not in the table; run the same command again to repeat them. variant 'explodes'"
        in errors
    )
    assert "run 2 of 2: variant 'no-erasing', seed 0" in output
    assert (folder / "out/rotations/seed0/model_final.pth").stat().st_mtime_ns == before
    assert not list((folder / "out/no-erasing").rglob("*.pth"))
    table = [line.split()[1:4:2] for line in (folder / "out/variants.md").read_text().splitlines()[2:]]
    assert table == [["baseline", "2"], ["rotations", "2"], ["no-erasing", "1"]]


def test_run_with_other_settings_is_rejected(finished, drawings):
    folder, _ = finished
    code, _, errors = ablate(drawings, folder, "--seeds", "0", "--only", "rotations", settings=("SOLVER.BASE_LR", 0.01))
    assert (code, errors.count("\n")) == (2, 1)
    assert (
        "out/baseline/seed0 contains a run with other settings (SOLVER.BASE_LR was 0.001 and is 0.01); remove it"
        in errors
    )


@pytest.mark.parametrize(
    ("variants", "options", "message"),
    [
        (VARIANTS, ("--seeds", "0,0"), "argument --seeds: '0,0' contains 0 twice; give each item once"),
        (VARIANTS, ("--seeds", "0,x"), "argument --seeds: '0,x' is invalid; it must be items separated by commas"),
        (VARIANTS, ("--resume",), "unknown option '--resume'"),
        (VARIANTS, ("--eval-only",), "unknown option '--eval-only'"),
        (VARIANTS, ("--only", "turn"), "no variant is named 'turn'"),
        ("bad: {INPUT: {TRUN: {ENABLED: True}}}\n", (), "variant 'bad': unknown setting 'INPUT.TRUN.ENABLED'"),
    ],
)
def test_invalid_command_is_one_line_before_training(variants, options, message, drawings, tmp_path):
    code, _, errors = ablate(drawings, tmp_path, *options, variants=variants)
    assert (code, len(errors.splitlines())) == (2, 1)
    assert message in errors
    assert not (tmp_path / "out").exists()


def test_two_processes_share_each_run(drawings, tmp_path):
    (tmp_path / "variants.yml").write_text(VARIANTS)
    options = (
        "--config-file",
        TINY,
        "--variants",
        "variants.yml",
        "--seeds",
        0,
        "--only",
        "rotations",
        "--num-gpus",
        2,
    )
    settings = ("DATASETS.ROOT", drawings, "OUTPUT_DIR", "out", "SOLVER.MAX_EPOCH", 1)
    code, output, errors = run("ablate", *options, *settings, folder=tmp_path)
    assert code == 0, output + errors
    assert len((tmp_path / "out/variants.md").read_text().splitlines()) == 4
    assert not list(tmp_path.rglob("*.pth"))
