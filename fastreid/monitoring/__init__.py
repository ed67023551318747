"""Monitoring of training runs: metric files, console, TensorBoard, experiment trackers and diagnostics."""

from fastreid.monitoring.build import TRACKERS
from fastreid.monitoring.console import ConsoleWriter
from fastreid.monitoring.diagnostics import TrainingDiagnostics
from fastreid.monitoring.projector import ProjectorData, build_projector_data
from fastreid.monitoring.tensorboard import TensorboardWriter
from fastreid.monitoring.trackers import MLflowWriter, WandbWriter
from fastreid.monitoring.writers import CSVWriter, JSONWriter, Writer, read_metrics

__all__ = [
    "TRACKERS",
    "CSVWriter",
    "ConsoleWriter",
    "JSONWriter",
    "MLflowWriter",
    "ProjectorData",
    "TensorboardWriter",
    "TrainingDiagnostics",
    "WandbWriter",
    "Writer",
    "build_projector_data",
    "read_metrics",
]
