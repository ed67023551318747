"""Progress on a terminal and in a log."""

import io

import pytest

from fastreid.utils.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def log(caplog):
    with caplog.at_level("INFO", logger="fastreid"):
        yield caplog


def test_terminal_shows_a_bar_and_no_lines(monkeypatch, log):
    monkeypatch.setattr("sys.stderr", Terminal())
    with show_progress("rendering drawings", unit="patent", seconds_per_line=0) as update:
        update(1, 3)
        update(3, 3)
        import sys

        shown = sys.stderr.getvalue()
    assert "rendering drawings:" in shown
    assert log.messages == []


def test_elsewhere_lines_appear_now_and_then(monkeypatch, log):
    seconds = iter((0, 10, 29, 31, 50, 62))
    monkeypatch.setattr("fastreid.utils.progress.time.monotonic", lambda: next(seconds))
    with show_progress("rendering drawings", unit="patent") as update:
        for number in range(1, 6):
            update(number, 5)
    assert log.messages == ["rendering drawings: 3 of 5 patents", "rendering drawings: 5 of 5 patents"]


def test_quiet_command_shows_no_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("sys.argv", ["fastreid", "--quiet"])
    with show_progress("rendering drawings", unit="patent") as update:
        update(3, 3)
    assert terminal.getvalue() == ""
