"""Follow the sources of a collection: files that are being written, unreachable folders, signals."""

import os
import shutil
import signal
import threading

import pytest
from index_pages import write_pages

import fastreid.index
from fastreid.index import ingest
from fastreid.index.watching import SourceTracker, follow_sources
from fastreid.utils.errors import StorageError
from fastreid.utils.termination import StopRequest, TerminatedError, request_stop

pytest.importorskip("lancedb", reason="the extra `search` is not installed")


def make_old(folder):
    """Give all files below a folder an old time."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (1e9, 1e9))


class Steps(StopRequest):
    """Calls a function instead of each wait; ends after the last one."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = list(steps)

    def wait(self, seconds):
        if self.steps:
            self.steps.pop(0)()
        else:
            self.number = signal.SIGTERM
        return self.is_set()


@pytest.fixture
def collection(model, drawings, tmp_path):
    make_old(drawings)
    collection = fastreid.index.create(tmp_path / "collection", model=model)
    collection.add([drawings])
    return collection


def follow(collection, *steps):
    """Follow the sources, and return the outcome of each update and the faults."""
    updates, faults = [], []
    options = {"on_update": lambda report: updates.append(report.describe()), "on_fault": faults.append}
    follow_sources(collection, SourceTracker(60), Steps(*steps), interval_s=60, **options)
    return updates, faults


def do_nothing():
    pass


def test_files_are_read_once_they_no_longer_change(collection, drawings, tmp_path):
    write_pages(tmp_path, ["page.png"], first=50)
    content = (tmp_path / "page.png").read_bytes()
    target = drawings / "D1/new.png"
    steps = (
        do_nothing,
        lambda: target.write_bytes(content[:50]),
        lambda: target.write_bytes(content[:90]),
        lambda: target.write_bytes(content),
        do_nothing,  # now it is the same as at the look before
        lambda: (drawings / "D1/a.png").unlink(),
    )
    updates, faults = follow(collection, *steps)
    assert updates == [
        "0 drawings added, 3 unchanged",
        "1 drawing added, 3 unchanged",
        "0 drawings added, 3 unchanged, 1 removed",
    ]
    assert faults == []
    assert collection.check().notes == collection.check().faults == []


def test_files_that_change_after_the_look_are_read_later(model, drawings, tmp_path, monkeypatch):
    write_pages(tmp_path, ["page.png"], first=50)
    content = (tmp_path / "page.png").read_bytes()
    (drawings / "list.csv").write_text("path,patent\nD1/a.png,D1\nD1/b.png,D1\nweek/D2/c.png,D2\n")
    make_old(drawings)
    collection = fastreid.index.create(tmp_path / "collection", model=model)
    collection.add([drawings / "list.csv", drawings / "D1"])
    changes = [
        lambda: (drawings / "D1/new.png").write_bytes(content[:50]),
        lambda: (drawings / "D1/new.png").write_bytes(content),
        lambda: (drawings / "list.csv").write_text("path,patent\nD1/a.png,D1\n"),  # the rest is not written yet
        lambda: (drawings / "list.csv").write_text("path,patent\nD1/a.png,D1\nD1/b.png,D1\nweek/D2/c.png,D2\n"),
    ]
    update, counts = collection.update, []

    def update_late(**options):
        if changes:
            changes.pop(0)()
        report = update(**options)
        counts.append((report.num_embedded, report.num_removed, report.faults, collection.count()))
        return report

    monkeypatch.setattr(collection, "update", update_late)
    looks = [lambda number=number: os.utime(drawings / "D1/a.png", (number, number)) for number in range(8)]
    follow(collection, *(step for look in looks for step in (look, do_nothing)))
    assert {removed for _, removed, _, _ in counts} == {0}
    assert [faults for _, _, faults, _ in counts if faults] == []
    assert (sum(num for num, _, _, _ in counts), counts[-1][3]) == (1, 4)


def test_first_look_after_an_addition_waits_for_an_interval(collection, drawings):
    tracker, waits = SourceTracker(60), []
    assert tracker.poll(collection.read_sources()).skip == frozenset()
    stop = Steps(lambda: waits.append("first"))
    options = {"on_update": lambda report: waits.append(report.num_unchanged), "on_fault": waits.append}
    follow_sources(collection, tracker, stop, interval_s=60, **options)
    assert waits == ["first", 3]


def test_drawings_of_a_changing_file_are_kept(collection, drawings):
    content = (drawings / "D1/b.png").read_bytes()
    steps = (
        lambda: (drawings / "D1/a.png").write_bytes(content[:40]),
        lambda: (drawings / "D1/a.png").write_bytes(content[:60]),
        lambda: (drawings / "D1/a.png").write_bytes(content),
        do_nothing,
    )
    assert follow(collection, *steps)[0] == ["0 drawings added, 3 unchanged", "1 drawing added, 2 unchanged"]


