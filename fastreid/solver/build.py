"""Builds the optimizer and the learning-rate schedule of a config."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from fastreid.solver.fused_optimizers import add_fused_flag
from fastreid.solver.layerwise_lr import layerwise_lr_factors
from fastreid.solver.parameter_groups import ParameterRates, build_parameter_groups
from fastreid.solver.schedule import CosineSchedule, MultiStepSchedule, Schedule, Warmup
from fastreid.utils.errors import InputError, suggest_and_list
from fastreid.utils.logger import get_logger
from fastreid.utils.registry import Registry

UNSUPPORTED_OPTIMIZERS = {  # classes of torch.optim that need another training loop
    "LBFGS": "evaluates the loss several times per step",
    "SparseAdam": "supports only sparse gradients",
}

SCHEDULES: Registry[Callable[..., Schedule]] = Registry(
    "learning-rate schedule",
    {
        "CosineAnnealingLR": lambda cfg, **common: CosineSchedule(eta_min=cfg.SOLVER.ETA_MIN_LR, **common),
        "MultiStepLR": lambda cfg, **common: MultiStepSchedule(
            steps=tuple(cfg.SOLVER.STEPS), gamma=cfg.SOLVER.GAMMA, **common
        ),
    },
)


def build_schedule(cfg: CfgNode, iters_per_epoch: int) -> Schedule:
    """Build the learning-rate schedule of a run with `iters_per_epoch` iterations per epoch."""
    warmup = Warmup(cfg.SOLVER.WARMUP_ITERS, factor=cfg.SOLVER.WARMUP_FACTOR, method=cfg.SOLVER.WARMUP_METHOD)
    return SCHEDULES.get(cfg.SOLVER.SCHED)(
        cfg,
        iters_per_epoch=iters_per_epoch,
        max_epochs=cfg.SOLVER.MAX_EPOCH,
        warmup=warmup,
        delay_epochs=cfg.SOLVER.DELAY_EPOCHS,
    )


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
        prefix_factors=layerwise_lr_factors(model, decay=cfg.SOLVER.LAYER_DECAY, table=dict(cfg.SOLVER.STAGE_FACTORS)),
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
    if name in UNSUPPORTED_OPTIMIZERS:
        raise InputError(f"SOLVER.OPT: {name} {UNSUPPORTED_OPTIMIZERS[name]}; choose another one, such as Adam or SGD")
    known = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    if name not in known:
        raise InputError(f"SOLVER.OPT: torch.optim has no optimizer '{name}'.{suggest_and_list(name, known)}")
    device = groups[0]["params"][0].device if groups else torch.device("cpu")
    try:
        return known[name](groups, **add_fused_flag(known[name], arguments, device=device))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"SOLVER.OPT_ARGS: {name} does not accept {dict(arguments)}: {error}")
