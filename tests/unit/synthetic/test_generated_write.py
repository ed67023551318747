"""Collections on the disk, and the command that makes them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fastreid.synthetic import Collection, write_patents
from fastreid.utils.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[3]
SMALL = {"seed": 3, "num_train_patents": 3, "num_test_patents": 2, "size_px": 64}


def make_drawings(*words):
    command = [sys.executable, "-m", "fastreid", "data", "synth", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})


def bytes_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def mode_of(file):
    with Image.open(file) as image:
        return image.mode


def read_list(folder, name):
    return [line.split(" ") for line in (folder / "train_data" / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    assert write_patents(folder, Collection(**SMALL))
    return folder


def test_two_processes_write_the_same_bytes_as_one(collection, tmp_path):
    write_patents(tmp_path / "two", Collection(**SMALL), num_workers=2)
    assert bytes_of(tmp_path / "two") == bytes_of(collection)


def test_another_seed_writes_other_drawings(collection, tmp_path):
    write_patents(tmp_path, Collection(**{**SMALL, "seed": 4}))
    name = "train_data/patent_data/USDG000000-20260101/USDG000000-20260101-D00001.png"
    assert bytes_of(tmp_path)[name] != bytes_of(collection)[name]


def test_more_training_patents_change_no_drawing_that_was_there(collection, tmp_path):
    write_patents(tmp_path, Collection(**{**SMALL, "num_train_patents": 4}))
    more, before = bytes_of(tmp_path), bytes_of(collection)
    assert all(more[name] == before[name] for name in before if name.endswith(".png"))


def test_every_listed_drawing_is_there_and_every_drawing_is_listed_once(collection):
    lists = ["train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt"]
    listed = [name for part in lists for name, _ in read_list(collection, part)]
    images = collection / "train_data" / "patent_data"
    assert sorted(listed) == sorted(str(file.relative_to(images)) for file in images.glob("*/*"))
    assert {mode_of(images / name) for name in listed} == {"1"}


def test_test_patents_are_others_than_training_patents(collection):
    train, query, database = (
        {name.split("/")[0] for name, _ in read_list(collection, part)}
        for part in ("train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt")
    )
    assert query == database
    assert not train & query
    assert len(train) == 3
    assert len(query) == 2


def test_each_test_patent_has_two_queries_and_at_least_two_in_the_database(collection):
    queries, database = (read_list(collection, part) for part in ("val_query_patent.txt", "val_db_patent.txt"))
    for patent in "01":
        assert sum(ident == patent for _, ident in queries) == 2
        assert 2 <= sum(ident == patent for _, ident in database) <= 10


def test_a_folder_that_holds_the_collection_is_left_alone(collection):
    before = {file: file.stat().st_mtime_ns for file in collection.rglob("*")}
    assert not write_patents(collection, Collection(**SMALL))
    assert {file: file.stat().st_mtime_ns for file in collection.rglob("*")} == before


def test_an_unfinished_folder_is_finished(collection, tmp_path):
    write_patents(tmp_path, Collection(**SMALL))
    (tmp_path / "train_data" / "val_db_patent.txt").unlink()
    next((tmp_path / "train_data" / "patent_data").glob("*/*")).unlink()
    assert write_patents(tmp_path, Collection(**SMALL))
    assert bytes_of(tmp_path) == bytes_of(collection)


def test_a_folder_with_other_drawings_is_refused(collection):
    with pytest.raises(InputError, match="choose another folder"):
        write_patents(collection, Collection(**{**SMALL, "seed": 9}))


def test_a_folder_with_real_data_is_refused(tmp_path):
    (tmp_path / "train_data").mkdir()
    with pytest.raises(InputError, match="not generated"):
        write_patents(tmp_path, Collection(**SMALL))


def test_progress_counts_up_to_all_patents(tmp_path):
    told = []
    write_patents(
        tmp_path, Collection(**{**SMALL, "num_train_patents": 1}), on_patent=lambda done, num: told.append((done, num))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"num_train_patents": 0}, "num_train_patents is a whole number from 1 to 500000, not 0"),
        ({"num_test_patents": 500_001}, "num_test_patents is a whole number"),
        ({"seed": 1.5}, "seed is a whole number, not 1.5"),
        ({"size_px": 10}, "size_px is a whole number from 64 to 2000, not 10"),
    ],
)
def test_wrong_numbers_are_refused_before_anything_is_written(tmp_path, wrong, words):
    with pytest.raises(InputError, match=words):
        write_patents(tmp_path, Collection(**{**SMALL, **wrong}))
    assert not list(tmp_path.iterdir())


def test_a_wrong_number_of_workers_is_refused(tmp_path):
    with pytest.raises(InputError, match="num_workers is a whole number from 0 on, not -1"):
        write_patents(tmp_path, Collection(**SMALL), num_workers=-1)


def test_the_command_writes_a_collection_and_a_picture_of_it(tmp_path):
    words = ("--output", tmp_path / "made", "--patents", 1, "--test-patents", 1, "--size-px", 64)
    made = make_drawings(*words, "--sheet", tmp_path / "sheet.png")
    assert made.returncode == 0, made.stderr
    assert "of 1 training and 1 test patents" in made.stdout
    assert made.stderr == ""
    assert mode_of(tmp_path / "sheet.png") == "L"


def test_the_command_refuses_bad_numbers_with_one_line_and_code_2(tmp_path):
    made = make_drawings("--output", tmp_path / "made", "--patents", 0)
    assert made.returncode == 2
    assert made.stderr.splitlines() == ["num_train_patents is a whole number from 1 to 500000, not 0"]
    assert not (tmp_path / "made").exists()
