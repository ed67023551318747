"""Wrong starts of the commands: one line on stderr and the right exit code."""

import fcntl
import itertools
import os
import re
import sys

import pytest
import torch
from broken_inputs import stocked
from commands import REPOSITORY, TINY, run, run_here
from invalid_commands import STARTS

from fastreid.utils.files import write_text

SETTING = re.compile(r"[A-Z_]+(\.|$)|SEED")  # where the words stop being options
EARLIER = b"of an earlier run"
OF_A_RUN = ("out/metrics.json", "out/config.yaml", "out/resume_order")  # which one that has begun makes anew
KEPT = ("result.npy", "out/result.npy", "out/model_final.pth", "out/metrics.csv", "shown.png", *OF_A_RUN)


@pytest.fixture(scope="module")
def folder(trained, drawings, tmp_path_factory):
    """A working folder with bad things of all kinds, and with files of earlier runs that no refusal may touch."""
    folder = tmp_path_factory.mktemp("wrong starts")
    stocked(folder, trained, drawings)
    for name in KEPT:
        write_text(folder / name, EARLIER.decode())
    return folder


def is_as_before(path):
    return path.is_file() and path.read_bytes() == EARLIER


def tried(one, folder, monkeypatch):
    """What is wrong with how a wrong start was met; "" when nothing is."""
    for name, content in one.files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    named = ("--config-file", one.config) if one.config else ()
    options = list(itertools.takewhile(lambda word: not SETTING.match(str(word)), one.words))
    settings = one.words[len(options) :]
    if one.config and "OUTPUT_DIR" not in settings and one.config != "bad.yml":
        settings = ("OUTPUT_DIR", folder / "out", *settings)
    steps = []
    with monkeypatch.context() as patch:
        backward = torch.Tensor.backward
        patch.setattr(torch.Tensor, "backward", lambda *words, **more: steps.append(1) or backward(*words, **more))
        if one.without:
            patch.setitem(sys.modules, one.without, None)
        code, _, errors = (run if one.is_alone else run_here)(one.tool, *named, *options, *settings, folder=folder)
    wrong = [f"exit code {code}, not {one.code}"] * (code != one.code)
    wrong += ["not one line"] * (len(errors.splitlines()) != 1 or len(errors) > 3000)
    wrong += [f"{one.said!r} is not told"] * (one.said not in errors)
    wrong += ["steps were made"] * (bool(steps) and not one.is_of_a_step)
    kept = [name for name in KEPT if not (one.is_of_a_step and name in OF_A_RUN)]
    wrong += [f"{name} was touched" for name in kept if not is_as_before(folder / name)]
    for name in KEPT:  # so that a fault is told once
        (folder / name).write_bytes(EARLIER)
    return "; ".join(wrong) and f"{one.tool} {one.words} {one.files.get('bad.yml', '')!r:.60}: {wrong}: {errors[-300:]}"


def test_every_wrong_start_is_one_line_and_its_code_and_nothing_is_lost(folder, monkeypatch):
    faults = [fault for one in STARTS if (fault := tried(one, folder, monkeypatch))]
    checked = [one for one in STARTS if not one.is_of_a_step]
    print(f"\nR6 {len(STARTS) - len(faults)}/{len(STARTS)}, {len(checked)} of them before the first step (R15)")
    assert faults == []
    assert len(STARTS) >= 120
    assert {one.tool for one in STARTS} == {path.name for path in (REPOSITORY / "tools").glob("[a-z]*.py")}
    assert not (folder / "executed").exists()


def test_a_folder_in_use_is_refused_and_its_owner_named(drawings, tmp_path):
    write_text(tmp_path / "out" / ".lock", "4711")
    handle = os.open(tmp_path / "out" / ".lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, _, errors = run("train_net.py", *arguments, folder=tmp_path)
    os.close(handle)
    assert code == 3
    assert "in use by process 4711" in errors


def test_an_untrained_network_is_tested_only_on_insistence(drawings, tmp_path):
    arguments = ["--config-file", TINY, "--random-weights", "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, _, errors = run_here("test.py", *arguments, folder=tmp_path)
    assert code == 0, errors
    assert (tmp_path / "result.npy").exists()


def test_a_fault_of_one_process_of_several_is_told_like_that_of_one(drawings, tmp_path):
    arguments = ["--config-file", TINY, "--num-gpus", 2, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, _, errors = run("train_net.py", *arguments, "MODEL.WEIGHTS", "nowhere.pth", folder=tmp_path)
    assert (code, errors.splitlines()[-1]) == (2, "nowhere.pth: no such weights file; check the path")
