"""Plan ablations and handle their results, without training."""

import signal
from pathlib import Path

import numpy as np
import pytest
import tiny_backbone

from fastreid.evaluation.reporting.results import write_per_query_table
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.experiments import ablation as ablation_module
from fastreid.experiments.ablation import Ablation, run_or_record_failure
from fastreid.experiments.variants import Variant
from fastreid.utils.cli import StoppedBySignalError, UserFacingError
from fastreid.utils.errors import InputError, NumericalError, StorageError, WeightsError

TINY = Path(tiny_backbone.__file__).with_name("tiny.yml")
ROTATIONS = Variant("rotations", ("INPUT.LINE_AUG.OPS", ["rot90"]))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("drawings")


@pytest.fixture
def ablation(root, tmp_path):
    """Return a function that creates an ablation of variants in `tmp_path`."""

    def make(*variants, settings=()):
        few = ["DATASETS.GENERATED.NUM_TRAIN_PATENTS", "6", "DATASETS.GENERATED.NUM_TEST_PATENTS", "2"]
        opts = ["DATASETS.ROOT", str(root), "OUTPUT_DIR", str(tmp_path / "out"), *few, *settings]
        return Ablation(TINY, opts, [Variant("baseline"), *variants])

    return make


def finish(run, value=50.0):
    """Write the files of a finished run whose queries all have the score `value`."""
    patents, metrics = ("a", "a", "b"), ("mAP", "mAP@10", "Rank-1")
    count = len(patents)
    scores = QueryScores(
        {name: np.full(count, value) for name in metrics}, np.arange(count), np.ones(count, int), np.ones(count), {}
    )
    write_per_query_table(run.folder / "queries.csv", scores, names=list(patents), patents=list(patents))
    (run.folder / "config.yaml").write_text(run.cfg.dump())


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("TEST.TOP_K", 5, "TEST.SELECT_BY", "mAP@5"), "TEST.TOP_K was 10 and is 5, so its scores are not comparable"),
        (("TEST.SCORE.NORMALIZER", "found"), "TEST.SCORE.NORMALIZER was 'min' and is 'found'"),
        (("DATASETS.TESTS", ("Patent",)), "DATASETS.TESTS was"),
        (("SOLVER.MAX_EPOCH", 3), "changes nothing: its settings equal the baseline's"),
        (
            ("DATALOADER.NUM_INSTANCE", 5),
            r"SOLVER.IMS_PER_BATCH is 16; it must be a multiple of DATALOADER.NUM_INSTANCE \(5\)",
        ),
        (("TEST.SELECT_BY", "mAP@5"), "TEST.SELECT_BY 'mAP@5' is unknown"),
        (("INPUT.CROP.ENABLED", True), "INPUT.CROP.SIZE"),
        (("MODEL.BACKBONE.FEAT_DIM", 64), "set FEAT_DIM 32"),
        (("MODEL.FREEZE_LAYERS", ("neck",)), "MODEL.FREEZE_LAYERS 'neck' is unknown"),
        (("TEST.NETWORK_PRECISION", "float16"), "float16 needs a GPU"),
        (("MODEL.WEIGHTS", "nowhere.pth"), "nowhere.pth"),
        (("SOLVER.BASE_LR", "fast"), "SOLVER.BASE_LR"),
    ],
)
def test_invalid_variant_is_rejected_by_name(opts, message, ablation, tmp_path):
    with pytest.raises((InputError, WeightsError, StorageError), match=f"variant 'seventh'.*{message}"):
        ablation(ROTATIONS, Variant("seventh", opts)).plan([0])
    assert not (tmp_path / "out").exists()


def test_variant_with_other_test_files_is_rejected(ablation, root, tmp_path):
    (tmp_path / "elsewhere").symlink_to(root)
    variant = Variant("moved", ("DATASETS.ROOT", str(tmp_path / "elsewhere")))
    with pytest.raises(InputError, match=r"variant 'moved': the test set differs .*DATASETS\.ROOT was .*elsewhere"):
        ablation(variant).plan([0])


def test_variant_may_change_post_processing(ablation):
    steps = Variant("steps", ("TEST.AQE.ENABLED", True, "TEST.RERANK.ENABLED", True, "TEST.FUSE.ENABLED", True))
    runs = ablation(ROTATIONS, steps).plan([3, 4], only=["steps"])
    assert [str(run) for run in runs] == [
        f"variant '{variant}', seed {seed}" for seed in (3, 4) for variant in ("baseline", "steps")
    ]


