"""Training drawings that cannot be read, where a run is told to go on: others of their patents stand in."""

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.data.bad_drawings import BadDrawings
from fastreid.data.loading import TrainLoader, Workers
from fastreid.data.pages.cache import PageCache
from fastreid.data.samplers.stream import TrainingSampler
from fastreid.data.transforms.page import Pipeline
from fastreid.data.transforms.patch import RandomPatch
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

NUM, BATCH = 24, 8  # 8 patents of 3 drawings


@pytest.fixture
def drawings(tmp_path):
    """Each drawing is a page of its own grey level, so that a batch tells which it holds."""
    made = []
    for row in range(NUM):
        path = tmp_path / f"{row}.png"
        Image.fromarray(np.full((8, 8), 10 * row, np.uint8)).save(path)
        made.append(Drawing(str(path), path.name, str(row // 3), source=f"list.txt:{row + 1}"))
    return made


@pytest.fixture
def warnings(monkeypatch):
    told = []
    monkeypatch.setattr(get_logger(), "warning", told.append)
    return told


def spoil(drawings, *rows):
    for row in rows:
        with open(drawings[row].path, "wb") as file:
            file.write(b"no image")


def an_epoch(drawings, *, num_workers=0, num=NUM // BATCH, **options):
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
def test_the_next_drawing_of_the_patent_stands_in(drawings, warnings, num_workers):
    whole = an_epoch(drawings)
    spoil(drawings, 4, 8)
    found = an_epoch(drawings, num_workers=num_workers, max_bad=2)
    stand_in = {4: 5, 8: 6}
    assert found["rows"] == [stand_in.get(row, row) for row in whole["rows"]]
    assert found["levels"] == found["rows"]
    assert found["targets"] == whole["targets"]
    assert sorted(words.split(".png")[0][-1] for words in warnings) == ["4", "8"]
    assert all("passed over, another drawing of its patent stands in" in words for words in warnings)


def test_each_is_told_once_however_often_it_is_asked_for(drawings, warnings):
    spoil(drawings, 4, 5)
    found = an_epoch(drawings, num=4 * NUM // BATCH, max_bad=2)
    assert found["rows"].count(3) == 3 * 4
    assert len(warnings) == 2


def test_too_many_and_a_patent_without_any_are_refused(drawings, warnings):
    spoil(drawings, 3, 7, 11)
    with pytest.raises(
        InputError, match=r"it is training drawing 3 that cannot be read, and INPUT.MAX_BAD_IMAGES is 2"
    ):
        an_epoch(drawings, max_bad=2)
    spoil(drawings, 3, 4, 5)
    with pytest.raises(
        InputError, match=r"[345]\.png: not an image.*; nor can any of the 3 drawings of its patent be read"
    ):
        an_epoch(drawings, max_bad=20)


def test_the_first_is_refused_where_nobody_asked_to_go_on(drawings):
    spoil(drawings, 4)
    with pytest.raises(InputError, match=r"list.txt:5: .*4\.png: not an image"):
        an_epoch(drawings)


def test_a_note_of_nothing_new_tells_nothing(warnings):
    bad = BadDrawings(1)
    for _ in range(3):
        bad.note([(7, "a fault")])
    assert len(warnings) == 1
    with pytest.raises(InputError, match="another fault; it is training drawing 2"):
        bad.note([(8, "another fault")])


def test_the_cache_leaves_out_what_training_may_pass_over(drawings, tmp_path):
    spoil(drawings, 4, 8)
    cache = PageCache(tmp_path / "cache", longest_px=0)
    filled = cache.fill(drawings[12:], training=drawings, max_bad=2)
    assert (filled.num_made, filled.num_bad) == (22, 2)
    again = cache.fill(drawings[12:], training=drawings, max_bad=2)
    assert (again.num_made, again.num_kept, again.num_bad) == (0, 22, 2)
    with pytest.raises(InputError, match="2 faults"):
        cache.fill(drawings[12:], training=drawings, max_bad=1)
    with pytest.raises(InputError, match="2 faults"):
        cache.fill(drawings[4:5], training=drawings, max_bad=2)


def test_a_patch_of_a_drawing_that_cannot_be_read_is_left_out(drawings):
    spoil(drawings, *range(NUM))
    image = Image.new("L", (8, 8), 77)
    assert RandomPatch(drawings, prob=1.0, skip_bad=True)(image) is image
    with pytest.raises(InputError, match="for a random patch"):
        RandomPatch(drawings, prob=1.0)(image)
