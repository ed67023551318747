"""Build the training step and the diagnostics of a config."""

from torch import nn

from fastreid.config import CfgNode
from fastreid.engine.features.options import check_network_options
from fastreid.engine.hooks.diagnostics import RunDiagnostics
from fastreid.engine.model.network import freeze_unreached_parameters
from fastreid.engine.model.teacher import attach_teacher
from fastreid.engine.precision import training_dtype
from fastreid.engine.setup import resolve_device
from fastreid.engine.step.gradient_clip import GradientClip
from fastreid.engine.step.starting_point import StartingPointDecay
from fastreid.engine.step.train_step import TrainStep
from fastreid.engine.step.weight_average import WeightAverage
from fastreid.engine.train_loop import Hook
from fastreid.modeling.baseline import Baseline
from fastreid.modeling.build import build_losses
from fastreid.monitoring.diagnostics import TrainingDiagnostics
from fastreid.solver.build import build_optimizer, resolve_iterations
from fastreid.utils import comm
from fastreid.utils.errors import InputError


def build_step(cfg: CfgNode, model: nn.Module, *, iters_per_epoch: int) -> TrainStep:
    """Build the training step with the SOLVER settings.

    Args:
        cfg: settings.
        model: the network, on its device; it gets the teacher of MODEL.DISTILL, and parameters that its forward pass
            does not reach are frozen.
        iters_per_epoch: iterations per epoch.

    Raises:
        InputError: settings contradict each other, or the network does not accept images of the INPUT settings or does
            not support TEST.SCALES or TEST.GEM_POWER, which the first evaluation would find.
    """
    if cfg.MODEL.COMPILE and cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING:
        raise InputError(
            "MODEL.COMPILE and MODEL.BACKBONE.GRADIENT_CHECKPOINTING cannot be combined; set one of them to False"
        )
    if cfg.MODEL.COMPILE and cfg.MODEL.LOSSES.MEMORY.SIZE:
        raise InputError("MODEL.COMPILE and MODEL.LOSSES.MEMORY.SIZE cannot be combined; set COMPILE False or SIZE 0")
    device = resolve_device(cfg)
    freeze_unreached_parameters(cfg, model)
    check_network_options(cfg, model)
    teacher = attach_teacher(cfg, model)
    return TrainStep(
        model,
        build_optimizer(cfg, model),
        device=device,
        dtype=training_dtype(cfg.SOLVER.AMP.DTYPE, device) if cfg.SOLVER.AMP.ENABLED else None,
        grad_accum_steps=cfg.SOLVER.GRAD_ACCUM_STEPS,
        clip=_build_gradient_clip(cfg),
        average=_build_weight_average(cfg, model, iters_per_epoch),
        memory=model.memory if isinstance(model, Baseline) else None,
        starting_point=StartingPointDecay(cfg.SOLVER.L2_SP) if cfg.SOLVER.L2_SP else None,
        teacher=teacher,
        no_unused_parameters=any(term.inputs == "logits" for term in build_losses(cfg)),
        compiled=cfg.MODEL.COMPILE,
    )


def build_diagnostics(cfg: CfgNode, *, num_classes: int, iters_per_epoch: int) -> list[Hook]:
    """Build the hook that warns about training problems; empty if SOLVER.DIAGNOSTICS_PERIOD is 0.

    Args:
        cfg: settings.
        num_classes: classes of the classifier in one iteration.
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
        settle_steps=max(resolve_iterations(cfg, key, iters_per_epoch) for key in ("WARMUP_ITERS", "FREEZE_ITERS")),
    )
    return [RunDiagnostics(diagnostics)]


def check_micro_batch_size(cfg: CfgNode) -> None:
    """Check that a micro-batch has at least two drawings, the minimum for batch norm and pairs.

    Raises:
        InputError: a micro-batch has fewer than two drawings.
    """
    num_drawings = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
    if num_drawings < 2 * cfg.SOLVER.GRAD_ACCUM_STEPS:
        raise InputError(
            f"SOLVER.GRAD_ACCUM_STEPS is {cfg.SOLVER.GRAD_ACCUM_STEPS} and a device has {num_drawings} drawings per "
            "iteration, but a micro-batch needs at least 2; lower GRAD_ACCUM_STEPS or raise SOLVER.IMS_PER_BATCH"
        )


def _build_weight_average(cfg: CfgNode, model: nn.Module, iters_per_epoch: int) -> WeightAverage | None:
    options = cfg.SOLVER.AVERAGE
    if options.METHOD == "none":
        return None
    if options.START_EPOCH >= cfg.SOLVER.MAX_EPOCH:
        raise InputError(
            f"SOLVER.AVERAGE.START_EPOCH is {options.START_EPOCH} and MAX_EPOCH {cfg.SOLVER.MAX_EPOCH}, so nothing "
            "would be averaged; lower START_EPOCH"
        )
    start = options.START_EPOCH * iters_per_epoch
    return WeightAverage(
        model, method=options.METHOD, decay=options.DECAY, start=start, iters_per_epoch=iters_per_epoch
    )


def _build_gradient_clip(cfg: CfgNode) -> GradientClip | None:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    return GradientClip(clip.CLIP_TYPE, clip.CLIP_VALUE, norm_type=clip.NORM_TYPE) if clip.ENABLED else None
