"""Builds the optimizer and the learning-rate schedule of a config."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from fastreid.config import legacy_names
from fastreid.solver.fused_optimizers import add_fused_flag
from fastreid.solver.layerwise_lr import layerwise_lr_factors
from fastreid.solver.parameter_groups import ParameterRates, build_parameter_groups
from fastreid.solver.schedule import CosineSchedule, MultiStepSchedule, Schedule, Warmup, resolve_duration
from fastreid.utils.errors import InputError, describe_unknown
from fastreid.utils.logger import get_logger
from fastreid.utils.registry import Registry

UNSUPPORTED_OPTIMIZERS = {  # classes of torch.optim that need another training loop
    "LBFGS": "evaluates the loss several times per step",
    "SparseAdam": "supports only sparse gradients",
}
MIN_ADAFACTOR_EPS1 = math.sqrt(torch.finfo(torch.float32).tiny)  # 2 ** -63

SCHEDULES: Registry[Callable[..., Schedule]] = Registry(
    "learning-rate schedule",
    {
        "CosineAnnealingLR": lambda cfg, **common: CosineSchedule(eta_min=cfg.SOLVER.ETA_MIN_LR, **common),
        "MultiStepLR": lambda cfg, **common: MultiStepSchedule(
            steps=tuple(cfg.SOLVER.STEPS), gamma=cfg.SOLVER.GAMMA, **common
        ),
    },
    substitutes=legacy_names.SCHEDULES,
)


def check_solver_names(cfg: CfgNode) -> None:
    """Look up SOLVER.OPT and SOLVER.SCHED; cheap, so that a typo is reported before any data is read.

    Raises:
        InputError: a name is unknown or unsupported.
    """
    _find_optimizer_class(cfg.SOLVER.OPT)
    SCHEDULES.get(cfg.SOLVER.SCHED, "SOLVER.SCHED")


def build_schedule(cfg: CfgNode, iters_per_epoch: int) -> Schedule:
    """Build the learning-rate schedule of a run with `iters_per_epoch` iterations per epoch.

    A warm-up, freezing or delay that does not end before the run is a warning.
    """
    warning = find_long_durations(cfg, iters_per_epoch)
    if warning:
        get_logger().warning(warning)
    warmup = Warmup(
        resolve_iterations(cfg, "WARMUP_ITERS", iters_per_epoch),
        factor=cfg.SOLVER.WARMUP_FACTOR,
        method=cfg.SOLVER.WARMUP_METHOD,
    )
    return SCHEDULES.get(cfg.SOLVER.SCHED, "SOLVER.SCHED")(
        cfg,
        iters_per_epoch=iters_per_epoch,
        max_epochs=cfg.SOLVER.MAX_EPOCH,
        warmup=warmup,
        delay_epochs=resolve_duration(cfg.SOLVER.DELAY_EPOCHS, cfg.SOLVER.MAX_EPOCH),
    )


def resolve_iterations(cfg: CfgNode, key: str, iters_per_epoch: int) -> int:
    """Return SOLVER.WARMUP_ITERS or SOLVER.FREEZE_ITERS as a number of iterations; below 1 it is a ratio of the run."""
    return resolve_duration(cfg.SOLVER[key], cfg.SOLVER.MAX_EPOCH * iters_per_epoch)


def find_long_durations(cfg: CfgNode, iters_per_epoch: int) -> str:
    """Return a warning if warm-up, freezing or delay do not end before the run does; "" if all do."""
    num_epochs = cfg.SOLVER.MAX_EPOCH
    num_iterations = num_epochs * iters_per_epoch
    has_frozen_layers = bool(cfg.MODEL.FREEZE_LAYERS)
    long = [
        f"SOLVER.{key} is {cfg.SOLVER[key]} and the run has {length} {unit}"
        for key, length, unit in (
            ("WARMUP_ITERS", num_iterations, "iterations"),
            ("FREEZE_ITERS", num_iterations if has_frozen_layers else math.inf, "iterations"),
            ("DELAY_EPOCHS", num_epochs, "epochs"),
        )
        if cfg.SOLVER[key] >= length
    ]
    advice = "; a value below 1 is a ratio of the run, such as SOLVER.WARMUP_ITERS 0.1"
    return "; ".join(long) + advice if long else ""


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer SOLVER.OPT, any class of torch.optim, with the arguments SOLVER.OPT_ARGS.

    SGD also gets SOLVER.MOMENTUM and SOLVER.NESTEROV.

    Raises:
        InputError: the optimizer is unknown or unsupported, an argument is invalid, or a stage does not exist.
    """
    rates = ParameterRates(
        base_lr=compute_base_lr(cfg),
        heads_factor=cfg.SOLVER.HEADS_LR_FACTOR,
        bias_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        norm_decay=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_decay=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        module_factors=layerwise_lr_factors(model, decay=cfg.SOLVER.LAYER_DECAY, table=dict(cfg.SOLVER.STAGE_FACTORS)),
        decays_backbone=not cfg.SOLVER.L2_SP,
    )
    arguments = dict(cfg.SOLVER.OPT_ARGS)
    if cfg.SOLVER.OPT == "SGD":
        arguments = {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV, **arguments}
    return create_optimizer(cfg.SOLVER.OPT, build_parameter_groups(model, rates), arguments)


