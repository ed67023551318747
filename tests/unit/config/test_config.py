import copy
import pickle

import pytest

from fastreid.config import get_cfg
from fastreid.config.config import _defaults
from fastreid.config.ranges import NOT_HERE, RULES
from fastreid.utils.errors import InputError


@pytest.fixture
def written(tmp_path):
    """Writes a YAML file and gives its path."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def from_list(*pairs):
    cfg = get_cfg()
    cfg.merge_from_list(list(pairs))
    return cfg


def from_file(path):
    cfg = get_cfg()
    cfg.merge_from_file(path)
    return cfg


def test_a_child_wins_over_its_base_and_the_base_over_the_defaults(written):
    written("top.yml", "SOLVER:\n  STEPS: [1, 2, 3]\n  BASE_LR: 0.5\nSEED: 7\n")
    written("base.yml", "_BASE_: top.yml\nSOLVER:\n  BASE_LR: 0.25\n")
    cfg = from_file(written("more/child.yml", "_BASE_: ../base.yml\nSOLVER:\n  STEPS: [9]\n"))
    assert (cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR, cfg.SEED, cfg.SOLVER.MAX_EPOCH) == ([9], 0.25, 7, 120)


def test_a_base_below_the_home_folder_is_found(written, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written("mine/base.yml", "SEED: 3")
    assert from_file(written("other/deep/child.yml", "_BASE_: ~/mine/base.yml")).SEED == 3


@pytest.mark.parametrize(
    ("key", "given", "taken"),
    [
        ("SOLVER.BASE_LR", 1, 1.0),
        ("SOLVER.BASE_LR", "1e-4", 1e-4),
        ("SOLVER.MAX_EPOCH", 64.0, 64),
        ("SOLVER.MAX_EPOCH", "64", 64),
        ("MODEL.HEADS.SCALE", 30.5, 30.5),
        ("MODEL.HEADS.SCALE", 64, 64),
        ("MODEL.HEADS.MARGIN", 0, 0.0),
        ("MODEL.LOSSES.CE.EPSILON", -1, -1.0),
        ("DATASETS.NAMES", "Patent", ("Patent",)),
        ("DATASETS.NAMES", ["Patent", "Own"], ("Patent", "Own")),
        ("DATASETS.NAMES", "('Patent',)", ("Patent",)),
        ("INPUT.SIZE_TRAIN", 256, [256]),
        ("INPUT.SIZE_TRAIN", (64, 32), [64, 32]),
        ("INPUT.SIZE_TRAIN", "(64, 32)", [64, 32]),
        ("INPUT.CROP.SCALE", [1, 1], [1.0, 1.0]),
        ("SOLVER.STEPS", [], []),
        ("MODEL.FREEZE_LAYERS", "backbone", ["backbone"]),
        ("MODEL.DEVICE", "cuda:1", "cuda:1"),
        ("MODEL.WEIGHTS", "", ""),
        ("OUTPUT_DIR", "'in quotes'", "in quotes"),
        ("OUTPUT_DIR", "ein Ordner/図面 1", "ein Ordner/図面 1"),
        ("INPUT.FLIP.ENABLED", "true", True),
        ("SOLVER.OPT_ARGS.betas", "(0.9, 0.98)", (0.9, 0.98)),
        ("SOLVER.OPT_ARGS.betas", [0.9, 0.98], (0.9, 0.98)),
        ("SOLVER.OPT_ARGS.foreach", None, None),
        ("SOLVER.OPT_ARGS.eps", "1e-6", 1e-6),
    ],
)
def test_a_value_becomes_the_kind_of_its_default(key, given, taken):
    cfg = from_list(key, given)
    for word in key.split("."):
        cfg = cfg[word]
    assert cfg == taken
    assert type(cfg) is type(taken)


def test_the_last_word_on_the_command_line_wins():
    assert from_list("SEED", "1", "SEED", "2").SEED == 2


def test_a_fault_leaves_the_settings_as_they_were(written):
    cfg = get_cfg()
    with pytest.raises(InputError):
        cfg.merge_from_file(written("half.yml", "SEED: 5\nSOLVER:\n  MAX_EPOCH: none\n"))
    assert cfg == get_cfg()


def test_two_trees_share_nothing():
    first = get_cfg()
    first.SOLVER.STEPS.append(99)
    first.SEED = 4
    assert get_cfg().SOLVER.STEPS == [30, 55]
    assert get_cfg().SEED == 0


def test_python_is_held_to_the_same_rules():
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 1
    assert isinstance(cfg.SOLVER.BASE_LR, float)
    with pytest.raises(InputError, match=r"Python: SOLVER.BASE_LR is -1; it takes a number of 0 or more"):
        cfg.SOLVER.BASE_LR = -1
    with pytest.raises(InputError, match=r"did you mean SOLVER.BASE_LR"):
        cfg.SOLVER.BASE_LT = 1


@pytest.mark.parametrize("change", [lambda c: setattr(c, "SEED", 1), lambda c: c.SOLVER.__setitem__("BASE_LR", 1.0)])
def test_frozen_settings_stay_frozen(change):
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(InputError, match="frozen"):
        change(cfg)
    with pytest.raises(InputError, match="frozen"):
        cfg.merge_from_list(["SEED", 1])
    with pytest.raises(InputError, match="frozen"):
        cfg.defrost()
    assert cfg == get_cfg()


def test_a_clone_of_a_frozen_tree_may_be_changed_and_the_tree_stays():
    cfg = get_cfg()
    cfg.freeze()
    twin = cfg.clone()
    twin.SOLVER.BASE_LR = 1.0
    assert cfg.SOLVER.BASE_LR == 3e-4


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda cfg: pickle.loads(pickle.dumps(cfg))])
def test_a_tree_survives_the_way_to_another_process(travel):
    cfg = from_list("SOLVER.OPT_ARGS.betas", "(0.9, 0.98)")
    cfg.freeze()
    assert travel(cfg) == cfg
    assert travel(cfg).SOLVER.is_frozen()


def test_another_tree_can_be_taken_over():
    cfg = get_cfg()
    cfg.merge_from_other_cfg(from_list("SEED", 3, "SOLVER.OPT_ARGS.eps", 1e-6))
    assert (cfg.SEED, cfg.SOLVER.OPT_ARGS.eps) == (3, 1e-6)


def test_what_is_dumped_comes_back_the_same(written):
    pairs = ["SOLVER.OPT_ARGS.betas", "(0.9, 0.98)", "SOLVER.BASE_LR", 1e-5, "OUTPUT_DIR", "a: b #図", "SEED", 2**62]
    cfg = from_list(*pairs, "DATASETS.NAMES", "Patent", "MODEL.WEIGHTS", "1e-4")
    assert from_file(written("config.yaml", cfg.dump())) == cfg


def test_every_number_has_a_range_and_every_default_lies_in_its_own():
    cfg = get_cfg()
    cfg.merge_from_other_cfg(get_cfg())
    assert cfg == get_cfg()
    numbers = {key for key, value in _defaults().items() if type(value) in (int, float)}
    assert numbers - set(RULES) - set(NOT_HERE) == set()
    assert set(RULES) <= set(_defaults())


def test_a_list_on_the_command_line_whose_words_lack_quotes_is_told_so():
    with pytest.raises(InputError, match=r"words between brackets stand in quotes, such as \"\['a', 'b'\]\""):
        get_cfg().merge_from_list(["DATASETS.GENERATED.EXCLUDE", "[marks]"])


@pytest.mark.parametrize(
    ("key", "value", "near"),
    [
        ("TEST.PRECISION", "bflot16", ". Did you mean 'bfloat16'?"),
        ("DATASETS.GENERATED.EXCLUDE", "['marks', 'sibling']", ". Did you mean 'siblings'?"),
        ("TEST.PRECISION", "x" * 3000, "bfloat16"),
    ],
)
def test_a_wrong_choice_is_told_the_nearest_one(key, value, near):
    with pytest.raises(InputError) as refused:
        get_cfg().merge_from_list([key, value])
    assert str(refused.value).endswith(near)
