"""Runs: train, resume, test, predict."""

from fastreid.engine.launch import launch
from fastreid.engine.predictor import Predictor
from fastreid.engine.setup import default_argument_parser, default_setup
from fastreid.engine.trainer import DefaultTrainer

__all__ = ["DefaultTrainer", "Predictor", "default_argument_parser", "default_setup", "launch"]
