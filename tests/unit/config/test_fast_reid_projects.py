"""Configs of fast-reid's projects: they load, or name the substitute of what is left out.

The texts repeat the settings that the projects are known for.
"""

import pytest

from fastreid.config import CfgNode, get_cfg, legacy_names
from fastreid.config.config import flat_defaults, section_names
from fastreid.config.legacy import LEGACY_KEYS
from fastreid.data import DATASETS, SAMPLERS
from fastreid.engine.run_checks import check_component_names
from fastreid.evaluation import METRICS
from fastreid.modeling import BACKBONES, HEADS, LOSSES, MARGINS, META_ARCHITECTURES, POOLING
from fastreid.solver import SCHEDULES
from fastreid.solver.build import create_optimizer
from fastreid.utils.errors import InputError

# project -> (settings, the message; "" if the config loads and its components exist)
PROJECTS = {
    "bagtricks S50": (
        "MODEL: {BACKBONE: {NAME: build_resnest_backbone}}\nDATASETS: {NAMES: [Market1501], TESTS: [Market1501]}",
        "MODEL.BACKBONE.NAME 'build_resnest_backbone' does not exist here; use MODEL.BACKBONE.NAME "
        "build_timm_backbone, TIMM_NAME resnest50d and FEAT_DIM 2048",
    ),
    "MGN": (
        "MODEL: {META_ARCHITECTURE: MGN, FREEZE_LAYERS: [backbone, b1, b2, b3], HEADS: {EMBEDDING_DIM: 256}}",
        "MODEL.META_ARCHITECTURE 'MGN' does not exist here; use Baseline",
    ),
    "ViT": (
        "MODEL: {BACKBONE: {NAME: build_vit_backbone, DEPTH: base, FEAT_DIM: 768, STRIDE_SIZE: [16, 16]}}\n"
        "INPUT: {SIZE_TRAIN: [256, 128], SIZE_TEST: [256, 128]}",
        "use MODEL.BACKBONE.NAME build_timm_backbone, TIMM_NAME vit_base_patch16_224 and FEAT_DIM 768",
    ),
    "FastRetri": (
        "INPUT: {CROP: {ENABLED: True, SIZE: [224, 224], SCALE: [0.16, 1.0]}, CJ: {SATURATION: 0.25, HUE: 0.0}}\n"
        "DATASETS: {NAMES: [CUB], TESTS: [CUB]}\nTEST: {RECALLS: [1, 2, 4, 8]}",
        "",
    ),
    "FastRetri cars": (
        "MODEL: {BACKBONE: {DEPTH: 50x}, HEADS: {WITH_BNNECK: True, CLS_LAYER: CircleSoftmax, SCALE: 64}}\n"
        "SOLVER: {OPT: SGD, MOMENTUM: 0.99, NESTEROV: True}",
        "",
    ),
    "VehicleID": (
        "DATASETS: {NAMES: [VehicleID], TESTS: [SmallVehicleID]}",
        "DATASETS.NAMES 'VehicleID' does not exist here; write its lists and use the dataset List",
    ),
    "FastFace": (
        "MODEL: {HEADS: {CLS_LAYER: CosSoftmax, SCALE: 64, MARGIN: 0.4, PFC: {ENABLED: True, SAMPLE_RATE: 0.1}}}",
        "MODEL.HEADS.PFC.ENABLED does not exist; use MODEL.HEADS.PARTIAL_FC_RATIO",
    ),
    "FastFace, older": (
        "MODEL: {PFC: {ENABLED: True}}",
        "MODEL.PFC.ENABLED does not exist; use MODEL.HEADS.PARTIAL_FC_RATIO",
    ),
    "margin by the name of its article": (
        "MODEL: {HEADS: {CLS_LAYER: AMSoftmax}}",
        "MODEL.HEADS.CLS_LAYER 'AMSoftmax' does not exist here; use CosSoftmax",
    ),
    "FastFace data": (
        "DATASETS: {REC_PATH: /data/ms1mv2, NAMES: [MS1MV2], TESTS: [CPLFW, LFW]}",
        "DATASETS.REC_PATH does not exist; record files are not read",
    ),
    "FastAttr": (
        "MODEL: {LOSSES: {NAME: [BinaryCrossEntropyLoss], BCE: {WEIGHT_ENABLED: True, SCALE: 1.0}}}",
        "MODEL.LOSSES.BCE.WEIGHT_ENABLED does not exist; attributes are not learned",
    ),
    "FastClas": (
        "MODEL: {HEADS: {NAME: ClasHead, WITH_BNNECK: False, CLS_LAYER: Linear}}\nSOLVER: {OPT: SGD, BASE_LR: 0.001}",
        "MODEL.HEADS.NAME 'ClasHead' does not exist here; use EmbeddingHead, which has the same classifier",
    ),
    "FastDistill": (
        "MODEL: {META_ARCHITECTURE: Distiller}\nKD: {MODEL_CONFIG: [a.yml], MODEL_WEIGHTS: [a.pth]}",
        "KD.MODEL_CONFIG is ['a.yml'], which has no effect: use MODEL.DISTILL.CONFIG and WEIGHTS",
    ),
    "MoCo": ("MODEL: {META_ARCHITECTURE: MoCo, QUEUE_SIZE: 8192}", "'MoCo' does not exist here; use Baseline with"),
    "PartialReID": (
        "MODEL: {META_ARCHITECTURE: PartialBaseline, HEADS: {NAME: DSRHead}}",
        "MODEL.META_ARCHITECTURE 'PartialBaseline' does not exist here; use Baseline",
    ),
    "older version": (
        "INPUT: {DO_AUTOAUG: True}\nSOLVER: {MAX_ITER: 18000}",
        "INPUT.DO_AUTOAUG does not exist; use INPUT.AUTOAUG.ENABLED",
    ),
    "older head": ("MODEL: {HEADS: {POOL_LAYER: gempool}}", "use GeneralizedMeanPoolingP"),
}


