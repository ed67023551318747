"""`fastreid train`: its options reach the trainer."""

import argparse
from unittest import mock

import pytest

from fastreid.cli.train import train


@pytest.mark.parametrize("resume", [False, True])
def test_resume_reaches_the_trainer(monkeypatch, resume):
    trainer = mock.Mock()
    monkeypatch.setattr("fastreid.engine.trainer.DefaultTrainer", lambda cfg: trainer)
    monkeypatch.setattr("fastreid.engine.setup.load_config", lambda *arguments: None)
    monkeypatch.setattr("fastreid.engine.setup.default_setup", lambda *arguments: None)
    check = mock.Mock()
    monkeypatch.setattr("fastreid.engine.model.weights_source.check_initial_weights", check)
    train(argparse.Namespace(config_file="a.yml", opts=[], resume=resume))
    check.assert_called_once_with(None, resume=resume)
    trainer.resume_or_load.assert_called_once_with(resume=resume)
    trainer.train.assert_called_once_with()
