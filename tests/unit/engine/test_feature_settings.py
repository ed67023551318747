"""Settings that affect features, and the warning for saved features of other settings."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fastreid.config import get_cfg
from fastreid.data.datasets.base import RetrievalData
from fastreid.engine.build import build_step
from fastreid.engine.evaluate_saved import _check_provenance
from fastreid.engine.features.extract import FEATURE_IRRELEVANT_SETTINGS, extract_datasets, feature_settings
from fastreid.engine.model.directory import TRAINING_ONLY_SETTINGS
from fastreid.evaluation.storage.manifest import Provenance
from fastreid.modeling import build_model
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

PAGE = Path(__file__).parents[3] / "docs/features.md"


def cfg_with(*options):
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    cfg.freeze()
    return cfg


def test_docs_list_settings_that_affect_features():
    section = PAGE.read_text(encoding="utf-8").split("## When features are recomputed")[1].split("\n## ")[0]
    counts, counts_not = section.split("These keys of `MODEL` do not count")
    named = set(re.findall(r"`([A-Z_.]+)`", counts)) - {"MODEL"}
    assert {
        name for name in feature_settings(cfg_with(), random_weights=True) if not name.startswith("MODEL.")
    } == named
    named = set(re.findall(r"`MODEL\.([A-Z_.]+)`", counts_not.split("\n")[0]))
    assert {name.removeprefix("MODEL.").rstrip(".") for name in FEATURE_IRRELEVANT_SETTINGS} == named


def test_settings_that_model_directories_leave_out_do_not_affect_features():
    """Otherwise the features of a network could not calibrate the model directory that was saved from it."""
    names = feature_settings(cfg_with())
    assert [name for name in names if name.startswith(TRAINING_ONLY_SETTINGS)] == []


def test_inactive_setting_is_ignored():
    assert feature_settings(cfg_with("INPUT.FILL", 0)) == feature_settings(cfg_with())
    active = ("INPUT.ASPECT", "fit")
    assert feature_settings(cfg_with(*active, "INPUT.FILL", 0)) != feature_settings(cfg_with(*active))


def test_power_that_class_tokens_do_not_use_is_found_before_training():
    network = ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME", "test_vit")
    pool = ("MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPooling", "MODEL.DEVICE", "cpu", "TEST.GEM_POWER", 4.0)
    cfg = cfg_with(*network, *pool, "INPUT.SIZE_TRAIN", [96], "INPUT.SIZE_TEST", [96])
    with pytest.raises(InputError, match=r"TEST\.GEM_POWER is 4, but the network does not use its generalized-mean"):
        build_step(cfg, build_model(cfg, num_classes=3), iters_per_epoch=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), None),
        (("INPUT.ASPECT", "fit"), "INPUT.ASPECT was squash and is fit; INPUT.FILL was unused and is 255"),
        (("INPUT.LABEL.IN_TESTS", True), "INPUT.LABEL.IN_TESTS was False and is True"),
        (("TEST.SCALES", [0.7, 1.0]), "TEST.SCALES was [1.0] and is [0.7, 1.0]"),
        (("TEST.GEM_POWER", 4), "TEST.GEM_POWER was 0.0 and is 4.0"),
    ],
)
def test_saved_features_use_defaults_for_newer_settings(options, message, monkeypatch):
    warnings = []
    monkeypatch.setattr(get_logger(), "warning", warnings.append)
    provenance = Provenance("Mine", "w.pth", "", feature_settings(cfg_with()), "", {})
    older = {name: value for name, value in provenance.settings.items() if not name.startswith("INPUT.LABEL")}
    _check_provenance(
        cfg_with(*options), Path("folder"), replace(provenance, settings=older), require_same_weights=False
    )
    assert warnings == ([f"folder: using the saved features, although {message}"] if message else [])


def test_extraction_reports_files_by_their_paths_in_the_lists(monkeypatch, tmp_path):
    """As `fastreid test` does; absolute paths are only for the saved features."""
    drawings = (Drawing("data/a.png", "a.png", "1"), Drawing("data/b.png", "b.png", "1"))
    tests = {"Own": RetrievalData("Own", (), drawings[:1], drawings)}
    monkeypatch.setattr("fastreid.engine.features.extract.check_component_names", lambda cfg, training: None)
    monkeypatch.setattr("fastreid.engine.features.extract.build_test_datasets", lambda cfg: tests)
    checked = []

    def check_readable(cfg, *lists, decode):
        checked.extend(drawing.path for one in lists for drawing in one)
        raise InputError("unreadable")

    monkeypatch.setattr("fastreid.engine.features.extract.check_readable", check_readable)
    with pytest.raises(InputError, match="unreadable"):
        next(iter(extract_datasets(cfg_with("OUTPUT_DIR", str(tmp_path), "MODEL.DEVICE", "cpu"), random_weights=True)))
    assert checked == ["data/a.png", "data/a.png", "data/b.png"]
