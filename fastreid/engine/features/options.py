"""Options of a test that affect features: TEST.FLIP, TEST.SCALES and TEST.GEM_POWER."""

from typing import Any

from torch import nn

from fastreid.config import CfgNode
from fastreid.engine.features.image_scales import check_scaled_images, check_scales
from fastreid.engine.features.inference import NO_GEM_POOLING, check_gem_power
from fastreid.layers.gem_pooling import GeneralizedMeanPooling
from fastreid.modeling.build import POOLING
from fastreid.modeling.network_settings import find_network_settings
from fastreid.utils.errors import InputError

TESTS_ARE_NEGATIVES = (
    "TEST.NEGATIVE would subtract the test drawings from themselves, as they are also training drawings with "
    "DATASETS.COMBINEALL True; disable one of the two"
)


def check_feature_options(cfg: CfgNode) -> None:
    """Check the options before any work.

    Raises:
        InputError: one of TEST.SCALES has no effect, or TEST.GEM_POWER is set for a head without a power.
    """
    check_scales(cfg.TEST.SCALES, get_test_size(cfg))
    heads = cfg.MODEL.HEADS
    if cfg.TEST.GEM_POWER and heads.NAME == "EmbeddingHead":  # other heads may have a pooling layer of their own
        pool = POOLING.get(heads.POOL_LAYER, "MODEL.HEADS.POOL_LAYER")()
        if not isinstance(pool, GeneralizedMeanPooling):
            raise InputError(NO_GEM_POOLING.format(cfg.TEST.GEM_POWER))


def check_network_options(cfg: CfgNode, model: nn.Module) -> None:
    """Check that a network supports the options, before an extraction or the first iteration of a training run.

    Raises:
        InputError: it does not accept images at one of TEST.SCALES, or has no pooling layer that uses TEST.GEM_POWER.
    """
    check_scaled_images(model, cfg.TEST.SCALES, get_test_size(cfg))
    check_gem_power(model, cfg.TEST.GEM_POWER, get_test_size(cfg))


def check_negatives(cfg: CfgNode) -> None:
    """Check that TEST.NEGATIVE, if it is enabled, does not subtract the test drawings.

    Raises:
        InputError: the test drawings are also training drawings.
    """
    if cfg.TEST.NEGATIVE.ENABLED and cfg.DATASETS.COMBINEALL:
        raise InputError(TESTS_ARE_NEGATIVES)


def get_feature_options(cfg: CfgNode) -> dict[str, Any]:
    """Return the arguments flip, scales and gem_power of `run_inference` and `Predictor`."""
    return {"flip": cfg.TEST.FLIP.ENABLED, "scales": cfg.TEST.SCALES, "gem_power": cfg.TEST.GEM_POWER}


def get_test_size(cfg: CfgNode) -> tuple[int, int]:
    """Return (H, W) of the images of a test; a square if only the length of the short side is known."""
    size_px = cfg.INPUT.SIZE_TEST or find_network_settings(cfg).size_px
    size_px = cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else size_px
    return size_px[0], size_px[-1]
