"""Training drawings that cannot be read, where a run is told to go on: others of their patents stand in."""

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.data.loading.loader import TestLoader, TrainLoader, Workers
from fastreid.data.loading.unreadable import BadDrawings, sort_out
from fastreid.data.samplers.instance import TrainingSampler
from fastreid.data.transforms.pipeline import Pipeline
from fastreid.data.transforms.random_patch import RandomPatch
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
    found = an_epoch(drawings, num_workers=num_workers, bad=BadDrawings(2))
    stand_in = {4: 5, 8: 6}
    assert found["rows"] == [stand_in.get(row, row) for row in whole["rows"]]
    assert found["levels"] == found["rows"]
    assert found["targets"] == whole["targets"]
    assert sorted(words.split(".png")[0][-1] for words in warnings) == ["4", "8"]
    assert all("passed over, another drawing of its patent stands in" in words for words in warnings)


def test_each_is_told_once_however_often_it_is_asked_for(drawings, warnings):
    spoil(drawings, 4, 5)
    bad = BadDrawings(2)
    found = an_epoch(drawings, num=4 * NUM // BATCH, bad=bad)
    assert found["rows"].count(3) == 3 * 4
    assert len(warnings) == 2
    an_epoch(drawings, bad=bad)  # another loader of the run, as after a resume
    assert len(warnings) == 2


def test_too_many_and_a_patent_without_any_are_refused(drawings, warnings):
    spoil(drawings, 3, 7, 11)
    with pytest.raises(
        InputError, match=r"it is training drawing 3 that cannot be read, and INPUT.MAX_BAD_IMAGES is 2"
    ):
        an_epoch(drawings, bad=BadDrawings(2))
    spoil(drawings, 3, 4, 5)
    with pytest.raises(
        InputError, match=r"[345]\.png: not an image.*; nor can any of the 3 drawings of its patent 1 be read"
    ):
        an_epoch(drawings, bad=BadDrawings(20))


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


def faults_of(drawings, *rows):
    return {drawings[row].path: f"fault {row}" for row in rows}


def test_what_the_fill_of_the_cache_found_is_told_by_name_and_not_told_again_by_a_loader(drawings, warnings):
    spoil(drawings, 4, 8)
    bad = BadDrawings(2)
    sort_out(faults_of(drawings, 4, 8), training=drawings, bad=bad)
    assert [words.split(";")[0] for words in warnings[:2]] == ["fault 4", "fault 8"]
    assert "are passed over (INPUT.ON_BAD_IMAGE): 2" in warnings[2]
    an_epoch(drawings, bad=bad)
    assert len(warnings) == 3


def test_too_many_that_the_fill_found_name_the_limit(drawings):
    told = "training drawings: 2 faults: fault 4; fault 8; 2 cannot be read, and INPUT.MAX_BAD_IMAGES is 1"
    with pytest.raises(InputError, match=f"^{told}$"):
        sort_out(faults_of(drawings, 4, 8), training=drawings, bad=BadDrawings(1))


def test_what_a_test_needs_and_a_patent_without_any_are_told_apart_and_at_once(drawings):
    faults = faults_of(drawings, 0, 3, 4, 5, 8)
    with pytest.raises(InputError) as refusal:
        sort_out(faults, needed={drawings[0].path}, training=drawings[1:], bad=BadDrawings(9))
    of_tests, patents = str(refusal.value).split("; patents to train on: ")
    assert of_tests.startswith("drawings that must be read: fault 0; INPUT.ON_BAD_IMAGE skip is for training")
    assert patents == "fault 3; nor can any of the 3 drawings of its patent 1 be read"
    with pytest.raises(InputError, match=r"^the drawings: 5 faults: fault 0; fault 3; fault 4"):
        sort_out(faults, needed={drawings[0].path}, training=drawings[1:])


def test_a_test_loader_leaves_bad_drawings_out_only_where_it_is_told_to(drawings, warnings):
    spoil(drawings, 4, 8)
    options = {"transform": Pipeline([]), "batch_size": BATCH}
    batches = list(TestLoader(drawings, **options, bad=BadDrawings(2)))
    assert [len(batch.rows) for batch in batches] == [8, 8, 8]
    assert {row for batch in batches for row in batch.rows.tolist()} == set(range(NUM)) - {4, 8}
    assert all("left out of what is learnt" in words for words in warnings)
    with pytest.raises(InputError, match=r"4\.png: not an image.*; a hint$"):
        list(TestLoader(drawings, **options, hint="a hint"))


def test_a_patch_of_a_drawing_that_cannot_be_read_is_left_out(drawings):
    spoil(drawings, *range(NUM))
    image = Image.new("L", (8, 8), 77)
    assert RandomPatch(drawings, prob=1.0, skip_bad=True)(image) is image
    with pytest.raises(InputError, match="for a random patch"):
        RandomPatch(drawings, prob=1.0)(image)
