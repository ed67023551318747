"""Progress on a terminal and in a log."""

import io
import itertools
from types import SimpleNamespace

import pytest

from fastreid.cli.main import main
from fastreid.config import get_cfg
from fastreid.engine.data import build_dataset
from fastreid.utils.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def log(caplog):
    with caplog.at_level("INFO", logger="fastreid"):
        yield caplog


def open_terminal(monkeypatch):
    """Replace stderr in the body of a test; pytest replaces it again after a fixture."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    return terminal


def test_terminal_shows_a_bar_and_no_lines(monkeypatch, log):
    terminal = open_terminal(monkeypatch)
    with show_progress("rendering drawings", unit="patent", seconds_per_line=0) as update:
        update(1, 3)
        update(3, 3)
    assert "rendering drawings:" in terminal.getvalue()
    assert log.messages == []


def test_elsewhere_lines_appear_now_and_then(monkeypatch, log):
    seconds = iter((0, 10, 29, 31, 50, 62))
    monkeypatch.setattr("fastreid.utils.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with show_progress("rendering drawings", unit="patent") as update:
        for number in range(1, 6):
            update(number, 5)
    assert log.messages == ["rendering drawings: 3 of 5 patents", "rendering drawings: 5 of 5 patents"]


def test_quiet_command_shows_no_bar(monkeypatch):
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr("sys.argv", ["fastreid", "--quiet"])
    with show_progress("rendering drawings", unit="patent") as update:
        update(3, 3)
    assert terminal.getvalue() == ""


def test_data_synth_shows_a_bar(monkeypatch, tmp_path):
    terminal = open_terminal(monkeypatch)
    command = ["data", "synth", "--output", str(tmp_path), "--patents", "2", "--size-px", "64"]
    assert main(command) == 0
    assert "rendering drawings:" in terminal.getvalue()


def test_first_use_of_generated_drawings_is_logged(monkeypatch, tmp_path, log):
    seconds = itertools.count(step=31)
    monkeypatch.setattr("fastreid.utils.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    cfg = get_cfg()
    num_patents = ["DATASETS.GENERATED.NUM_TRAIN_PATENTS", 2, "DATASETS.GENERATED.NUM_TEST_PATENTS", 1]
    cfg.merge_from_list(["DATASETS.ROOT", str(tmp_path), "DATASETS.GENERATED.SIZE_PX", 64, *num_patents,
                         "DATALOADER.NUM_WORKERS", 0])  # fmt: skip
    dataset = build_dataset(cfg, "Generated")
    for _ in range(2):
        dataset.train()
    lines = [f"rendering drawings: {number} of 3 patents" for number in (1, 2, 3)]
    assert log.messages == [f"{dataset.folder}: rendering its drawings; later runs read them from there", *lines]
