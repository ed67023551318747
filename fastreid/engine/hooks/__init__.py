"""Hooks of the training loop, one module per concern."""

from fastreid.engine.hooks.best_models import SaveBestModels
from fastreid.engine.hooks.checkpoints import SaveCheckpoints, SaveUnfinishedWork
from fastreid.engine.hooks.diagnostics import RunDiagnostics
from fastreid.engine.hooks.early_stopping import EarlyStopping
from fastreid.engine.hooks.evaluation import Evaluate
from fastreid.engine.hooks.freeze import FreezeLayers
from fastreid.engine.hooks.hard_identities import MineHardIdentities
from fastreid.engine.hooks.lr import SetLearningRate
from fastreid.engine.hooks.metrics import LogInputImages, WriteMetrics
from fastreid.engine.hooks.partial_fc import SampleClasses
from fastreid.engine.hooks.precise_bn import PreciseBatchNorm
from fastreid.engine.hooks.signals import StopOnSignal
from fastreid.engine.hooks.unreadable import RecordUnreadable
from fastreid.engine.hooks.weight_check import CheckWeightUpdates

__all__ = [
    "CheckWeightUpdates",
    "EarlyStopping",
    "Evaluate",
    "FreezeLayers",
    "LogInputImages",
    "MineHardIdentities",
    "PreciseBatchNorm",
    "RecordUnreadable",
    "RunDiagnostics",
    "SampleClasses",
    "SaveBestModels",
    "SaveCheckpoints",
    "SaveUnfinishedWork",
    "SetLearningRate",
    "StopOnSignal",
    "WriteMetrics",
]
