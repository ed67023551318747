"""From a config to the step of a run: how it accumulates, clips, averages and calls the network."""

from torch import nn

from fastreid.config import CfgNode
from fastreid.engine.arithmetic import kind_for_training
from fastreid.engine.average import WeightAverage
from fastreid.engine.setup import device_of
from fastreid.engine.step import Clip, TrainStep
from fastreid.modeling.build import build_losses
from fastreid.solver.build import build_optimizer
from fastreid.utils import comm
from fastreid.utils.errors import InputError


def build_step(cfg: CfgNode, model: nn.Module, *, iters_per_epoch: int) -> TrainStep:
    """The step that trains a network, which is on its device already, by SOLVER's settings.

    Raises:
        InputError: settings that do not go together.
    """
    _check_parts(cfg)
    device = device_of(cfg)
    return TrainStep(
        model,
        build_optimizer(cfg, model),
        device=device,
        dtype=kind_for_training(cfg.SOLVER.AMP.DTYPE, device) if cfg.SOLVER.AMP.ENABLED else None,
        accumulate=cfg.SOLVER.ACCUMULATE,
        clip=_clip(cfg),
        average=_average(cfg, model, iters_per_epoch),
        all_learn=any(term.sees == "logits" for term in build_losses(cfg)),
        compiled=cfg.MODEL.COMPILE,
    )


def _check_parts(cfg: CfgNode) -> None:
    num = cfg.SOLVER.IMS_PER_BATCH // comm.world_size()
    if num < 2 * cfg.SOLVER.ACCUMULATE:
        raise InputError(
            f"SOLVER.ACCUMULATE is {cfg.SOLVER.ACCUMULATE} and a device has {num} drawings a step; a part needs 2 at least"
        )
    if cfg.MODEL.COMPILE and cfg.MODEL.BACKBONE.RECOMPUTE:
        raise InputError("MODEL.COMPILE cannot take in MODEL.BACKBONE.RECOMPUTE; set one of them to False")


def _average(cfg: CfgNode, model: nn.Module, iters_per_epoch: int) -> WeightAverage | None:
    given = cfg.SOLVER.AVERAGE
    if given.METHOD == "none":
        return None
    if given.START_EPOCH >= cfg.SOLVER.MAX_EPOCH:
        raise InputError(
            f"SOLVER.AVERAGE.START_EPOCH is {given.START_EPOCH} and MAX_EPOCH {cfg.SOLVER.MAX_EPOCH}, so nothing would be "
            "averaged; lower it"
        )
    start = given.START_EPOCH * iters_per_epoch
    return WeightAverage(model, method=given.METHOD, decay=given.DECAY, start=start, iters_per_epoch=iters_per_epoch)


def _clip(cfg: CfgNode) -> Clip | None:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    return Clip(clip.CLIP_TYPE, clip.CLIP_VALUE, norm_type=clip.NORM_TYPE) if clip.ENABLED else None
