"""The door of the solver room: optimizer and schedule from the config."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fastreid.solver.fused_optimizers import fusing
from fastreid.solver.layerwise_lr import stage_factors
from fastreid.solver.parameter_groups import ParameterRates, parameter_groups
from fastreid.solver.schedule import CosineSchedule, MultiStepSchedule, Schedule, Warmup
from fastreid.utils.errors import InputError, suggest
from fastreid.utils.logger import get_logger
from fastreid.utils.registry import Registry

OTHER_KIND = {  # classes of torch.optim that an ordinary step cannot drive
    "LBFGS": "asks for the loss several times a step",
    "SparseAdam": "takes sparse gradients only",
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


def build_schedule(cfg, iters_per_epoch: int) -> Schedule:
    """The learning rate of a run with so many iterations an epoch."""
    warmup = Warmup(cfg.SOLVER.WARMUP_ITERS, factor=cfg.SOLVER.WARMUP_FACTOR, method=cfg.SOLVER.WARMUP_METHOD)
    return SCHEDULES.get(cfg.SOLVER.SCHED)(
        cfg,
        iters_per_epoch=iters_per_epoch,
        max_epochs=cfg.SOLVER.MAX_EPOCH,
        warmup=warmup,
        delay_epochs=cfg.SOLVER.DELAY_EPOCHS,
    )


def build_optimizer(cfg, model: nn.Module) -> torch.optim.Optimizer:
    """SGD with its momentum, or any class of torch.optim, with `SOLVER.OPT_ARGS` as further arguments."""
    rates = ParameterRates(
        base_lr=base_lr(cfg),
        heads_factor=cfg.SOLVER.HEADS_LR_FACTOR,
        bias_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        norm_decay=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_decay=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        factors=stage_factors(model, decay=cfg.SOLVER.LAYER_DECAY, table=dict(cfg.SOLVER.STAGE_FACTORS)),
    )
    arguments = dict(cfg.SOLVER.OPT_ARGS)
    if cfg.SOLVER.OPT == "SGD":
        arguments = {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV, **arguments}
    return make_optimizer(cfg.SOLVER.OPT, parameter_groups(model, rates), arguments, fused=cfg.SOLVER.FUSED)


def base_lr(cfg) -> float:
    """The learning rate after warm-up: BASE_LR, times IMS_PER_BATCH / LR_REFERENCE_BATCH where the latter is given.

    The linear rule of Goyal et al.: Accurate, large minibatch SGD (2017), section 2.1.
    """
    given, num, base = cfg.SOLVER.BASE_LR, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.LR_REFERENCE_BATCH
    if not base:
        return given
    get_logger().info(f"learning rate {given:g} for {base} drawings a step is {given * num / base:g} for {num}")
    return given * num / base


def make_optimizer(
    name: str, groups: Sequence[dict], arguments: Mapping[str, Any], *, fused: str = "never"
) -> torch.optim.Optimizer:
    """Any class of torch.optim by name, `fused` auto, always or never; an argument the class does not take is refused."""
    if name in OTHER_KIND:
        raise InputError(f"SOLVER.OPT: {name} {OTHER_KIND[name]}; choose another, such as Adam or SGD")
    known = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    if name not in known:
        raise InputError(f"SOLVER.OPT: torch.optim has no optimizer '{name}'.{suggest(name, known)}")
    device = groups[0]["params"][0].device if groups else torch.device("cpu")
    try:
        return known[name](groups, **fusing(known[name], arguments, when=fused, device=device))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"SOLVER.OPT_ARGS: {name} refuses {dict(arguments)}: {error}")
