"""Control characters in text from files, arguments and the environment never reach the terminal or the log."""

import io
import logging
import os
import sys

import pytest
import torch
from termcolor.termcolor import can_colorize

from fastreid.config import get_cfg
from fastreid.config.locate import find_config
from fastreid.config.reader import read_config
from fastreid.data.datasets.base import InvalidListError
from fastreid.data.io.image import read_image
from fastreid.engine.processes.rendezvous import check_address, join_torchrun
from fastreid.evaluation.postprocess.whitening import load_whitening
from fastreid.modeling.weights import load_state, read_weights
from fastreid.monitoring.writers import Writer
from fastreid.utils.arguments import CommandParser
from fastreid.utils.checksums import verify_checksum
from fastreid.utils.cli import UserFacingError, explain_error, run_tool
from fastreid.utils.errors import InputError, StorageError
from fastreid.utils.files import append_line, open_own_file, write_text
from fastreid.utils.logger import get_logger, setup_logger, show_status
from fastreid.utils.registry import Registry
from fastreid.utils.text import escape_message, format_faults, print_message

# Escape sequences, a forged line, backspaces, a C1 control, a right-to-left override, a line separator.
HOSTILE = "a\x1b[31m\x1b]0;title\x07\nDone: all is well\r\b\x9b2J\u202egnp.exe\u2066\u2028b"
CONTROLS = set(HOSTILE) - {char for char in HOSTILE if char.isprintable()}


def raise_error(error):
    raise error


def read_yaml(folder, text):
    (folder / "config.yml").write_text(text, encoding="utf-8")
    cfg = get_cfg()
    cfg.merge_from_file(folder / "config.yml")


def change_checksummed_file(folder):
    path = folder / HOSTILE.replace("/", "")
    path.write_text("text")
    path.with_name(f"{path.name}.sha256").write_text("0" * 64)
    verify_checksum(path)


def load_hostile_tensor(folder):
    model = torch.nn.Linear(2, 2)
    load_state(model, {**model.state_dict(), HOSTILE: torch.zeros(2)}, source="model.pth")


def read_torchrun(folder, monkeypatch):
    monkeypatch.setenv("RANK", HOSTILE)
    join_torchrun(1)


PLACES = {
    "unknown key on the command line": lambda folder, patch: get_cfg().merge_from_list([HOSTILE, "1"]),
    "value on the command line": lambda folder, patch: get_cfg().merge_from_list(["MODEL.DEVICE", HOSTILE]),
    "key in YAML": lambda folder, patch: read_yaml(folder, '"a\\e[31m\\nb\\u202E": 1'),
    "value in YAML": lambda folder, patch: read_yaml(folder, 'MODEL: {DEVICE: "a\\e[31m\\nb\\u202E"}'),
    "base file in YAML": lambda folder, patch: read_yaml(folder, '_BASE_: "a\\e[31m\\nb.yml"'),
    "name of a config": lambda folder, patch: find_config(f"{HOSTILE}.yml"),
    "path of a config": lambda folder, patch: read_config(folder / f"{HOSTILE.replace('/', '')}.yml"),
    "option": lambda folder, patch: CommandParser("tool").parse_args([f"--{HOSTILE}"]),
    "name in a registry": lambda folder, patch: Registry("pooling", {"gem": 1}).get(HOSTILE),
    "name of an image": lambda folder, patch: read_image(folder / HOSTILE),
    "name of a weights file": lambda folder, patch: read_weights(folder / f"{HOSTILE}.pth"),
    "name of a whitening": lambda folder, patch: load_whitening(folder / HOSTILE),
    "name of a tensor": lambda folder, patch: load_hostile_tensor(folder),
    "name of a file with a checksum": lambda folder, patch: change_checksummed_file(folder),
    "line of a list": lambda folder, patch: raise_error(InvalidListError({HOSTILE: [HOSTILE, HOSTILE]})),
    "name of a folder": lambda folder, patch: write_text(f"/proc/{HOSTILE}/file", ""),
    "name of a log": lambda folder, patch: append_line(f"/proc/{HOSTILE}/file", ""),
    "name of a lock": lambda folder, patch: open_own_file(folder / "none" / HOSTILE, os.O_RDONLY),
    "address of process 0": lambda folder, patch: check_address(f"tcp://{HOSTILE}:1", is_server=False),
    "environment variable": read_torchrun,
    "error of another process": lambda folder, patch: raise_error(UserFacingError(HOSTILE.replace("\n", " "), 2)),
    "error of the system": lambda folder, patch: raise_error(PermissionError(13, "denied", HOSTILE)),
    "error of a library": lambda folder, patch: raise_error(RuntimeError(HOSTILE)),
}


