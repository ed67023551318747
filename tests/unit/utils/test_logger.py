import logging
import os
import sys

import pytest

from fastreid.utils.logger import get_logger, setup_logger


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
