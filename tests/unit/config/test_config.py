import copy
import pickle
import re
from pathlib import Path

import pytest
from yacs.config import CfgNode as YacsNode

from fastreid.config import CfgNode, get_cfg
from fastreid.config.config import flat_defaults, iter_settings, section_names
from fastreid.config.legacy import LEGACY_KEYS, REMOVED_KEYS, RENAMED_KEYS
from fastreid.config.ranges import RULES
from fastreid.utils.errors import InputError

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def write_config(tmp_path):
    """Return a function that writes a YAML file and returns its path."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def merge_list(*pairs):
    cfg = get_cfg()
    cfg.merge_from_list(list(pairs))
    return cfg


def load_config(path):
    cfg = get_cfg()
    cfg.merge_from_file(path)
    return cfg


def test_config_overrides_its_base_and_the_defaults(write_config):
    write_config("top.yml", "SOLVER:\n  STEPS: [1, 2, 3]\n  BASE_LR: 0.5\nSEED: 7\n")
    write_config("base.yml", "_BASE_: top.yml\nSOLVER:\n  BASE_LR: 0.25\n")
    cfg = load_config(write_config("more/child.yml", "_BASE_: ../base.yml\nSOLVER:\n  STEPS: [9]\n"))
    assert (cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR, cfg.SEED, cfg.SOLVER.MAX_EPOCH) == ([9], 0.25, 7, 120)


def test_base_in_home_folder_is_found(write_config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_config("mine/base.yml", "SEED: 3")
    assert load_config(write_config("other/deep/child.yml", "_BASE_: ~/mine/base.yml")).SEED == 3


@pytest.mark.parametrize(
    ("key", "value", "expected"),
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
        ("MODEL.PIXEL_MEAN", [], []),
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
        ("SOLVER.OPT_ARGS.eps", ["1e-30", "1e-3"], (1e-30, 1e-3)),
        ("SOLVER.OPT_ARGS.eps", "['1e-30', 1e-3]", (1e-30, 1e-3)),
        ("SOLVER.OPT_ARGS.words", ["a", "True", "None"], ("a", True, None)),
    ],
)
def test_value_gets_the_type_of_its_default(key, value, expected):
    cfg = merge_list(key, value)
    for word in key.split("."):
        cfg = cfg[word]
    assert cfg == expected
    assert type(cfg) is type(expected)


def test_last_value_on_the_command_line_wins():
    assert merge_list("SEED", "1", "SEED", "2").SEED == 2


def test_error_leaves_settings_unchanged(write_config):
    cfg = get_cfg()
    with pytest.raises(InputError):
        cfg.merge_from_file(write_config("half.yml", "SEED: 5\nSOLVER:\n  MAX_EPOCH: none\n"))
    assert cfg == get_cfg()


def test_configs_share_no_lists():
    first = get_cfg()
    first.SOLVER.STEPS.append(99)
    first.SEED = 4
    assert get_cfg().SOLVER.STEPS == [30, 55]
    assert get_cfg().SEED == 0


def test_values_set_in_python_are_checked():
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 1
    assert isinstance(cfg.SOLVER.BASE_LR, float)
    with pytest.raises(InputError, match=r"Python: SOLVER.BASE_LR is -1; it must be a number >= 0"):
        cfg.SOLVER.BASE_LR = -1
    with pytest.raises(InputError, match=r"Did you mean 'SOLVER.BASE_LR'\?"):
        cfg.SOLVER.BASE_LT = 1


@pytest.mark.parametrize("change", [lambda c: setattr(c, "SEED", 1), lambda c: c.SOLVER.__setitem__("BASE_LR", 1.0)])
def test_frozen_config_cannot_be_changed(change):
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(InputError, match="frozen"):
        change(cfg)
    with pytest.raises(InputError, match="frozen"):
        cfg.merge_from_list(["SEED", 1])
    with pytest.raises(InputError, match="frozen"):
        cfg.defrost()
    assert cfg == get_cfg()


def test_clone_of_frozen_config_can_be_changed():
    cfg = get_cfg()
    cfg.freeze()
    clone = cfg.clone()
    clone.SOLVER.BASE_LR = 1.0
    assert cfg.SOLVER.BASE_LR == 3e-4


@pytest.mark.parametrize("copy_config", [copy.deepcopy, lambda cfg: pickle.loads(pickle.dumps(cfg))])
def test_config_can_be_copied_and_pickled(copy_config):
    cfg = merge_list("SOLVER.OPT_ARGS.betas", "(0.9, 0.98)")
    cfg.freeze()
    assert copy_config(cfg) == cfg
    assert copy_config(cfg).SOLVER.is_frozen()


def test_merge_from_other_cfg_sets_all_values():
    cfg = get_cfg()
    cfg.merge_from_other_cfg(merge_list("SEED", 3, "SOLVER.OPT_ARGS.eps", 1e-6))
    assert (cfg.SEED, cfg.SOLVER.OPT_ARGS.eps) == (3, 1e-6)


def test_dump_restores_all_settings(write_config):
    pairs = ["SOLVER.OPT_ARGS.betas", "(0.9, 0.98)", "SOLVER.BASE_LR", 1e-5, "OUTPUT_DIR", "a: b #図", "SEED", 2**62]
    cfg = merge_list(*pairs, "DATASETS.NAMES", "Patent", "MODEL.WEIGHTS", "1e-4")
    assert load_config(write_config("config.yaml", cfg.dump())) == cfg


def test_every_number_has_a_range_that_allows_its_default():
    cfg = get_cfg()
    cfg.merge_from_other_cfg(get_cfg())
    assert cfg == get_cfg()
    numbers = {key for key, value in flat_defaults().items() if type(value) in (int, float)}
    assert numbers - set(RULES) == set()
    assert set(RULES) <= set(flat_defaults())


def test_list_without_quotes_is_explained():
    with pytest.raises(InputError, match=r"quote the strings of a list, such as \"\['a', 'b'\]\""):
        get_cfg().merge_from_list(["DATASETS.GENERATED.EXCLUDE", "[marks]"])


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("TEST.NETWORK_PRECISION", "bflot16", ". Did you mean 'bfloat16'?"),
        ("DATASETS.GENERATED.EXCLUDE", "['marks', 'sibling']", ". Did you mean 'siblings'?"),
        ("TEST.NETWORK_PRECISION", "x" * 3000, "float16"),
    ],
)
def test_error_names_the_nearest_choice(key, value, hint):
    with pytest.raises(InputError) as error:
        get_cfg().merge_from_list([key, value])
    assert str(error.value).endswith(hint)


PATH_KEYS = (
    *("OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.BACKBONE.PRETRAIN_PATH", "TEST.WHITEN.LEARN_FROM"),
    *("DATASETS.ROOT", "DATASETS.CACHE.FOLDER", "DATASETS.FOLDER.PATH"),
    *(f"DATASETS.LIST.{name}" for name in ("IMAGES", "TRAIN", "QUERY", "GALLERY")),
    "MODEL.DISTILL.CONFIG",
    "MODEL.DISTILL.WEIGHTS",
)


@pytest.mark.parametrize("key", PATH_KEYS)
def test_home_folder_in_a_path_is_expanded(key, write_config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    *sections, name = key.split(".")
    text = "".join(f"{'  ' * level}{word}:\n" for level, word in enumerate(sections))
    cfg = load_config(write_config("a.yml", f"{text}{'  ' * len(sections)}{name}: ~/mine\n"))
    assert dict(iter_settings(cfg))[key] == str(tmp_path / "mine")
    assert dict(iter_settings(merge_list(key, "~/mine")))[key] == str(tmp_path / "mine")
    assert dict(iter_settings(merge_list(key, "~nobody-here/mine")))[key] == "~nobody-here/mine"
    assert dict(iter_settings(merge_list(key, "a~b/~")))[key] == "a~b/~"


def test_paths_are_all_strings_that_are_no_names():
    names = {key for key, value in flat_defaults().items() if isinstance(value, str) and value}
    assert {key for key, rule in RULES.items() if rule.is_path} == set(PATH_KEYS)
    unset = {key for key, value in flat_defaults().items() if value == ""} - set(PATH_KEYS)
    unset_names = {"MODEL.BACKBONE.TIMM_NAME", "MODEL.HEADS.PROJECTION", "TEST.LOCAL.MODULE", "TRACKER.NAME"}
    assert unset == {*unset_names, "TEST.SCORE.PER_QUERY_FILE"}
    assert names & set(PATH_KEYS) == {"OUTPUT_DIR", "TEST.WHITEN.LEARN_FROM"}


def test_config_in_the_home_folder_is_found(write_config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_config("mine.yml", "SEED: 3")
    assert load_config("~/mine.yml").SEED == 3


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ("TEST.AQE.DATABASE", "TEST.AQE.DATABASE is now TEST.AQE.GALLERY"),
        ("SOLVER.WATCH_PERIOD", "SOLVER.WATCH_PERIOD is now SOLVER.DIAGNOSTICS_PERIOD"),
        ("INPUT.SCAN.NOISE", "INPUT.SCAN.NOISE does not exist; add scan_noise to INPUT.LINE_AUG.OPS"),
        ("INPUT.TURN", "INPUT.TURN does not exist; add rot90 to INPUT.LINE_AUG.OPS"),
        ("SOLVER.FUSED", "SOLVER.FUSED does not exist; remove it"),
        ("MODEL.HEADS.PFC.ENABLED", "MODEL.HEADS.PFC.ENABLED does not exist; use MODEL.HEADS.PARTIAL_FC_RATIO"),
        ("TEST.DIFFUSION.K", "TEST.DIFFUSION.K does not exist; use TEST.RERANK"),
    ],
)
def test_error_names_what_replaces_an_old_key(old, message):
    with pytest.raises(InputError) as error:
        merge_list(old, "1")
    assert str(error.value).startswith(f"command line: {message}")
    assert "Did you mean" not in str(error.value)


def test_old_keys_are_replaced_by_keys_that_exist():
    assert set(RENAMED_KEYS.values()) <= set(flat_defaults())
    old = {*RENAMED_KEYS, *REMOVED_KEYS}
    assert not old & {*flat_defaults(), *section_names(), *LEGACY_KEYS}
    decision = (REPOSITORY / "docs/decisions/0011-config-diet.md").read_text(encoding="utf-8")
    renamed = re.findall(r"^\| `([A-Z_.]+)` \| `([A-Z_.]+)` \|$", decision, re.MULTILINE)
    assert set(renamed) <= set(RENAMED_KEYS.items())
    assert len(renamed) >= 12
    operations = {advice.split()[1] for advice in REMOVED_KEYS.values() if advice.startswith("add ")}
    new = {"descreen", "screen", "low_resolution", "bilevel", "jpeg"}
    assert operations == set(RULES["INPUT.LINE_AUG.OPS"].choices) - new


def test_dumped_text_is_that_of_yacs():
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", "Läufe: #1", "INPUT.SIZE_TRAIN", "[]", "SOLVER.OPT_ARGS.eps", "1e-30"])
    cfg.MY = CfgNode({"SETTING": (1, None, "a b")})
    assert cfg.dump() == YacsNode.dump(cfg)
    assert cfg.dump(sort_keys=False) == YacsNode.dump(cfg, sort_keys=False)


def test_numbers_of_yaml_files_are_decimal(write_config):
    text = "SEED: 1_000\nSOLVER: {BASE_LR: 1e-3, STEPS: [007, 1e1], MAX_EPOCH: 0x10, OPT_ARGS: {eps: [1e-30, 1e-3]}}\n"
    cfg = load_config(write_config("a.yml", text))
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.SOLVER.MAX_EPOCH) == (1000, 1e-3, [7, 10], 16)
    assert cfg.SOLVER.OPT_ARGS.eps == (1e-30, 1e-3)