@pytest.mark.parametrize("project", PROJECTS)
def test_project_config_loads_or_names_the_substitute(project, tmp_path):
    text, message = PROJECTS[project]
    (tmp_path / "project.yml").write_text(text)

    def load():
        cfg = get_cfg()
        cfg.merge_from_file(tmp_path / "project.yml")
        check_component_names(cfg, training=True)

    if not message:
        load()
        return
    with pytest.raises(InputError) as caught:
        load()
    assert message in str(caught.value)
    assert "Did you mean" not in str(caught.value)


def test_project_may_add_its_settings_in_python():
    cfg = get_cfg()
    cfg.DATASETS.REC_PATH = ""
    cfg.MODEL.HEADS.PFC = CfgNode({"ENABLED": False})
    cfg.MODEL.HEADS.PFC.SAMPLE_RATE = 0.1
    cfg.MODEL.LOSSES.BCE = CfgNode({"WEIGHT_ENABLED": True})
    cfg.INPUT.CROP_SIZE = 224
    cfg.TEST.RECALLS = [1, 2, 4, 8, 16, 32]
    cfg.merge_from_list(["MODEL.HEADS.PFC.ENABLED", "True", "DATASETS.REC_PATH", "faces"])
    assert (cfg.MODEL.HEADS.PFC.ENABLED, cfg.DATASETS.REC_PATH) == (True, "faces")


REGISTRIES = {
    "DATASETS": DATASETS,
    "BACKBONES": BACKBONES,
    "META_ARCHITECTURES": META_ARCHITECTURES,
    "HEADS": HEADS,
    "POOLING": POOLING,
    "MARGINS": MARGINS,
    "LOSSES": LOSSES,
    "SAMPLERS": SAMPLERS,
    "SCHEDULES": SCHEDULES,
    "METRICS": METRICS,
}


@pytest.mark.parametrize("table", REGISTRIES)
def test_every_name_has_its_substitute_in_the_message(table):
    registry = REGISTRIES[table]
    for name, substitute in getattr(legacy_names, table).items():
        if name in registry.names():
            continue  # it exists now
        with pytest.raises(InputError) as caught:
            registry.get(name, "MY.KEY")
        assert str(caught.value) == f"MY.KEY '{name}' does not exist here; {substitute}"


@pytest.mark.parametrize("name", legacy_names.OPTIMIZERS)
def test_optimizers_have_substitutes(name):
    with pytest.raises(InputError, match=rf"SOLVER\.OPT '{name}' does not exist here; use"):
        create_optimizer(name, [], {})


def test_keys_of_projects_do_not_exist_and_name_settings_that_do():
    assert not {*legacy_names.KEYS} & {*flat_defaults(), *section_names(), *LEGACY_KEYS}
    words = {word.strip(",;.()") for advice in legacy_names.KEYS.values() for word in advice.split()}
    keys = {word for word in words if word.isupper() and "." in word}
    assert keys <= {*flat_defaults(), *section_names()}