def test_datasets_are_built_once_and_not_for_finished_runs(ablation, monkeypatch):
    calls = []
    real = ablation_module.build_datasets
    monkeypatch.setattr(ablation_module, "build_datasets", lambda cfg: calls.append(1) or real(cfg))
    for run in ablation(ROTATIONS).plan([0, 1]):
        finish(run)
    assert len(calls) == 1
    assert ablation(ROTATIONS).plan([0, 1]) == []
    assert len(calls) == 1


def test_comparison_includes_all_finished_runs(ablation, caplog):
    fills = Variant("fills", ("INPUT.FILL", 0))
    for run in ablation(ROTATIONS, fills).plan([0, 1, 10]):
        if (run.variant, run.seed) not in (("fills", 1), ("baseline", 10)):
            finish(run, value=40.0 + run.seed)
    for run in ablation(ROTATIONS, settings=["SOLVER.BASE_LR", "0.5"]).plan([2]):
        finish(run)
    one = ablation(ROTATIONS, fills, Variant("never", ("INPUT.FILL", 1)))
    one.plan([0], only=["rotations"])
    num_runs = {variant: changes["mAP"].num_runs for variant, changes in one.compare().items()}
    assert num_runs == {"baseline": 2, "rotations": 2, "fills": 1}
    one.compare()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert all("seed2 contains a run with other settings (SOLVER.BASE_LR was 0.5" in warning for warning in warnings)


def test_no_comparison_without_a_finished_baseline(ablation):
    finish(ablation(ROTATIONS).plan([0])[1])
    assert ablation(ROTATIONS).compare() == {}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-3], "its last line is truncated"),
        (lambda text: text.replace("50.0", "", 1), "mAP of a query with matches is not a number"),
        (lambda text: text.replace("mAP@10", "mAP@k"), "no column mAP@10"),
        (
            lambda text: text[: text.index("b,b,")],
            r"rotations/seed0/queries\.csv has other queries than .*baseline/seed0",
        ),
    ],
)
def test_damaged_table_is_rejected_with_its_name(damage, message, ablation):
    for run in ablation(ROTATIONS).plan([0]):
        finish(run)
    path = run.folder / "queries.csv"
    path.write_bytes(damage(path.read_bytes().decode()).encode())
    with pytest.raises(
        InputError, match=rf"rotations/seed0/queries\.csv.*{message}" if "rotations" not in message else message
    ):
        ablation(ROTATIONS).plan([0, 1])


def fail_with(monkeypatch, error):
    def train_and_test(run, *, keep_weights):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise error

    monkeypatch.setattr(ablation_module, "train_and_test", train_and_test)


def test_failed_run_is_recorded_and_signals_are_restored(ablation, monkeypatch, caplog):
    run = ablation(ROTATIONS).plan([0])[1]
    fail_with(monkeypatch, NumericalError("the step is not a number"))
    failure = run_or_record_failure(run, keep_weights=False)
    assert (failure.exit_code, str(failure)) == (4, "variant 'rotations', seed 0: the step is not a number")
    assert "variant 'rotations', seed 0: the step is not a number; continuing with the other runs" in caplog.text
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            StoppedBySignalError(15, "a.pth"),
            143,
            "stopped by SIGTERM in variant 'rotations', seed 0; saved a.pth; the same command resumes",
        ),
        (StorageError("the disk is full"), 5, "variant 'rotations', seed 0: the disk is full"),
    ],
)
def test_signal_and_full_disk_stop_all_runs(error, code, message, ablation, monkeypatch):
    run = ablation(ROTATIONS).plan([0])[1]
    fail_with(monkeypatch, error)
    with pytest.raises(UserFacingError, match=message) as end:
        run_or_record_failure(run, keep_weights=False)
    assert end.value.exit_code == code


def test_failure_of_one_process_stops_all_runs(ablation, monkeypatch):
    run = ablation(ROTATIONS).plan([0])[1]
    monkeypatch.setattr(ablation_module.comm, "get_world_size", lambda: 2)
    fail_with(monkeypatch, InputError("an image is damaged"))
    with pytest.raises(UserFacingError, match="an image is damaged"):
        run_or_record_failure(run, keep_weights=False)


def test_reserved_settings_are_rejected_on_the_command_line(ablation):
    with pytest.raises(
        InputError, match=r"command line: SEED cannot be set here, since each variant is trained with every"
    ):
        ablation(ROTATIONS, settings=("SEED", "7"))
