"""Plans of ablations and what becomes of runs, without any training."""

import signal
from pathlib import Path

import numpy as np
import pytest

from fastreid.evaluation.reporting.results import write_query_table
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.experiments import ablation as build
from fastreid.experiments.ablation import Ablation, attempt
from fastreid.experiments.variants import Row
from fastreid.utils.cli import StoppedBySignalError, UserFacingError
from fastreid.utils.errors import InputError, NumericalError, StorageError, WeightsError

TINY = Path(__file__).parents[2] / "end_to_end/tiny.yml"
TURNS = Row("turns", ("INPUT.ROT90.ENABLED", True))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("drawings")


@pytest.fixture
def ablation(root, tmp_path):
    """Makes an ablation of rows in an output folder of the test's own."""

    def make(*rows, settings=()):
        opts = ["DATASETS.ROOT", str(root), "OUTPUT_DIR", str(tmp_path / "out"), *settings]
        return Ablation(TINY, opts, [Row("ground"), *rows])

    return make


def leave(run, value=50.0, *, patents=("a", "a", "b"), measures=("mAP", "mAP@10", "Rank-1")):
    """What a done run leaves."""
    count = len(patents)
    scores = QueryScores(
        {name: np.full(count, value) for name in measures}, np.arange(count), np.ones(count, int), np.ones(count), {}
    )
    write_query_table(run.folder / "queries.csv", scores, names=list(patents), patents=list(patents))
    (run.folder / "config.yaml").write_text(run.cfg.dump())


@pytest.mark.parametrize(
    ("opts", "told"),
    [
        (("TEST.TOP_K", 5, "TEST.SELECT_BY", "mAP@5"), "TEST.TOP_K was 10 and is 5, so it is scored by another test"),
        (("TEST.SCORE.NORMALIZER", "found"), "TEST.SCORE.NORMALIZER was 'min' and is 'found'"),
        (("DATASETS.TESTS", ("Patent",)), "DATASETS.TESTS was"),
        (("SOLVER.MAX_EPOCH", 3), "changes nothing: all of its settings are the ground's"),
        (("DATALOADER.NUM_INSTANCE", 5), "SOLVER.IMS_PER_BATCH is 16; allowed are multiples of 5"),
        (("TEST.SELECT_BY", "mAP@5"), "no score 'mAP@5' to choose by"),
        (("INPUT.CROP.ENABLED", True), "INPUT.CROP.SIZE"),
        (("MODEL.BACKBONE.FEAT_DIM", 64), "set FEAT_DIM 512"),
        (("MODEL.FREEZE_LAYERS", ("neck",)), "the model has no child 'neck'"),
        (("TEST.NETWORK_PRECISION", "float16"), "which is for GPUs"),
        (("MODEL.WEIGHTS", "nowhere.pth"), "nowhere.pth"),
        (("SOLVER.BASE_LR", "fast"), "SOLVER.BASE_LR"),
    ],
)
def test_a_wrong_row_is_told_by_name_before_anything_is_trained(opts, told, ablation, tmp_path):
    with pytest.raises((InputError, WeightsError, StorageError), match=f"row 'seventh'.*{told}"):
        ablation(TURNS, Row("seventh", opts)).plan([0])
    assert not (tmp_path / "out").exists()


def test_a_row_that_is_tested_on_other_files_is_refused(ablation, root, tmp_path):
    (tmp_path / "elsewhere").symlink_to(root)
    row = Row("moved", ("DATASETS.ROOT", str(tmp_path / "elsewhere")))
    with pytest.raises(
        InputError, match=r"row 'moved': it is tested on other drawings .*DATASETS\.ROOT was .*elsewhere"
    ):
        ablation(row).plan([0])


def test_a_row_that_changes_the_ranking_of_the_same_test_is_none_that_changes_the_test(ablation):
    steps = Row("steps", ("TEST.AQE.ENABLED", True, "TEST.RERANK.ENABLED", True, "TEST.FUSE.ENABLED", True))
    left = ablation(TURNS, steps).plan([3, 4], only=["steps"])
    assert [str(run) for run in left] == [f"row '{row}', seed {seed}" for seed in (3, 4) for row in ("ground", "steps")]