def compute_base_lr(cfg: CfgNode) -> float:
    """Return the learning rate after warm-up: BASE_LR, scaled by IMS_PER_BATCH / LR_REFERENCE_BATCH if that is set.

    Linear scaling rule of Goyal et al.: Accurate, large minibatch SGD (2017), section 2.1.
    """
    reference_lr: float = cfg.SOLVER.BASE_LR
    batch_size: int = cfg.SOLVER.IMS_PER_BATCH
    reference_batch_size: int = cfg.SOLVER.LR_REFERENCE_BATCH
    if not reference_batch_size:
        return reference_lr
    lr = reference_lr * batch_size / reference_batch_size
    get_logger().info(
        f"learning rate scaled from {reference_lr:g} (batch size {reference_batch_size}) "
        f"to {lr:g} (batch size {batch_size})"
    )
    return lr


def create_optimizer(
    name: str, groups: Sequence[dict[str, Any]], arguments: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Create an optimizer of torch.optim by name.

    Args:
        name: class name, such as "Adam".
        groups: parameter groups, as `build_parameter_groups` returns them.
        arguments: keyword arguments of the class; on CUDA with `fused=True` by default, if torch has fused kernels.

    Raises:
        InputError: the class is unknown or unsupported, or does not accept the arguments.
    """
    optimizer_class = _find_optimizer_class(name)
    device = groups[0]["params"][0].device if groups else torch.device("cpu")
    used = _replace_vanishing_eps(name, arguments)
    try:
        return optimizer_class(groups, **add_fused_flag(optimizer_class, used, device=device))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"SOLVER.OPT_ARGS: {name} does not accept {dict(arguments)}: {error}")


def _replace_vanishing_eps(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments in which eps1 of Adafactor is not 0 after it is squared in float32, with a warning if it was.

    Other implementations add 1e-30 to the squared gradients, so their configs have this value. torch squares it and
    divides by its root, which is 0 / 0 for a gradient of 0.
    """
    match arguments:
        case {"eps": [int() | float() as eps1, eps2]} if name == "Adafactor" and 0 <= eps1 < MIN_ADAFACTOR_EPS1:
            get_logger().warning(
                f"SOLVER.OPT_ARGS: torch squares the first eps of Adafactor, and the square of {eps1:g} is 0 in "
                f"float32, so {MIN_ADAFACTOR_EPS1:.2g} is used"
            )
            return {**arguments, "eps": (MIN_ADAFACTOR_EPS1, eps2)}
    return dict(arguments)


def _find_optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    if name in UNSUPPORTED_OPTIMIZERS:
        raise InputError(f"SOLVER.OPT: {name} {UNSUPPORTED_OPTIMIZERS[name]}; choose another one, such as Adam or SGD")
    known = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    if name not in known and name in legacy_names.OPTIMIZERS:
        raise InputError(f"SOLVER.OPT '{name}' does not exist here; {legacy_names.OPTIMIZERS[name]}")
    if name not in known:
        raise InputError(describe_unknown("SOLVER.OPT", name, known.keys() - UNSUPPORTED_OPTIMIZERS.keys()))
    return known[name]
