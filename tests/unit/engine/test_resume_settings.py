import pytest

from fastreid.config import get_cfg
from fastreid.engine.resume.settings import diff_processes, find_score_changes


def dump(*settings):
    cfg = get_cfg()
    cfg.merge_from_list(list(settings))
    return cfg.dump()


DEFAULTS = dump()


@pytest.mark.parametrize(
    "setting",
    [
        ("TEST.SELECT_BY", "Rank-1"),
        ("TEST.METRIC", "euclidean"),
        ("TEST.FLIP.ENABLED", "True"),
        ("TEST.AQE.ENABLED", "True"),
        ("TEST.NETWORK_PRECISION", "bfloat16"),
        ("TEST.SCORE.NORMALIZER", "found"),
        ("TEST.SCORE.PATENT_DISTANCE", "mean"),
        ("DATASETS.TESTS", "('Patent',)"),
        ("DATASETS.TESTS", "('Patent', 'Generated')"),
    ],
)
def test_settings_that_change_the_score_are_found(setting):
    assert find_score_changes(DEFAULTS, dump(*setting), defaults=DEFAULTS) == [setting[0]]


@pytest.mark.parametrize(
    "setting",
    [
        ("TEST.EVAL_PERIOD", "1"),
        ("TEST.IMS_PER_BATCH", "8"),
        ("TEST.MEMORY_MB", "64"),
        ("TEST.TOP_K", "20"),
        ("TEST.AQE.QE_K", "9"),
        ("TEST.STEPS", "('AQE', 'WHITEN')"),
        ("TEST.SCORE.BOOTSTRAP", "0"),
        ("TEST.NUM_VISUALIZED_QUERIES", "0"),
        ("DATASETS.TESTS", "('Generated', 'Patent')"),
        ("SOLVER.MAX_EPOCH", "3"),
    ],
)
def test_settings_that_do_not_change_the_score_are_not_found(setting):
    assert find_score_changes(DEFAULTS, dump(*setting), defaults=DEFAULTS) == []


def test_options_and_order_of_enabled_steps_change_the_score():
    steps = ("TEST.AQE.ENABLED", "True", "TEST.WHITEN.ENABLED", "True")
    before, now = dump(*steps), dump(*steps, "TEST.AQE.QE_K", "9", "TEST.STEPS", "('AQE', 'WHITEN')")
    assert find_score_changes(before, now, defaults=DEFAULTS) == ["TEST.AQE.QE_K", "TEST.STEPS"]


def test_setting_missing_in_an_older_checkpoint_has_its_default():
    before = "\n".join(line for line in DEFAULTS.splitlines() if "NETWORK_PRECISION" not in line)
    assert find_score_changes(before, DEFAULTS, defaults=DEFAULTS) == []


def test_processes_may_differ_in_paths_but_not_in_the_seed():
    other = dump("SEED", "3", "DATASETS.ROOT", "/elsewhere", "OUTPUT_DIR", "other", "DATALOADER.NUM_WORKERS", "7")
    assert diff_processes(DEFAULTS, other) == ["SEED"]