def test_drawings_are_listed_once_for_all_rows_of_the_same_data_and_nothing_is_built_for_what_is_done(
    ablation, monkeypatch
):
    listed = []
    monkeypatch.setattr(build, "build_datasets", lambda cfg, real=build.build_datasets: listed.append(1) or real(cfg))
    for run in ablation(TURNS).plan([0, 1]):
        leave(run)
    assert len(listed) == 1
    assert ablation(TURNS).plan([0, 1]) == []
    assert len(listed) == 1


def test_the_table_has_every_row_and_seed_of_the_file_that_is_done_by_these_settings(ablation, caplog):
    fills = Row("fills", ("INPUT.FILL", 0))
    for run in ablation(TURNS, fills).plan([0, 1, 10]):
        if (run.row, run.seed) not in (("fills", 1), ("ground", 10)):
            leave(run, value=40.0 + run.seed)
    for run in ablation(TURNS, settings=["SOLVER.BASE_LR", "0.5"]).plan([2]):
        leave(run)
    one = ablation(TURNS, fills, Row("never", ("INPUT.FILL", 1)))
    one.plan([0], only=["turns"])
    runs = {row: changes["mAP"].num_runs for row, changes in one.compare().items()}
    assert runs == {"ground": 2, "turns": 2, "fills": 1}
    one.compare()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["seed2 holds a run by other settings (SOLVER.BASE_LR was 0.5" in words for words in warnings] == [True] * 2


def test_nothing_is_compared_while_no_ground_is_done(ablation):
    leave(ablation(TURNS).plan([0])[1])
    assert ablation(TURNS).compare() == {}


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[:-3], "its last line is cut"),
        (lambda text: text.replace("50.0", "", 1), "mAP of a query that has matches is no number"),
        (lambda text: text.replace("mAP@10", "mAP@k"), "no column mAP@10"),
        (lambda text: text[: text.index("b,b,")], r"turns/seed0/queries\.csv has other queries than .*ground/seed0"),
    ],
)
def test_a_damaged_table_is_told_with_its_name_before_anything_is_trained(damage, told, ablation):
    for run in ablation(TURNS).plan([0]):
        leave(run)
    path = run.folder / "queries.csv"
    path.write_bytes(damage(path.read_bytes().decode()).encode())
    with pytest.raises(InputError, match=rf"turns/seed0/queries\.csv.*{told}" if "turns" not in told else told):
        ablation(TURNS).plan([0, 1])


def ends_by(monkeypatch, error):
    def train_and_test(run, *, keep_weights):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise error

    monkeypatch.setattr(build, "train_and_test", train_and_test)


def test_a_run_that_fails_is_told_and_the_others_may_go_on_and_be_stopped(ablation, monkeypatch, caplog):
    run = ablation(TURNS).plan([0])[1]
    ends_by(monkeypatch, NumericalError("the step is not a number"))
    failure = attempt(run, keep_weights=False)
    assert (failure.exit_code, str(failure)) == (4, "row 'turns', seed 0: the step is not a number")
    assert "row 'turns', seed 0: the step is not a number; going on with the others" in caplog.text
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            StoppedBySignalError(15, "a.pth"),
            143,
            "stopped by signal 15 in row 'turns', seed 0; saved a.pth; the same command goes",
        ),
        (StorageError("the disk is full"), 5, "row 'turns', seed 0: the disk is full"),
    ],
)
def test_a_signal_and_a_full_disk_stop_all(error, code, told, ablation, monkeypatch):
    run = ablation(TURNS).plan([0])[1]
    ends_by(monkeypatch, error)
    with pytest.raises(UserFacingError, match=told) as end:
        attempt(run, keep_weights=False)
    assert end.value.exit_code == code


def test_one_of_several_processes_does_not_go_on_alone(ablation, monkeypatch):
    run = ablation(TURNS).plan([0])[1]
    monkeypatch.setattr(build.comm, "world_size", lambda: 2)
    ends_by(monkeypatch, InputError("an image is damaged"))
    with pytest.raises(UserFacingError, match="an image is damaged"):
        attempt(run, keep_weights=False)


def test_what_the_command_sets_itself_is_refused_on_the_command_line_too(ablation):
    with pytest.raises(InputError, match=r"command line: SEED stands there, but each row is trained with every seed"):
        ablation(TURNS, settings=("SEED", "7"))
