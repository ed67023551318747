"""Invalid commands: one short error on stderr, the right exit code, and no file of an earlier run is changed."""

import fcntl
import itertools
import os
import re
import sys

import pytest
import torch
from broken_inputs import write_broken_inputs
from commands import REPOSITORY, TINY, is_short_error, run, run_here
from invalid_commands import INVALID_COMMANDS

from fastreid.cli.main import COMMANDS
from fastreid.utils.files import write_text

SETTING = re.compile(r"[A-Z_]+(\.|$)|SEED")  # the first setting ends the options
EARLIER_CONTENT = b"of an earlier run"
RUN_FILES = ("out/metrics.json", "out/config.yaml", "out/resume_order")  # replaced when a training starts
EARLIER_FILES = ("result.npy", "out/result.npy", "out/model_final.pth", "out/metrics.csv", "shown.png", *RUN_FILES)


@pytest.fixture(scope="module")
def folder(trained, drawings, tmp_path_factory):
    """A working folder with broken inputs of all kinds, and with files of earlier runs that must not change."""
    folder = tmp_path_factory.mktemp("invalid commands")
    write_broken_inputs(folder, trained, drawings)
    for name in EARLIER_FILES:
        write_text(folder / name, EARLIER_CONTENT.decode())
    return folder


def is_unchanged(path):
    return path.is_file() and path.read_bytes() == EARLIER_CONTENT


def find_problems(case, folder, monkeypatch):
    """Run an invalid command and return the problems of its error; "" if there are none."""
    for name, content in case.files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    config = ("--config-file", case.config) if case.config else ()
    options = list(itertools.takewhile(lambda word: not SETTING.match(str(word)), case.arguments))
    settings = case.arguments[len(options) :]
    if case.config and case.command != "predict" and "OUTPUT_DIR" not in settings and case.config != "bad.yml":
        settings = ("OUTPUT_DIR", folder / "out", *settings)
    steps = []
    with monkeypatch.context() as patch:
        backward = torch.Tensor.backward
        patch.setattr(torch.Tensor, "backward", lambda *args, **more: steps.append(1) or backward(*args, **more))
        if case.without:
            patch.setitem(sys.modules, case.without, None)
        arguments = (case.command, *config, *options, *settings)
        if case.needs_process:
            code, _, errors = run(*arguments, folder=folder)
        else:
            code, _, errors = run_here(*arguments, folder=folder)
    problems = [f"exit code {code}, not {case.code}"] * (code != case.code)
    problems += ["not a short error"] * (not is_short_error(errors) or len(errors) > 3000)
    problems += [f"{case.message!r} is missing"] * (case.message not in errors)
    problems += ["it trained"] * (bool(steps) and not case.fails_in_training)
    unchanged = [name for name in EARLIER_FILES if not (case.fails_in_training and name in RUN_FILES)]
    changed = [name for name in EARLIER_FILES if not is_unchanged(folder / name)]
    problems += [f"{name} was changed" for name in unchanged if name in changed]
    for name in changed:  # so that each change is reported once
        (folder / name).write_bytes(EARLIER_CONTENT)
    text = f"{case.command} {case.arguments} {case.files.get('bad.yml', '')!r:.60}: {problems}: {errors[-300:]}"
    return text if problems else ""


@pytest.mark.timeout(900)  # some 290 commands; 150 s on an idle machine with two cores
def test_invalid_commands_fail_with_short_errors(folder, monkeypatch):
    failures = [failure for case in INVALID_COMMANDS if (failure := find_problems(case, folder, monkeypatch))]
    num_early = sum(not case.fails_in_training for case in INVALID_COMMANDS)
    num_passed = len(INVALID_COMMANDS) - len(failures)
    print(f"\nR6 {num_passed}/{len(INVALID_COMMANDS)}, {num_early} of them before the first iteration (R15)")
    assert not failures, "\n".join(failures)
    assert len(INVALID_COMMANDS) >= 120
    assert not (folder / "executed").exists()


def test_every_command_has_an_invalid_example():
    tools = {path.name for path in (REPOSITORY / "tools").glob("*.py")}
    commands = {case.command for case in INVALID_COMMANDS}
    assert {command.name for command in COMMANDS} | tools <= commands


def test_error_names_process_that_uses_the_folder(drawings, tmp_path):
    write_text(tmp_path / "out" / ".lock", "4711")
    handle = os.open(tmp_path / "out" / ".lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, _, errors = run("train", *arguments, folder=tmp_path)
    os.close(handle)
    assert code == 3
    assert "in use by process 4711" in errors


def test_random_weights_can_be_evaluated(drawings, tmp_path):
    arguments = ["--config-file", TINY, "--random-weights", "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, _, errors = run_here("test", *arguments, folder=tmp_path)
    assert code == 0, errors
    assert (tmp_path / "result.npy").exists()


def test_error_in_one_of_two_processes_is_one_line(drawings, tmp_path):
    arguments = ["--config-file", TINY, "--num-gpus", 2, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, _, errors = run("train", *arguments, "MODEL.WEIGHTS", "absent.pth", folder=tmp_path)
    assert (code, errors.splitlines()[-1]) == (
        2,
        "absent.pth: no such weights file; check the path, or give a name of `fastreid models list`",
    )
