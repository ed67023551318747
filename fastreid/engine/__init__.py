"""Train, resume, evaluate and predict: everything that belongs to one run."""

from fastreid.engine import hooks
from fastreid.engine.checkpoint.checkpointer import Checkpointer
from fastreid.engine.predictor import Predictor
from fastreid.engine.processes.launch import launch
from fastreid.engine.setup import default_argument_parser, default_setup, load_config
from fastreid.engine.step.train_step import TrainStep
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.engine.trainer import DefaultTrainer

DefaultPredictor = Predictor.from_cfg  # the name in fast-reid

__all__ = [
    "Checkpointer",
    "DefaultPredictor",
    "DefaultTrainer",
    "Hook",
    "Predictor",
    "TrainLoop",
    "TrainStep",
    "default_argument_parser",
    "default_setup",
    "hooks",
    "launch",
    "load_config",
]
