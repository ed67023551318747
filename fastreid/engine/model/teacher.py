"""Attach the teacher of MODEL.DISTILL to a network."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fastreid.config import CfgNode
from fastreid.config.config import flat_defaults, iter_settings
from fastreid.engine.model.directory import TRAINING_ONLY_SETTINGS, find_model_directory
from fastreid.engine.model.network import CLASSIFIER_WEIGHT, build_model_with_weights, image_size
from fastreid.engine.setup import load_test_config
from fastreid.modeling.baseline import Baseline
from fastreid.modeling.losses.distillation import SimilarityDistillation
from fastreid.modeling.weights import COUNTER
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

# Settings of MODEL that the features of a teacher do not depend on, by the start of their names.
IRRELEVANT_SETTINGS = (*TRAINING_ONLY_SETTINGS, "MODEL.BACKBONE.PRETRAIN", "MODEL.BACKBONE.FEAT_DIM")


def attach_teacher(cfg: CfgNode, model: nn.Module) -> dict[str, str]:
    """Build the teacher of MODEL.DISTILL, if there is one, and let the losses of a network use it.

    Every process must call this function.

    Args:
        cfg: settings of the student, whose images the teacher gets.
        model: the student.

    Returns:
        The fingerprint of the teacher, which identifies it in checkpoints: a digest of its `weights` and of its
        `settings`, for any file or folder that contains them; {} without a teacher.

    Raises:
        InputError: the settings are incompatible, a file does not exist, or the processes have other teachers.
        WeightsError: the weights of the teacher do not fit its config.
    """
    options = cfg.MODEL.DISTILL
    if not options.CONFIG and not options.WEIGHTS:
        return {}
    if not options.CONFIG and find_model_directory(options.WEIGHTS) is None:
        raise InputError(
            f"MODEL.DISTILL.WEIGHTS {options.WEIGHTS} is neither a model directory nor a shipped model, so it needs "
            "the config of the teacher; set MODEL.DISTILL.CONFIG"
        )
    if not isinstance(model, Baseline):
        raise InputError(
            "MODEL.DISTILL needs MODEL.META_ARCHITECTURE Baseline; set MODEL.DISTILL.CONFIG and WEIGHTS to ''"
        )
    for key, value in (("MODEL.COMPILE", cfg.MODEL.COMPILE), ("SOLVER.HEAD_ONLY", cfg.SOLVER.HEAD_ONLY)):
        if value:
            raise InputError(
                f"{key} and MODEL.DISTILL cannot be combined; set {key} False, or MODEL.DISTILL.CONFIG and WEIGHTS ''"
            )
    settings = ["MODEL.DEVICE", cfg.MODEL.DEVICE, "INPUT.CROP.ENABLED", "False"]
    settings += ["INPUT.SIZE_TEST", str(list(image_size(cfg, cfg.INPUT.SIZE_TRAIN)))]
    settings += ["MODEL.WEIGHTS", options.WEIGHTS] if options.WEIGHTS else []
    get_logger().info(f"teacher of MODEL.DISTILL: {options.CONFIG or options.WEIGHTS}")
    teacher_cfg = load_test_config(options.CONFIG or None, settings)
    teacher = build_model_with_weights(teacher_cfg)
    fingerprint = {"weights": _hash_state(teacher.state_dict()), "settings": _hash_settings(teacher_cfg)}
    first, *others = comm.all_gather_object(fingerprint)
    if any(other != first for other in others):
        raise InputError("the processes of the run have different teachers of MODEL.DISTILL; give all the same files")
    model.distillation = SimilarityDistillation(teacher, scale=options.SCALE)
    return fingerprint


def describe_teacher_change(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return what differs between the fingerprints of two teachers, such as "weights"; "" if nothing."""
    return " and ".join(name for name in now if before.get(name) != now[name])


def _hash_state(state: Mapping[str, Tensor]) -> str:
    """Return a digest of the tensors on which features depend."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if name != CLASSIFIER_WEIGHT and not name.endswith(COUNTER):
            tensor = state[name].detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _hash_settings(cfg: CfgNode) -> str:
    """Return a digest of the settings of a network that differ from the defaults."""
    defaults = flat_defaults()
    settings = {
        name: value
        for name, value in iter_settings(cfg.MODEL, "MODEL.")
        if not name.startswith(IRRELEVANT_SETTINGS) and value != defaults.get(name)
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
