"""`fastreid doctor`: a complete report, also of a broken installation."""

import importlib
import json
import os

import numpy as np
import pytest

from fastreid import __version__
from fastreid.cli import doctor
from fastreid.cli.main import main
from fastreid.utils.errors import InputError


def report(capsys, *arguments):
    assert main(["doctor", "--json", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def test_text_and_json_have_the_same_values(capsys):
    values = report(capsys)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for section, entries in values.items():
        assert f"{section}:\n" in text
        assert all(f"  {name}" in text for name in entries)
    assert values["versions"]["fastreid"] == __version__
    assert values["versions"]["numpy"] == np.__version__


def test_folders_are_those_of_the_config(capsys, tmp_path):
    (tmp_path / "data/train_data").mkdir(parents=True)
    (tmp_path / "a.yml").write_text(f"DATASETS: {{ROOT: {tmp_path / 'data'}}}\n")
    folders = report(capsys, "--config-file", tmp_path / "a.yml", "OUTPUT_DIR", tmp_path / "new/run")["folders"]
    assert folders["dataset root"] == f"{tmp_path / 'data'}: train_data"
    assert folders["OUTPUT_DIR"] == f"{tmp_path / 'new/run'}: does not exist yet and can be created"


def test_missing_folders_are_reported(capsys, tmp_path):
    (tmp_path / "file").touch()
    opts = ("DATASETS.ROOT", tmp_path / "gone", "OUTPUT_DIR", tmp_path / "file/run")
    folders = report(capsys, *opts)["folders"]
    assert "No such file or directory; set DATASETS.ROOT" in folders["dataset root"]
    assert "not writable" in folders["OUTPUT_DIR"]


def test_missing_extras_name_the_pip_command(capsys, monkeypatch):
    find_spec, missing = importlib.util.find_spec, ("timm", "uvicorn", "prometheus_client", "mlflow")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else find_spec(name))
    parts = report(capsys)["fastreid"]
    assert parts["extra timm"] == "missing: pip install timm"
    assert parts["extra pretrained"].startswith("missing: pip install timm")
    assert parts["extra serve"].endswith("uvicorn prometheus-client")
    assert parts["extra mlflow"] == "missing: pip install mlflow-skinny"


def test_broken_torch_is_reported(capsys, monkeypatch):
    def fail(name):
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", fail)
    assert report(capsys)["devices"] == {
        "torch": "cannot be imported: OSError: libcudart.so: cannot open shared object file"
    }


def test_memory_is_unknown_without_sysconf(capsys, monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert report(capsys)["machine"]["memory"] == "unknown"


def test_unknown_setting_is_an_error():
    with pytest.raises(InputError, match=r"Did you mean 'OUTPUT_DIR'\?"):
        main(["doctor", "OUTPUT_DR", "x"])


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        (("SOLVER.OPT", "Adm"), "SOLVER.OPT 'Adm' is unknown. Did you mean 'Adam'? Available: ASGD, "),
        (("SOLVER.SCHED", "CosineAnnealing"), "SOLVER.SCHED 'CosineAnnealing' is unknown. Did you mean 'Cosine"),
        (("MODEL.BACKBONE.NAME", "build_resnet"), "MODEL.BACKBONE.NAME 'build_resnet' is unknown."),
        (("DATASETS.NAMES", "Folder"), "DATASETS.FOLDER.PATH is empty"),
        (("SEED", "1"), "all found"),
    ],
)
def test_unknown_component_is_reported(setting, found, capsys):
    assert report(capsys, *setting)["config"]["components"].startswith(found)
