"""Attach the teacher of MODEL.DISTILL to a network."""

from torch import nn

from fastreid.config import CfgNode
from fastreid.engine.model import build_model_with_weights, image_size
from fastreid.engine.setup import load_test_config
from fastreid.modeling.baseline import Baseline
from fastreid.modeling.losses.distillation import SimilarityDistillation
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger


def attach_teacher(cfg: CfgNode, model: nn.Module) -> None:
    """Build the teacher of MODEL.DISTILL, if there is one, and let the losses of a network use it.

    Args:
        cfg: settings of the student, whose images the teacher gets.
        model: the student.

    Raises:
        InputError: the settings are incompatible, or a file does not exist.
        WeightsError: the weights of the teacher do not fit its config.
    """
    options = cfg.MODEL.DISTILL
    if not options.CONFIG:
        if options.WEIGHTS:
            raise InputError("MODEL.DISTILL.WEIGHTS needs the config of the teacher; set MODEL.DISTILL.CONFIG")
        return
    if not isinstance(model, Baseline):
        raise InputError("MODEL.DISTILL needs MODEL.META_ARCHITECTURE Baseline; set MODEL.DISTILL.CONFIG to ''")
    for key, value in (("MODEL.COMPILE", cfg.MODEL.COMPILE), ("SOLVER.HEAD_ONLY", cfg.SOLVER.HEAD_ONLY)):
        if value:
            raise InputError(f"{key} and MODEL.DISTILL cannot be combined; set {key} False, or MODEL.DISTILL.CONFIG ''")
    settings = ["MODEL.DEVICE", cfg.MODEL.DEVICE, "INPUT.CROP.ENABLED", "False"]
    settings += ["INPUT.SIZE_TEST", str(list(image_size(cfg, cfg.INPUT.SIZE_TRAIN)))]
    settings += ["MODEL.WEIGHTS", options.WEIGHTS] if options.WEIGHTS else []
    get_logger().info(f"teacher of MODEL.DISTILL: {options.CONFIG}")
    teacher = build_model_with_weights(load_test_config(options.CONFIG, settings))
    model.distillation = SimilarityDistillation(teacher, scale=options.SCALE)
