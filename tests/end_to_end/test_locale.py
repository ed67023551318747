"""Folders with spaces and Unicode in their names, in the C locale."""

import os
import subprocess
import sys

import numpy as np
from commands import REPOSITORY, TINY

TRAIN_TEST_SEARCH = """
import sys
from pathlib import Path
import tiny_backbone
from fastreid.engine.predictor import Predictor
from fastreid.evaluation import nearest
from fastreid.cli.main import main

options = sys.argv[1:]
best = "Läufe/ein Lauf/model_best.pth"
assert main(["train", *options]) == 0
assert main(["test", *options, "MODEL.WEIGHTS", best]) == 0
pages = sorted(map(str, Path("Zeichnungen ünd Blätter").rglob("*.png")))[:4]
features = Predictor.from_config("kürzer.yml", best)(pages)
print([pages[row] for row in nearest(features, features, 1).indices[:, 0].tolist()] == pages)
"""


def test_train_test_and_search_in_c_locale(tmp_path):
    folder = tmp_path / "Prüfung der 図 mit Leerzeichen"
    folder.mkdir()
    text = TINY.read_text()
    for old, new in (
        ("MAX_EPOCH: 3", "MAX_EPOCH: 1"),
        ("TRAIN_PATENTS: 16", "TRAIN_PATENTS: 4"),
        ("TEST_PATENTS: 8", "TEST_PATENTS: 2"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "grundlage ä.yml").write_text(text, encoding="utf-8")
    (folder / "kürzer.yml").write_text("_BASE_: grundlage ä.yml\n", encoding="utf-8")
    options = (
        "--config-file",
        "kürzer.yml",
        "DATASETS.ROOT",
        "Zeichnungen ünd Blätter",
        "OUTPUT_DIR",
        "Läufe/ein Lauf",
    )
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests/end_to_end")))
    command = [sys.executable, "-c", TRAIN_TEST_SEARCH, *options]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    assert "Läufe/ein Lauf/result.npy" in run.stdout
    assert run.stdout.splitlines()[-1] == "True"
    assert len(np.load(folder / "Läufe/ein Lauf/result.npy")) == 4
