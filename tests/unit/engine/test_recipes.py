"""Each recipe trains and is tested in reduced form; networks of full size compute features on torch's meta device."""

from pathlib import Path

import pytest
import tiny_backbone  # noqa: F401 (registers a small network)
import torch

from fastreid.config import get_cfg
from fastreid.config.locate import get_config_folder
from fastreid.engine.setup import load_config
from fastreid.engine.trainer import DefaultTrainer
from fastreid.modeling.backbones import TimmBackbone

RECIPES = sorted(get_config_folder().glob("recipes/*.yml"))
ONLY_OTHER_DATA = ("default_model", "small_cpu", "efficientnet_b0_512", "seed_16x4_384")  # equal to others when reduced
REDUCED = {  # TIMM_NAME of a recipe -> a small network, of the same family if timm has one
    "tf_efficientnet_b0.ns_jft_in1k": "test_efficientnet",
    "tf_efficientnet_b5.ns_jft_in1k": "test_efficientnet",
    "swinv2_base_window12to24_192to384.ms_in22k_ft_in1k": "test_convnext",
    "vit_base_patch16_clip_224.laion2b": "test_vit",
    "mobilenetv2_100": "mobilenetv2_100",
    "": "",
}
TIMM_RECIPES = {load_config(path).MODEL.BACKBONE.TIMM_NAME: path for path in RECIPES}  # one for each network


def name_of(path: Path) -> str:
    return path.stem


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Return the folder of rendered drawings, which every run uses."""
    return tmp_path_factory.mktemp("drawings")


def reduce(path: Path, drawings: Path, output: Path) -> list[str]:
    """Return the settings of a run of a second."""
    timm_name = REDUCED[load_config(path).MODEL.BACKBONE.TIMM_NAME]
    settings = {
        "MODEL.DEVICE": "cpu",
        "MODEL.WEIGHTS": "",
        "MODEL.BACKBONE.TIMM_NAME": timm_name,
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.BACKBONE.PRETRAIN_PATH": "",
        "DATASETS.ROOT": str(drawings),
        "DATASETS.NAMES": "Generated",
        "DATASETS.TESTS": "Generated",
        "DATASETS.CACHE.ENABLED": False,
        "DATASETS.GENERATED.NUM_TRAIN_PATENTS": 4,
        "DATASETS.GENERATED.NUM_TEST_PATENTS": 2,
        "DATASETS.GENERATED.SIZE_PX": 64,
        "INPUT.SIZE_TRAIN": "[64, 64]",
        "INPUT.SIZE_TEST": "[64, 64]",
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 16,
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.FREEZE_ITERS": 0,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "SOLVER.DELAY_EPOCHS": 0,
        "TEST.IMS_PER_BATCH": 16,
        "TEST.SCORE.BOOTSTRAP": 0,
        "TEST.NUM_VISUALIZED_QUERIES": 0,
        "OUTPUT_DIR": str(output),
    }
    if not timm_name:
        settings |= {"MODEL.BACKBONE.NAME": "tiny_backbone", "MODEL.BACKBONE.FEAT_DIM": 0}
    return [str(item) for pair in settings.items() for item in pair]


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem not in ONLY_OTHER_DATA], ids=name_of)
def test_recipe_trains_and_is_tested_in_reduced_form(path, drawings, tmp_path):
    trainer = DefaultTrainer(load_config(path, reduce(path, drawings, tmp_path)))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert (tmp_path / "model_final.pth").is_file()
    assert (tmp_path / "scores.json").is_file()


@pytest.mark.parametrize("path", [path for name, path in TIMM_RECIPES.items() if name], ids=name_of)
def test_network_of_full_size_accepts_the_images_of_a_recipe(path):
    cfg = load_config(path)
    backbone = cfg.MODEL.BACKBONE
    with torch.device("meta"), torch.no_grad():
        network = TimmBackbone(
            backbone.TIMM_NAME,
            out_modules=backbone.OUT_MODULES,
            tokens=backbone.TOKENS,
            drop_path=backbone.DROP_PATH,
        ).eval()
        features = network(torch.zeros(1, 3, *cfg.INPUT.SIZE_TRAIN))
    parts = features if isinstance(features, list) else [features]
    assert sum(part.shape[1] for part in parts) == network.feature_dim
    assert len(network.stages) > 5


def test_recipes_for_deep_patent_say_which_score_they_must_reach():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in RECIPES}
    unmeasured = [name for name, text in texts.items() if "Score: not yet run" in text]
    assert unmeasured
    assert all("must reach mAP" in texts[name] and "Cost, estimated" in texts[name] for name in unmeasured)


def test_recipes_of_wang_and_zhang_share_their_settings():
    for name in ("efficientnet_b0_256", "efficientnet_b0_512", "efficientnet_b5_512", "efficientnet_b5_768"):
        cfg = get_cfg()
        cfg.merge_from_file(get_config_folder() / f"recipes/{name}.yml")
        heads, size_px = cfg.MODEL.HEADS, int(name.rpartition("_")[2])
        assert (heads.CLS_LAYER, heads.SCALE, heads.MARGIN) == ("ArcSoftmax", 20, 0.5)
        assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [size_px, size_px]
        assert not any((cfg.INPUT.AFFINE.ENABLED, cfg.INPUT.CROP.ENABLED, cfg.INPUT.LINE_AUG.OPS))
