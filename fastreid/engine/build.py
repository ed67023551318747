"""From a config to the step of a run: how it accumulates, clips, averages and calls the network."""

from torch import nn

from fastreid.config import CfgNode
from fastreid.engine.hooks.diagnostics import RunDiagnostics
from fastreid.engine.precision import training_dtype
from fastreid.engine.setup import resolve_device
from fastreid.engine.train_loop import Hook
from fastreid.engine.train_step import GradientClip, TrainStep
from fastreid.engine.weight_average import WeightAverage
from fastreid.modeling.build import build_losses
from fastreid.monitoring.diagnostics import TrainingDiagnostics
from fastreid.solver.build import build_optimizer
from fastreid.utils import comm
from fastreid.utils.errors import InputError


def build_step(cfg: CfgNode, model: nn.Module, *, iters_per_epoch: int) -> TrainStep:
    """The step that trains a network, which is on its device already, by SOLVER's settings.

    Raises:
        InputError: settings that do not go together.
    """
    if cfg.MODEL.COMPILE and cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING:
        raise InputError("MODEL.COMPILE cannot take in MODEL.BACKBONE.GRADIENT_CHECKPOINTING; set one of them to False")
    device = resolve_device(cfg)
    return TrainStep(
        model,
        build_optimizer(cfg, model),
        device=device,
        dtype=training_dtype(cfg.SOLVER.AMP.DTYPE, device) if cfg.SOLVER.AMP.ENABLED else None,
        grad_accum_steps=cfg.SOLVER.GRAD_ACCUM_STEPS,
        clip=_build_gradient_clip(cfg),
        average=_build_weight_average(cfg, model, iters_per_epoch),
        no_unused_parameters=any(term.inputs == "logits" for term in build_losses(cfg)),
        compiled=cfg.MODEL.COMPILE,
    )


def build_diagnostics(cfg: CfgNode, *, num_classes: int, iters_per_epoch: int) -> list[Hook]:
    """Build the hook that warns about training problems; empty if SOLVER.DIAGNOSTICS_PERIOD is 0.

    Args:
        cfg: settings.
        num_classes: classes that a drawing is classified into in one step.
        iters_per_epoch: iterations per epoch.
    """
    if not cfg.SOLVER.DIAGNOSTICS_PERIOD:
        return []
    diagnostics = TrainingDiagnostics(
        period=cfg.SOLVER.DIAGNOSTICS_PERIOD,
        collapse_values={
            term.key: term.scale * term.collapse_value for term in build_losses(cfg) if term.collapse_value is not None
        },
        num_classes=num_classes,
        iters_per_epoch=iters_per_epoch,
        settle_steps=max(cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.FREEZE_ITERS),
    )
    return [RunDiagnostics(diagnostics)]


def check_micro_batch_size(cfg: CfgNode) -> None:
    """Refuse a batch of which SOLVER.GRAD_ACCUM_STEPS makes parts too small for batch norm and pairs.

    Raises:
        InputError: a part has fewer than two drawings.
    """
    num = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
    if num < 2 * cfg.SOLVER.GRAD_ACCUM_STEPS:
        raise InputError(
            f"SOLVER.GRAD_ACCUM_STEPS is {cfg.SOLVER.GRAD_ACCUM_STEPS} and a device has {num} drawings a step; a part needs 2 at least"
        )


def _build_weight_average(cfg: CfgNode, model: nn.Module, iters_per_epoch: int) -> WeightAverage | None:
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


def _build_gradient_clip(cfg: CfgNode) -> GradientClip | None:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    return GradientClip(clip.CLIP_TYPE, clip.CLIP_VALUE, norm_type=clip.NORM_TYPE) if clip.ENABLED else None
