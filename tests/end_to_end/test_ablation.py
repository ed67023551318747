"""Many short trainings that differ in one choice, from the shell."""

import pytest
from commands import TINY, run, run_here, same_bits

ROWS = "turns: {INPUT: {ROT90: {ENABLED: True}}}\nno-erasing: {INPUT: {REA: {ENABLED: False}}}\n"


def ablate(drawings, folder, *options, settings=(), rows=ROWS):
    (folder / "rows.yml").write_text(rows)
    named = ("--config-file", TINY, "--rows", "rows.yml", *options)
    settings = ("DATASETS.ROOT", drawings, "OUTPUT_DIR", "out", *settings)
    return run_here("ablate.py", *named, *settings, folder=folder)


@pytest.fixture(scope="module")
def done(drawings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    code, output, errors = ablate(drawings, folder, "--only", "turns", "--seeds", "0,1", "--keep-weights")
    assert code == 0, output + errors
    return folder, output


def test_each_row_is_trained_once_for_each_seed_and_compared(done, drawings, trained):
    folder, output = done
    assert "run 4 of 4: row 'turns', seed 1, in out/turns/seed1" in output
    assert same_bits(folder / "out/ground/seed0/model_final.pth", trained / "model_final.pth")
    assert not same_bits(folder / "out/turns/seed0/model_final.pth", trained / "model_final.pth")
    table = (folder / "out/rows.md").read_text()
    assert [line.split()[1] for line in table.splitlines()[2:]] == ["ground", "turns"]
    assert table in output


def test_what_is_done_is_not_done_again_new_rows_join_and_one_that_fails_does_not_stop_the_others(done, drawings):
    folder, _ = done
    before = (folder / "out/turns/seed0/model_final.pth").stat().st_mtime_ns
    rows = "explodes: {SOLVER: {OPT: SGD, BASE_LR: 1.0e+30}}\n" + ROWS
    code, output, errors = ablate(drawings, folder, "--seeds", "0", rows=rows)
    assert (code, errors.count("\n")) == (4, 1)
    assert "1 of 2 runs failed and are not in the table; the same command tries them again. row 'explodes'" in errors
    assert "run 2 of 2: row 'no-erasing', seed 0" in output
    assert (folder / "out/turns/seed0/model_final.pth").stat().st_mtime_ns == before
    assert not list((folder / "out/no-erasing").rglob("*.pth"))
    table = [line.split()[1:4:2] for line in (folder / "out/rows.md").read_text().splitlines()[2:]]
    assert table == [["ground", "2"], ["turns", "2"], ["no-erasing", "1"]]


def test_a_run_by_other_settings_is_not_taken_for_this_one(done, drawings):
    folder, _ = done
    code, _, errors = ablate(drawings, folder, "--seeds", "0", "--only", "turns", settings=("SOLVER.BASE_LR", 0.01))
    assert (code, errors.count("\n")) == (2, 1)
    assert "out/ground/seed0 holds a run by other settings (SOLVER.BASE_LR was 0.001 and is 0.01); remove it" in errors


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        (ROWS, ("--seeds", "0,0"), "argument --seeds: 0,0: a seed stands twice"),
        (ROWS, ("--seeds", "0,x"), "argument --seeds: '0,x' is no list of seeds; write whole numbers"),
        (ROWS, ("--resume",), "an ablation always goes on where it was stopped"),
        (ROWS, ("--eval-only",), "an ablation trains each row"),
        (ROWS, ("--only", "turn"), "no row is called 'turn'"),
        ("bad: {INPUT: {TRUN: {ENABLED: True}}}\n", (), "row 'bad': no setting is called 'INPUT.TRUN.ENABLED'"),
    ],
)
def test_a_wrong_start_is_one_line_before_anything_is_trained(rows, options, told, drawings, tmp_path):
    code, _, errors = ablate(drawings, tmp_path, *options, rows=rows)
    assert (code, len(errors.splitlines())) == (2, 1)
    assert told in errors
    assert not (tmp_path / "out").exists()


def test_two_processes_share_each_run(drawings, tmp_path):
    (tmp_path / "rows.yml").write_text(ROWS)
    named = ("--config-file", TINY, "--rows", "rows.yml", "--seeds", 0, "--only", "turns", "--num-gpus", 2)
    settings = ("DATASETS.ROOT", drawings, "OUTPUT_DIR", "out", "SOLVER.MAX_EPOCH", 1)
    code, output, errors = run("ablate.py", *named, *settings, folder=tmp_path)
    assert code == 0, output + errors
    assert len((tmp_path / "out/rows.md").read_text().splitlines()) == 4
    assert not list(tmp_path.rglob("*.pth"))
