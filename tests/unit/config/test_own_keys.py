"""Settings that code adds to the tree before files and the command line are read."""

import copy
import pickle

import pytest

from fastreid.config import CfgNode, get_cfg
from fastreid.engine.resume.settings import diff_settings
from fastreid.engine.setup import load_config
from fastreid.utils.errors import InputError


def make_cfg():
    """Return a tree with additional settings, as added as in the projects of fast-reid."""
    cfg = get_cfg()
    cfg.MY_KEY = 3
    cfg.MODEL.MY = CfgNode({"SIZES": [1, 2], "RATE": 0.5, "MODE": "fast", "ON": False})
    cfg.MODEL.MY.DEEP = CfgNode()
    cfg.MODEL.MY.DEEP.ANY = None
    cfg.TEST.DEPTHS = (1, 2, 4)
    return cfg


def test_own_settings_have_their_defaults():
    cfg = make_cfg()
    assert (cfg.MY_KEY, cfg.MODEL.MY.SIZES, cfg.MODEL.MY.RATE, cfg.TEST.DEPTHS) == (3, [1, 2], 0.5, (1, 2, 4))
    assert (cfg.MODEL.MY.MODE, cfg.MODEL.MY.ON, cfg.MODEL.MY.DEEP.ANY) == ("fast", False, None)
    assert cfg.changes() == {}
    assert "MY_KEY" not in get_cfg()
    assert "MY" not in get_cfg().MODEL


def test_files_and_command_line_override_own_settings(tmp_path):
    (tmp_path / "a.yml").write_text("MY_KEY: 4\nMODEL: {MY: {SIZES: [7], DEEP: {ANY: word}}}\nSEED: 2\n")
    cfg = make_cfg()
    cfg.merge_from_file(tmp_path / "a.yml")
    cfg.merge_from_list(["MODEL.MY.RATE", "1", "MODEL.MY.ON", "true", "TEST.DEPTHS", "[8]"])
    assert (cfg.MY_KEY, cfg.SEED, cfg.MODEL.MY.SIZES, cfg.MODEL.MY.DEEP.ANY) == (4, 2, [7], "word")
    assert (cfg.MODEL.MY.RATE, cfg.MODEL.MY.ON, cfg.TEST.DEPTHS) == (1.0, True, (8,))
    assert cfg.changes()["MODEL"] == {"MY": {"SIZES": [7], "RATE": 1.0, "ON": True, "DEEP": {"ANY": "word"}}}
    cfg.MY_KEY = 5
    assert cfg.MY_KEY == 5


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["MY_KEY", "many"], "MY_KEY is 'many'; it must be an integer"),
        (["MODEL.MY.SIZES", "[a]"], "MODEL.MY.SIZES is "),
        (["MODEL.MY.ON", 3], "MODEL.MY.ON is 3; it must be True or False"),
        (["MODEL.MY.RATES", 1], r"unknown setting 'MODEL.MY.RATES'. Did you mean 'MODEL.MY.RATE'\?"),
        (["MY_KEYS", 1], r"unknown setting 'MY_KEYS'. Did you mean 'MY_KEY'\?"),
    ],
)
def test_own_settings_are_checked_like_others(pairs, message):
    with pytest.raises(InputError, match=f"command line: {message}"):
        make_cfg().merge_from_list(pairs)


def test_settings_of_another_tree_are_unknown():
    with pytest.raises(InputError, match="unknown setting 'MY_KEY'"):
        get_cfg().merge_from_list(["MY_KEY", 1])


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("SOLVER", "BASE_LT", 1.0, "unknown setting 'SOLVER.BASE_LT'. Did you mean 'SOLVER.BASE_LR'"),
        ("SOLVER", "MAX_EPOCHS", 9, "Did you mean 'SOLVER.MAX_EPOCH'"),
        ("MODEL", "LOSS", CfgNode(), "Did you mean 'MODEL.LOSSES'"),
        ("MODEL", "MY RATE", 1, "its name must be an identifier"),
        ("MODEL", "MY", object(), "MODEL.MY is <object"),
        ("MODEL", "MY", float("nan"), "MODEL.MY is nan"),
        ("MODEL", "MY", [[1]], "MODEL.MY is"),
        ("MODEL", "QUEUE_SIZE", 8192, "MoCo does not exist here"),
        ("SOLVER", "WATCH_PERIOD", 5, "is now SOLVER.DIAGNOSTICS_PERIOD"),
        ("MODEL", "LOSSES", CfgNode({"A": 1}), "MODEL.LOSSES is a section"),
    ],
)
def test_misspelled_and_invalid_new_settings_are_errors(section, name, value, message):
    cfg = get_cfg()
    with pytest.raises(InputError, match=message):
        cfg[section][name] = value
    assert cfg == get_cfg()


def test_frozen_tree_takes_no_new_settings():
    cfg = make_cfg()
    cfg.freeze()
    with pytest.raises(InputError):
        cfg.OTHER_ONE = 1
    with pytest.raises(InputError, match=r"MODEL\.MY\.RATE cannot be set: the settings are frozen"):
        cfg.MODEL.MY.RATE = 1.0


@pytest.mark.parametrize("copy_cfg", [copy.deepcopy, CfgNode.clone, lambda cfg: pickle.loads(pickle.dumps(cfg))])
def test_copies_have_the_own_settings(copy_cfg):
    twin = copy_cfg(make_cfg())
    assert twin == make_cfg()
    twin.merge_from_list(["MODEL.MY.DEEP.ANY", 7])
    assert twin.MODEL.MY.DEEP.ANY == 7


def test_own_settings_are_saved_and_compared(tmp_path):
    cfg, changed = make_cfg(), make_cfg()
    changed.merge_from_list(["MODEL.MY.RATE", 0.25])
    (tmp_path / "config.yaml").write_text(changed.dump())
    restored = load_config(tmp_path / "config.yaml", ["MODEL.DEVICE", "cpu"], base=make_cfg())
    assert restored.MODEL.MY.RATE == 0.25
    assert restored.is_frozen()
    defaults = get_cfg().dump()
    assert diff_settings(cfg.dump(), cfg.dump(), defaults=defaults) == {}
    assert diff_settings(cfg.dump(), changed.dump(), defaults=defaults) == {"MODEL.MY.RATE": "was 0.5 and is 0.25"}