def test_other_sources_are_followed_while_one_is_unreachable(collection, drawings, tmp_path):
    other = tmp_path / "other"
    write_pages(other, ["D8/x.png"], first=60)
    make_old(other)
    (tmp_path / "list.csv").write_text(f"path,id\n{other}/D8/x.png,P1\n")
    os.utime(tmp_path / "list.csv", (1e9, 1e9))
    collection.add([other, tmp_path / "list.csv"])

    def move_away():
        drawings.rename(drawings.with_name("away"))
        (tmp_path / "list.csv").rename(tmp_path / "away.csv")

    def add_one():
        write_pages(other, ["D9/y.png"], first=70)
        make_old(other)

    steps = (
        move_away,
        do_nothing,
        add_one,
        do_nothing,
        lambda: drawings.with_name("away").rename(drawings),
        do_nothing,
        lambda: [path.unlink() for path in drawings.rglob("*.png")],
        do_nothing,
    )
    updates, faults = follow(collection, *steps)
    assert updates[:2] == ["0 drawings added, 4 unchanged", "1 drawing added, 0 unchanged"]
    assert faults[0] == f"{drawings}: cannot be reached; its drawings are kept, and are followed when it is back"
    assert len([fault for fault in faults if "cannot be reached" in fault]) == 2
    assert "contains no drawing" in faults[-1]
    assert collection.count() == 5
    assert collection.count("patent = P1") == 1  # of the list, although the drawing is in the folder too


def test_empty_folder_is_followed(model, tmp_path):
    (tmp_path / "inbox").mkdir()
    collection = fastreid.index.create(tmp_path / "collection", model=model)
    collection.add([tmp_path / "inbox"], allow_empty=True)
    updates, faults = follow(collection, lambda: write_pages(tmp_path, ["inbox/a.png"]), do_nothing)
    assert updates[-1] == "1 drawing added, 0 unchanged"
    assert [fault.split(" (")[0] for fault in faults] == [f"{tmp_path}/inbox: contains no drawing"]


def test_lists_and_tables_are_followed(model, drawings, tmp_path):
    (tmp_path / "list.txt").write_text("D1/a.png 1\n")
    (tmp_path / "meta.csv").write_text("patent,title\n1,Chair\n")
    make_old(drawings)
    for name in ("list.txt", "meta.csv"):
        os.utime(tmp_path / name, (1e9, 1e9))
    collection = fastreid.index.create(tmp_path / "lists", model=model)
    collection.add([tmp_path / "list.txt"], images=drawings, metadata=tmp_path / "meta.csv")
    steps = (
        lambda: (tmp_path / "list.txt").write_text("D1/a.png 1\nD1/b.png 1\n"),
        do_nothing,
        do_nothing,  # the list is read, and names a file that was not seen before
        do_nothing,
        lambda: (tmp_path / "meta.csv").write_text("patent,title\n1,Sofa\n"),
        do_nothing,
    )
    updates, faults = follow(collection, *steps)
    assert faults == []
    assert updates[2:] == ["1 drawing added, 1 unchanged", "0 drawings added, 0 unchanged, 2 with new metadata"]
    assert collection.count("title = Sofa") == 2


def test_failed_update_is_tried_again(collection, drawings, monkeypatch):
    original, failures = collection.update, [StorageError("the disk is full")] * 2

    def update(**options):
        if failures:
            raise failures.pop()
        return original(**options)

    monkeypatch.setattr(collection, "update", update)
    updates, faults = follow(collection, do_nothing, do_nothing, do_nothing)
    assert (updates, faults) == (["0 drawings added, 3 unchanged"], ["the disk is full"])


def test_update_stops_after_a_batch_and_continues(model, drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "BATCH_SIZE", 1)
    collection = fastreid.index.create(tmp_path / "collection", model=model)
    answers = iter([False, True])
    report = collection.add([drawings], should_stop=lambda: next(answers))
    assert (report.is_stopped, report.num_embedded, collection.count()) == (True, 1, 1)
    report = collection.update(should_stop=lambda: True)
    assert (report.is_stopped, report.num_removed) == (True, 0)
    assert collection.update().describe() == "2 drawings added, 1 unchanged"


def test_second_signal_stops_at_once(capfd, monkeypatch):
    monkeypatch.setattr("fastreid.utils.termination.SAME_SIGNAL_S", 0.0)
    before = signal.getsignal(signal.SIGTERM)
    with request_stop("finishing the batch") as stop:
        assert not stop.wait(0)
        threading.Timer(0.05, signal.raise_signal, [signal.SIGTERM]).start()
        assert stop.wait(30)
        assert stop.number == signal.SIGTERM
        with pytest.raises(TerminatedError):
            signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == "finishing the batch\n"
    assert signal.getsignal(signal.SIGTERM) is before
    with request_stop(""):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_hash_of_a_file_is_computed_once_for_all_pages(collection, drawings, monkeypatch):
    pytest.importorskip("pypdfium2", reason="the extra `pdf` is not installed")
    from PIL import Image

    with Image.open(drawings / "D1/a.png") as page:
        page.save(drawings / "D1/sheet.pdf", save_all=True, append_images=[page.copy(), page.copy()])
    read, original = [], ingest.compute_sha256
    monkeypatch.setattr(ingest, "compute_sha256", lambda path: read.append(path) or original(path))
    assert collection.add([drawings]).num_embedded == 3
    assert read == [str(drawings / "D1/sheet.pdf")]
    shutil.copy(drawings / "D1/a.png", drawings / "D1/sheet.pdf")
    assert collection.update().num_removed == 2
