"""Optimizers, parameter groups and learning-rate schedules."""

from fastreid.solver.build import SCHEDULES, build_optimizer, build_schedule
from fastreid.solver.parameter_groups import ParameterRates
from fastreid.solver.schedule import CosineSchedule, MultiStepSchedule, Schedule, Warmup

__all__ = [
    "SCHEDULES",
    "CosineSchedule",
    "MultiStepSchedule",
    "ParameterRates",
    "Schedule",
    "Warmup",
    "build_optimizer",
    "build_schedule",
]
