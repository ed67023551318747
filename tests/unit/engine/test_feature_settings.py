"""Which settings shape features, and what is told where saved features are of others."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fastreid.config import get_cfg
from fastreid.engine.evaluate_saved import _compare
from fastreid.engine.features import SHAPES_NOTHING, feature_settings
from fastreid.evaluation.storage.manifest import Origin
from fastreid.utils.logger import get_logger

PAGE = Path(__file__).parents[3] / "docs/features.md"


def cfg_with(*options):
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    cfg.freeze()
    return cfg


def test_the_page_names_every_setting_that_counts_and_every_one_of_the_model_that_does_not():
    section = PAGE.read_text(encoding="utf-8").split("## What counts as the same")[1].split("\n## ")[0]
    counts, counts_not = section.split("Of `MODEL` these do not count")
    named = set(re.findall(r"`([A-Z_.]+)`", counts)) - {"MODEL"}
    assert {
        name for name in feature_settings(cfg_with(), random_weights=True) if not name.startswith("MODEL.")
    } == named
    named = set(re.findall(r"`MODEL\.([A-Z_.]+)`", counts_not.split("\n")[0]))
    assert {name.removeprefix("MODEL.").rstrip(".") for name in SHAPES_NOTHING} == named


def test_a_setting_that_does_not_act_does_not_count():
    assert feature_settings(cfg_with("INPUT.FILL", 0)) == feature_settings(cfg_with())
    acting = ("INPUT.ASPECT", "fit")
    assert feature_settings(cfg_with(*acting, "INPUT.FILL", 0)) != feature_settings(cfg_with(*acting))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), None),
        (("INPUT.ASPECT", "fit"), "INPUT.ASPECT was squash and is fit; INPUT.FILL was unused and is 255"),
        (("INPUT.LABEL.IN_TESTS", True), "INPUT.LABEL.IN_TESTS was False and is True"),
    ],
)
def test_saved_features_that_are_older_than_a_setting_had_its_default(options, told, monkeypatch):
    warnings = []
    monkeypatch.setattr(get_logger(), "warning", warnings.append)
    origin = Origin("Mine", "w.pth", "", feature_settings(cfg_with()), "", {})
    older = {name: value for name, value in origin.settings.items() if not name.startswith("INPUT.LABEL")}
    _compare(cfg_with(*options), Path("folder"), replace(origin, settings=older), weights_asked=False)
    assert warnings == ([f"folder: the saved features count, though {told}"] if told else [])
