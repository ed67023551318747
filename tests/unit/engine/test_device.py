"""MODEL.DEVICE: each name, and `auto` on machines with and without accelerators."""

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.engine.setup import load_config, resolve_device
from fastreid.utils.errors import EnvironmentSetupError, InputError


def set_machine(monkeypatch, *, num_gpus=0, has_mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)


def config_with(device):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = device
    return cfg


@pytest.mark.parametrize(
    ("machine", "device", "expected"),
    [
        ({}, "auto", "cpu"),
        ({"has_mps": True}, "auto", "mps"),
        ({"num_gpus": 2}, "auto", "cuda:0"),
        ({"num_gpus": 2, "has_mps": True}, "auto", "cuda:0"),
        ({"num_gpus": 2}, "cuda", "cuda:0"),
        ({"num_gpus": 2}, "cuda:1", "cuda:1"),
        ({"num_gpus": 2, "has_mps": True}, "cpu", "cpu"),
        ({"num_gpus": 2, "has_mps": True}, "mps", "mps"),
    ],
)
def test_device_is_resolved(machine, device, expected, monkeypatch):
    set_machine(monkeypatch, **machine)
    assert resolve_device(config_with(device)) == torch.device(expected)


@pytest.mark.parametrize(
    ("machine", "device", "message"),
    [
        ({}, "cuda", "MODEL.DEVICE is cuda but torch finds no GPU; run on the CPU with MODEL.DEVICE cpu"),
        ({}, "mps", "MODEL.DEVICE is mps but torch finds no Apple GPU; run on the CPU with MODEL.DEVICE cpu"),
        ({"num_gpus": 2}, "cuda:2", "MODEL.DEVICE is cuda:2 but the indices of the GPUs are 0 to 1"),
    ],
)
def test_missing_device_is_an_error(machine, device, message, monkeypatch):
    set_machine(monkeypatch, **machine)
    with pytest.raises(EnvironmentSetupError, match=message):
        resolve_device(config_with(device))


def test_unknown_device_is_an_error():
    with pytest.raises(InputError, match="it must be auto, cpu, mps, cuda or cuda:N"):
        config_with("tpu")


@pytest.mark.parametrize(("machine", "expected"), [({}, "cpu"), ({"has_mps": True}, "mps"), ({"num_gpus": 1}, "cuda")])
def test_loaded_config_contains_the_device_of_auto(machine, expected, monkeypatch):
    set_machine(monkeypatch, **machine)
    assert expected == load_config(None, ["MODEL.DEVICE", "auto"]).MODEL.DEVICE


def test_process_count_must_fit_the_device(monkeypatch):
    from fastreid.engine.processes.launch import launch

    with pytest.raises(InputError, match=r"MODEL.DEVICE is mps.*--num-gpus 2"):
        launch(print, 2, device="mps")
