from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.data.loading.loader import TestLoader, TrainLoader, Workers
from fastreid.data.loading.unreadable import UnreadableDrawings, check_unreadable
from fastreid.data.samplers.instance import TrainingSampler
from fastreid.data.transforms.pipeline import Pipeline
from fastreid.data.transforms.random_patch import RandomPatch
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

NUM, BATCH = 24, 8  # 8 patents of 3 drawings


@pytest.fixture
def drawings(tmp_path):
    """Each drawing has another gray level, so that a batch shows which drawings it contains."""
    drawings = []
    for row in range(NUM):
        path = tmp_path / f"{row}.png"
        Image.fromarray(np.full((8, 8), 10 * row, np.uint8)).save(path)
        drawings.append(Drawing(str(path), path.name, str(row // 3), source=f"list.txt:{row + 1}"))
    return drawings


@pytest.fixture
def warnings(monkeypatch):
    messages = []
    monkeypatch.setattr(get_logger(), "warning", messages.append)
    return messages


def make_unreadable(drawings, *rows):
    for row in rows:
        with open(drawings[row].path, "wb") as file:
            file.write(b"no image")


def load_epoch(drawings, *, num_workers=0, num=NUM // BATCH, **options):
    loader = TrainLoader(
        drawings,
        transform=Pipeline([]),
        sampler=TrainingSampler(NUM, batch_size=BATCH, seed=0),
        batch_size=BATCH,
        seed=0,
        workers=Workers(num_workers, timeout_s=60),
        **options,
    )
    try:
        batches = list(islice(loader, num))
    finally:
        loader.close()
    return {
        name: torch.cat([part(batch) for batch in batches]).tolist()
        for name, part in {
            "levels": lambda batch: batch.images[:, 0, 0, 0] / 10,
            "rows": lambda batch: batch.rows,
            "targets": lambda batch: batch.targets,
        }.items()
    }


@pytest.mark.parametrize("num_workers", [0, 2])
def test_next_drawing_of_the_patent_replaces_an_unreadable_one(drawings, warnings, num_workers):
    original = load_epoch(drawings)
    make_unreadable(drawings, 4, 8)
    loaded = load_epoch(drawings, num_workers=num_workers, unreadable=UnreadableDrawings(2))
    replacements = {4: 5, 8: 6}
    assert loaded["rows"] == [replacements.get(row, row) for row in original["rows"]]
    assert loaded["levels"] == loaded["rows"]
    assert loaded["targets"] == original["targets"]
    assert sorted(message.split(".png")[0][-1] for message in warnings) == ["4", "8"]
    assert all("skipped, another drawing of its patent replaces it" in message for message in warnings)


def test_each_unreadable_drawing_is_logged_once(drawings, warnings):
    make_unreadable(drawings, 4, 5)
    unreadable = UnreadableDrawings(2)
    loaded = load_epoch(drawings, num=4 * NUM // BATCH, unreadable=unreadable)
    assert loaded["rows"].count(3) == 3 * 4
    assert len(warnings) == 2
    load_epoch(drawings, unreadable=unreadable)  # another loader of the run, as after a resume
    assert len(warnings) == 2


def test_too_many_unreadable_or_a_whole_patent_raises(drawings, warnings):
    make_unreadable(drawings, 3, 7, 11)
    with pytest.raises(
        InputError, match=r"this is unreadable training drawing number 3, and INPUT.MAX_BAD_IMAGES is 2"
    ):
        load_epoch(drawings, unreadable=UnreadableDrawings(2))
    make_unreadable(drawings, 3, 4, 5)
    with pytest.raises(
        InputError,
        match=r"[345]\.png: not an image; allowed are [^;]*; none of the 3 drawings of its patent 1 can be read; res",
    ):
        load_epoch(drawings, unreadable=UnreadableDrawings(20))


def test_first_unreadable_drawing_raises_without_skip(drawings):
    make_unreadable(drawings, 4)
    with pytest.raises(InputError, match=r"list.txt:5: .*4\.png: not an image"):
        load_epoch(drawings)


def test_known_drawing_is_not_logged_again(warnings):
    unreadable = UnreadableDrawings(1)
    for _ in range(3):
        unreadable.record([(7, "a fault")])
    assert len(warnings) == 1
    with pytest.raises(InputError, match="another fault; this is unreadable training drawing number 2"):
        unreadable.record([(8, "another fault")])


def make_faults(drawings, *rows):
    return {drawings[row].path: f"fault {row}" for row in rows}


def test_loader_does_not_repeat_warnings_of_the_cache(drawings, warnings):
    make_unreadable(drawings, 4, 8)
    unreadable = UnreadableDrawings(2)
    check_unreadable(make_faults(drawings, 4, 8), training=drawings, unreadable=unreadable)
    assert [message.split(";")[0] for message in warnings[:2]] == ["fault 4", "fault 8"]
    assert "are skipped (INPUT.ON_BAD_IMAGE): 2" in warnings[2]
    load_epoch(drawings, unreadable=unreadable)
    assert len(warnings) == 3


def test_too_many_in_the_cache_name_the_limit(drawings):
    with pytest.raises(InputError) as caught:
        check_unreadable(make_faults(drawings, 4, 8), training=drawings, unreadable=UnreadableDrawings(1))
    assert str(caught.value).splitlines() == [
        "2 training drawings cannot be read, and INPUT.MAX_BAD_IMAGES is 1: 2 faults",
        "  fault 4",
        "  fault 8",
    ]


def test_reasons_are_reported_separately_and_together(drawings):
    faults = make_faults(drawings, 0, 3, 4, 5, 8)
    with pytest.raises(InputError) as caught:
        check_unreadable(faults, needed={drawings[0].path}, training=drawings[1:], unreadable=UnreadableDrawings(9))
    needed, patents = str(caught.value).splitlines()
    assert needed.startswith("drawings that must be readable (INPUT.ON_BAD_IMAGE skip applies to training only")
    assert needed.endswith(": fault 0")
    assert patents == (
        "patents without a readable training drawing: fault 3; none of the 3 drawings of its patent 1 can be read"
    )
    with pytest.raises(InputError, match=r"^unreadable drawings: 5 faults\n  fault 0\n  fault 3\n  fault 4"):
        check_unreadable(faults, needed={drawings[0].path}, training=drawings[1:])


def test_test_loader_replaces_unreadable_drawings_on_request(drawings, warnings):
    make_unreadable(drawings, 4, 8)
    options = {"transform": Pipeline([]), "batch_size": BATCH}
    batches = list(TestLoader(drawings, **options, unreadable=UnreadableDrawings(2)))
    assert [len(batch.rows) for batch in batches] == [8, 8, 8]
    assert {row for batch in batches for row in batch.rows.tolist()} == set(range(NUM)) - {4, 8}
    assert all("left out of the statistics learned" in message for message in warnings)
    with pytest.raises(InputError, match=r"4\.png: not an image.*; a hint$"):
        list(TestLoader(drawings, **options, hint="a hint"))


def test_random_patch_skips_unreadable_donors_on_request(drawings):
    make_unreadable(drawings, *range(NUM))
    image = Image.new("L", (8, 8), 77)
    assert RandomPatch(drawings, prob=1.0, skip_unreadable=True)(image) is image
    with pytest.raises(InputError, match=r"random patch \(INPUT\.RPT\)"):
        RandomPatch(drawings, prob=1.0)(image)
