import io
import logging
from types import SimpleNamespace

import pytest

from fastreid.engine.checkpoint.checkpointer import Progress
from fastreid.engine.hooks.metrics import WriteMetrics
from fastreid.engine.step.train_step import StepResult
from fastreid.monitoring import console
from fastreid.monitoring.console import ConsoleWriter
from fastreid.monitoring.writers import Writer
from fastreid.utils.logger import get_logger

VALUES = {"total_loss": 2.5, "loss_cls": 2.5, "cls_accuracy": 0.5, "lr": 1e-3}
TIMES = {"time": 1.0, "data_time": 0.0, "eta_seconds": 90.0}


@pytest.fixture
def log_lines():
    """Return the (level, message) pairs of the log."""
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
    """Replace the clock by one that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


STEP_S = 2.0


def run_steps(writer, clock, num, *, seconds=1.0):
    """Report `num` steps, each after `seconds` on the clock, and write the metrics of each."""
    for iteration in range(1, num + 1):
        clock[0] += seconds
        writer.on_step(iteration, VALUES, STEP_S)
        writer.write(iteration, VALUES | TIMES)


def test_metrics_hook_reports_every_step():
    steps = []

    class Recorder(Writer):
        def on_step(self, iteration, values, seconds):
            steps.append((iteration, values, seconds))

    hook = WriteMetrics([Recorder()], Progress(), period=100)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    loop = SimpleNamespace(result=StepResult(VALUES, batch=None), step=SimpleNamespace(optimizer=optimizer))
    loop.step_s, loop.data_s, loop.iters_per_epoch = STEP_S, 0.0, 10
    for loop.iteration in (1, 2):
        hook.after_step(loop)
    assert steps == [(1, VALUES, STEP_S), (2, VALUES, STEP_S)]


def test_lines_without_terminal_are_ten_seconds_apart(log_lines, clock):
    run_steps(ConsoleWriter(30, 10), clock, 30)
    shown = [line for level, line in log_lines if level == logging.INFO]
    assert [line.split("step ")[1].split("/")[0] for line in shown] == ["1", "11", "21", "30"]
    assert "left 0:00:58" in shown[0]
    assert "epoch 2/3  step 11/30" in shown[1]
    assert len([line for _, line in log_lines if "loss_cls" in line]) == 30


def test_slow_run_logs_a_line_every_minute(log_lines, clock):
    writer = ConsoleWriter(1000, 1000)
    for iteration in range(1, 151):
        clock[0] += 1
        writer.on_step(iteration, VALUES, STEP_S)
    assert len(log_lines) == 3


def test_terminal_status_line_is_updated_in_place(log_lines, clock, monkeypatch):
    status_lines = []
    monkeypatch.setattr(console, "show_status", lambda text: status_lines.append(text) or True)
    writer = ConsoleWriter(30, 10)
    run_steps(writer, clock, 30, seconds=0.1)
    last = log_lines[-1]
    clock[0] += 60  # an evaluation
    writer.write(20, VALUES | TIMES)
    writer.close(finished=True)
    assert [pair for pair in log_lines if pair[0] > logging.DEBUG] == [last]
    assert 10 <= len(status_lines) <= 16
    assert status_lines[-1] == ""


def test_log_lines_are_printed_above_the_status_line(monkeypatch):
    from fastreid.utils import logger as module

    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    handler = module._ConsoleHandler(stream)
    assert handler.show("step 1")
    handler.emit(logging.LogRecord("fastreid", logging.INFO, "", 1, "a line", (), None))
    assert stream.getvalue() == "\rstep 1\033[K\r\033[Ka line\n\rstep 1\033[K"


def test_last_line_of_early_stopped_run_is_shown(log_lines, clock):
    writer = ConsoleWriter(30, 10)
    run_steps(writer, clock, 3, seconds=0.1)
    writer.write(10, VALUES | TIMES | {"eta_seconds": 0.0})
    assert "step 10/30" in [line for level, line in log_lines if level == logging.INFO][-1]