def find_raw(text):
    """Return the control characters in a text, except line breaks before an indented line or at the end."""
    return {char for char in text if char in CONTROLS - {"\n"}} | set("\n" if "\nDone" in text or "\nb" in text else "")


@pytest.mark.parametrize("place", PLACES)
def test_error_shows_control_characters_escaped(place, tmp_path, monkeypatch, capsys):
    def main(arguments):
        PLACES[place](tmp_path, monkeypatch)

    monkeypatch.setattr(sys, "argv", ["tool"])
    assert run_tool(main) in range(1, 7)
    output = capsys.readouterr()
    assert find_raw(output.out + output.err) == set()
    assert "\\x" in output.err or "\\u202e" in output.err, output.err


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Yield a function that logs a message and returns the console output and the content of log.txt."""
    monkeypatch.setattr(sys, "argv", ["tool"])
    logger = get_logger()
    saved = logger.level, logger.propagate, list(logger.handlers)
    logger.handlers = []
    setup_logger(tmp_path)
    console = io.StringIO()
    logger.handlers[0].setStream(console)

    def log(level, message):
        logger.log(level, message)
        return console.getvalue(), (tmp_path / "log.txt").read_text()

    yield log
    can_colorize.cache_clear()
    for handler in logger.handlers:
        handler.close()
    logger.level, logger.propagate, logger.handlers = saved


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR])
def test_log_shows_control_characters_escaped_and_keeps_its_colors(level, log, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    can_colorize.cache_clear()  # termcolor reads the environment once
    console, file = log(level, f"reading {HOSTILE}")
    color = {logging.INFO: "", logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}[level]
    assert console.startswith(f"{color}reading a\\x1b[31m")
    assert find_raw(console.removeprefix(color).replace("\x1b[0m", "")) == set()
    assert find_raw(file) == set()
    assert len(file.splitlines()) == 1


def test_warning_of_a_writer_is_escaped(log, tmp_path):
    writer = Writer()
    writer.target = HOSTILE
    with writer.tolerate_write_errors():
        raise StorageError(HOSTILE)
    assert find_raw(log(logging.INFO, "end")[1]) == set()


def test_lines_of_several_faults_are_kept():
    message = format_faults(["line 1: bad", f"line 2: {HOSTILE}"], "list.txt")
    assert len(explain_error(InputError(message))[0].splitlines()) == 3
    assert escape_message("a\n  b\nc") == "a\n  b\\nc"
    assert escape_message("a\nb", keep_lines=True) == "a\nb"


def test_output_of_a_command_keeps_its_lines(capsys):
    print_message("| a | b |\n| \x1b[31m | \u202e |")
    assert capsys.readouterr().out == "| a | b |\n| \\x1b[31m | \\u202e |\n"


def test_status_line_is_escaped(log, monkeypatch):
    stream = next(handler.stream for handler in get_logger().handlers if hasattr(handler, "show"))
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    written = []
    monkeypatch.setattr(stream, "write", written.append, raising=False)
    show_status("a\x1b[31mb")
    show_status("")
    assert written[0] == "\ra\\x1b[31mb\x1b[K"
