import io
import logging

import pytest

from fastreid.engine.train_step import StepResult
from fastreid.monitoring import console
from fastreid.monitoring.console import ConsoleWriter
from fastreid.utils.logger import get_logger

VALUES = {"total_loss": 2.5, "loss_cls": 2.5, "cls_accuracy": 0.5, "lr": 1e-3}
TIMES = {"time": 1.0, "data_time": 0.0, "eta_seconds": 90.0}


@pytest.fixture
def said():
    """Levels and lines that reach the log."""
    lines, before = [], get_logger().level
    handler = logging.Handler(1)
    handler.emit = lambda record: lines.append((record.levelno, record.getMessage()))
    get_logger().setLevel(logging.DEBUG)
    get_logger().addHandler(handler)
    yield lines
    get_logger().removeHandler(handler)
    get_logger().setLevel(before)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


class Loop:
    iteration, step_s, result = 0, 2.0, StepResult(VALUES, batch=None)


def steps(writer, clock, num, *, seconds=1.0):
    """So many steps, each so many seconds long, and a line of the log for each."""
    loop = Loop()
    for loop.iteration in range(1, num + 1):
        clock[0] += seconds
        writer.after_step(loop)
        writer.write(loop.iteration, VALUES | TIMES)


def test_without_a_terminal_lines_are_seconds_apart_and_all_are_in_the_file(said, clock):
    steps(ConsoleWriter(30, 10), clock, 30)
    shown = [line for level, line in said if level == logging.INFO]
    assert [line.split("step ")[1].split("/")[0] for line in shown] == ["1", "11", "21", "30"]
    assert "left 0:00:58" in shown[0]
    assert "epoch 2/3  step 11/30" in shown[1]
    assert len([line for _, line in said if "loss_cls" in line]) == 30


def test_a_slow_run_is_heard_of_between_its_lines(said, clock):
    writer, loop = ConsoleWriter(1000, 1000), Loop()
    for loop.iteration in range(1, 151):
        clock[0] += 1
        writer.after_step(loop)
    assert len(said) == 3


def test_on_a_terminal_one_line_is_renewed_in_place(said, clock, monkeypatch):
    seen = []
    monkeypatch.setattr(console, "show_status", lambda text: seen.append(text) or True)
    writer = ConsoleWriter(30, 10)
    steps(writer, clock, 30, seconds=0.1)
    last = said[-1]
    clock[0] += 60  # an evaluation
    writer.write(20, VALUES | TIMES)
    writer.close(finished=True)
    assert [pair for pair in said if pair[0] > logging.DEBUG] == [last]
    assert 10 <= len(seen) <= 16
    assert seen[-1] == ""


def test_the_log_s_own_lines_go_above_the_line_of_status(monkeypatch):
    from fastreid.utils import logger as module

    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    handler = module._Console(stream)
    assert handler.show("step 1")
    handler.emit(logging.LogRecord("fastreid", logging.INFO, "", 1, "a line", (), None))
    assert stream.getvalue() == "\rstep 1\033[K\r\033[Ka line\n\rstep 1\033[K"


def test_the_last_line_of_a_run_that_ends_early_comes(said, clock):
    writer = ConsoleWriter(30, 10)
    steps(writer, clock, 3, seconds=0.1)
    writer.write(10, VALUES | TIMES | {"eta_seconds": 0.0})
    assert "step 10/30" in [line for level, line in said if level == logging.INFO][-1]
