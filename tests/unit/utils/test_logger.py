import logging
import os
import sys

import pytest

from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.logger import RESULT, get_logger, setup_logger


@pytest.fixture
def logger():
    """Yield the logger of the package and restore its state."""
    logger = get_logger()
    saved = (logger.level, logger.propagate, list(logger.handlers))
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.level, logger.propagate, logger.handlers = saved


def test_closed_console_is_ignored_and_the_log_continues(logger, tmp_path, monkeypatch, capfd):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as console:
        monkeypatch.setattr(sys, "stdout", console)
        setup_logger(tmp_path)
        for line in ("one", "two", "three"):
            logger.info(line)
        monkeypatch.undo()
    assert capfd.readouterr().err == ""
    assert [line.rpartition(" ")[2] for line in (tmp_path / "log.txt").read_text().splitlines()] == [
        "one",
        "two",
        "three",
    ]


def test_other_console_errors_are_reported(logger, tmp_path, capfd):
    setup_logger(tmp_path)
    logger.handle(logging.LogRecord("fastreid", logging.INFO, "", 1, "%d drawings", ("many",), None))
    assert "--- Logging error ---" in capfd.readouterr().err


def log_and_fail(arguments):
    assert arguments == ["KEY", "1"]
    for level in (logging.DEBUG, logging.INFO, RESULT, logging.WARNING):
        get_logger().log(level, logging.getLevelName(level).lower() if level != RESULT else "result")
    raise InputError("no such key")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--quiet", ["result", "warning"]),
        ("KEY", ["info", "result", "warning"]),
        ("--debug", ["debug", "info", "result", "warning"]),
    ],
)
def test_quiet_and_debug_set_the_console_level(option, expected, logger, monkeypatch, capsys):
    arguments = ["KEY", "1"] if option == "KEY" else ["KEY", option, "1"]
    monkeypatch.setattr(sys, "argv", ["tool", *arguments])
    assert run_tool(log_and_fail) == 2
    output = capsys.readouterr()
    assert [line.removeprefix("\x1b[33m").removesuffix("\x1b[0m") for line in output.out.splitlines()] == expected
    assert ("Traceback" in output.err) == (option == "--debug")
    assert output.err.splitlines()[-1] == "no such key"


def test_quiet_and_debug_together_raise(logger, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tool", "--debug", "--quiet"])
    assert run_tool(log_and_fail) == 2
    assert capsys.readouterr().err.endswith(
        "command line: --quiet and --debug cannot be combined; leave one of them out\n"
    )
