import logging
import os
import sys

import pytest

from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.logger import RESULT, get_logger, setup_logger


@pytest.fixture
def logger():
    """The package's logger, as it was afterwards."""
    logger = get_logger()
    before = (logger.level, logger.propagate, list(logger.handlers))
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.level, logger.propagate, logger.handlers = before


def test_a_console_whose_reader_left_is_written_to_no_more_and_the_log_goes_on(logger, tmp_path, monkeypatch, capfd):
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


def test_any_other_fault_of_the_console_is_told(logger, tmp_path, capfd):
    setup_logger(tmp_path)
    logger.handle(logging.LogRecord("fastreid", logging.INFO, "", 1, "%d drawings", ("many",), None))
    assert "--- Logging error ---" in capfd.readouterr().err


def speak(words):
    assert words == ["KEY", "1"]
    for level in (logging.DEBUG, logging.INFO, RESULT, logging.WARNING):
        get_logger().log(level, logging.getLevelName(level).lower() if level != RESULT else "result")
    raise InputError("no such key")


@pytest.mark.parametrize(
    ("word", "heard"),
    [
        ("--quiet", ["result", "warning"]),
        ("KEY", ["info", "result", "warning"]),
        ("--debug", ["debug", "info", "result", "warning"]),
    ],
)
def test_a_command_says_as_much_as_its_words_ask_for(word, heard, logger, monkeypatch, capsys):
    words = ["KEY", "1"] if word == "KEY" else ["KEY", word, "1"]
    monkeypatch.setattr(sys, "argv", ["tool", *words])
    assert run_tool(speak) == 2
    told = capsys.readouterr()
    assert [line.removeprefix("\x1b[33m").removesuffix("\x1b[0m") for line in told.out.splitlines()] == heard
    assert ("Traceback" in told.err) == (word == "--debug")
    assert told.err.splitlines()[-1] == "no such key"


def test_quiet_and_debug_do_not_go_together(logger, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tool", "--debug", "--quiet"])
    assert run_tool(speak) == 2
    assert capsys.readouterr().err.endswith(
        "command line: --quiet and --debug do not go together; leave one of them out\n"
    )
