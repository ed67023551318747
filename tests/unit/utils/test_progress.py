"""Progress on a terminal and in a log."""

import io
import itertools
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import fastreid
from fastreid.cli.main import main
from fastreid.config import get_cfg
from fastreid.data.audit.audit import audit_datasets
from fastreid.data.build import build_cache, check_readable, fill_cache
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


def test_terminal_that_reports_no_size_shows_a_bar(monkeypatch):
    pty = pytest.importorskip("pty")  # not on Windows
    reader, terminal = pty.openpty()  # 0 x 0 until somebody sets a size
    with open(terminal, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        with show_progress("rendering drawings", unit="patent") as update:
            update(1, 3)
    assert b"rendering drawings:" in os.read(reader, 1000)
    os.close(reader)


def test_elsewhere_lines_appear_now_and_then(monkeypatch, log):
    seconds = iter((0, 10, 29, 31, 50, 62))
    monkeypatch.setattr("fastreid.utils.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with show_progress("rendering drawings", unit="patent") as update:
        for number in range(1, 6):
            update(number, 5)
    assert log.messages == [
        "rendering drawings: 3 of 5 patents, 0.0968 per s, 0:00:20 left",
        "rendering drawings: 5 of 5 patents, 0.0806 per s, 0:00:00 left",
    ]


def test_speed_counts_only_what_is_done_now(monkeypatch, log):
    seconds = iter((0, 30))
    monkeypatch.setattr("fastreid.utils.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with show_progress("computing features", unit="drawing", num_done=100) as update:
        update(160, 280)
    assert log.messages == ["computing features: 160 of 280 drawings, 2 per s, 0:01:00 left"]


def test_short_work_shows_no_bar(monkeypatch, log):
    terminal = open_terminal(monkeypatch)
    with show_progress("computing features", unit="drawing", delay_s=60) as update:
        update(1, 3)
        update(3, 3)
    assert "computing" not in terminal.getvalue()


def test_lines_abbreviate_units_and_omit_an_unknown_total(monkeypatch, log):
    seconds = itertools.count()
    monkeypatch.setattr("fastreid.utils.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with show_progress("downloading w.pth", unit="MB", seconds_per_line=0) as update:
        update(3, 0)
        update(4, 5)
    lines = ["downloading w.pth: 3 MB, 3 MB per s", "downloading w.pth: 4 of 5 MB, 2 MB per s, 0:00:00 left"]
    assert log.messages == lines


def test_reading_files_shows_its_progress_everywhere(monkeypatch, tmp_path, log):
    seconds = itertools.count(step=31)
    monkeypatch.setattr("fastreid.utils.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    for name in ("a", "b"):
        Image.new("L", (9, 9), 255).save(tmp_path / f"{name}.png")
    (tmp_path / "train.txt").write_text("a.png 1\nb.png 1\n")
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.ROOT", str(tmp_path), "DATASETS.LIST.IMAGES", str(tmp_path),
                         "DATASETS.LIST.TRAIN", str(tmp_path / "train.txt"), "DATASETS.NAMES", "List",
                         "DATASETS.TESTS", "List",
                         "DATALOADER.NUM_WORKERS", 0])  # fmt: skip
    drawings = build_dataset(cfg, "List").train()
    check_readable(cfg, drawings, decode=True)
    check_readable(cfg, drawings, decode=False)
    cache = build_cache(cfg)
    fill_cache(cfg, cache, drawings)
    audit_datasets(cfg, build_dataset, check_test=lambda data, is_first: None, decode=False)
    audit_datasets(cfg, build_dataset, check_test=lambda data, is_first: None, decode=True)
    assert [message for message in log.messages if " of 2 " in message] == [
        "decoding test drawings: 2 of 2 drawings, 0.0645 per s, 0:00:00 left",
        "reading headers: 2 of 2 drawings, 0.0645 per s, 0:00:00 left",
        f"pages for {cache.path.name}: 1 of 2 drawings, 0.0323 per s, 0:00:31 left",
        f"pages for {cache.path.name}: 2 of 2 drawings, 0.0323 per s, 0:00:00 left",
        *(
            f"{work}: {num} of 2 files, 0.0323 per s, 0:00:{left} left"
            for work in ("reading headers", "decoding files")
            for num, left in ((1, "31"), (2, "00"))
        ),
    ]
    monkeypatch.setattr("sys.argv", ["fastreid", "--quiet"])
    terminal = open_terminal(monkeypatch)
    audit_datasets(cfg, build_dataset, check_test=lambda data, is_first: None, decode=True)
    assert "\r" not in terminal.getvalue()  # which a bar writes


def test_only_this_module_uses_tqdm():
    users = [path for path in Path(fastreid.__file__).parent.rglob("*.py") if "import tqdm" in path.read_text("utf-8")]
    assert [path.name for path in users] == ["progress.py"]


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
    left = ("0:01:02", "0:00:31", "0:00:00")
    lines = [f"rendering drawings: {n} of 3 patents, 0.0323 per s, {time} left" for n, time in enumerate(left, 1)]
    assert log.messages == [f"{dataset.folder}: rendering its drawings; later runs read them from there", *lines]


def test_bar_creates_no_lock_between_processes(monkeypatch):
    monkeypatch.delattr("tqdm.std.tqdm._lock", raising=False)
    monkeypatch.setattr("tqdm.std.TqdmDefaultWriteLock.__init__", lambda self: pytest.fail("created a semaphore"))
    monkeypatch.setattr("sys.stderr", Terminal())
    with show_progress("reading", unit="file") as update:
        update(1, 2)
