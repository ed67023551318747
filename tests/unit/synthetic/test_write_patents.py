import shutil

import pytest
from commands import run
from PIL import Image

from fastreid.synthetic import Collection, write_patents
from fastreid.utils.errors import InputError

SMALL = {"seed": 3, "num_train_patents": 3, "num_test_patents": 2, "size_px": 64}
ONE_EACH = {**SMALL, "num_train_patents": 1, "num_test_patents": 1}


def read_files(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def image_mode(file):
    with Image.open(file) as image:
        return image.mode


def read_list(folder, name):
    return [line.split(" ") for line in (folder / "train_data" / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    assert write_patents(folder, Collection(**SMALL))
    return folder


def test_two_workers_write_the_same_bytes_as_none(collection, tmp_path):
    write_patents(tmp_path / "two", Collection(**SMALL), num_workers=2)
    assert read_files(tmp_path / "two") == read_files(collection)


def test_another_seed_writes_other_drawings(collection, tmp_path):
    write_patents(tmp_path, Collection(**{**ONE_EACH, "seed": 4}))
    name = "train_data/patent_data/USDG000000-20260101/USDG000000-20260101-D00001.png"
    assert read_files(tmp_path)[name] != read_files(collection)[name]


def test_more_training_patents_keep_existing_drawings(tmp_path):
    write_patents(tmp_path / "before", Collection(**ONE_EACH))
    write_patents(tmp_path / "more", Collection(**{**ONE_EACH, "num_train_patents": 2}))
    more, before = read_files(tmp_path / "more"), read_files(tmp_path / "before")
    assert len(more) > len(before)
    assert all(more[name] == before[name] for name in before if name.endswith(".png"))


def test_lists_match_the_files(collection):
    lists = ["train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt"]
    listed = [name for part in lists for name, _ in read_list(collection, part)]
    images = collection / "train_data" / "patent_data"
    assert sorted(listed) == sorted(str(file.relative_to(images)) for file in images.glob("*/*"))
    assert {image_mode(images / name) for name in listed} == {"1"}


def test_training_and_test_patents_are_disjoint(collection):
    train, query, gallery = (
        {name.split("/")[0] for name, _ in read_list(collection, part)}
        for part in ("train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt")
    )
    assert query == gallery
    assert not train & query
    assert len(train) == 3
    assert len(query) == 2


def test_test_patents_have_two_queries_and_a_gallery(collection):
    queries, gallery = (read_list(collection, part) for part in ("val_query_patent.txt", "val_db_patent.txt"))
    for patent in "01":
        assert sum(ident == patent for _, ident in queries) == 2
        assert 2 <= sum(ident == patent for _, ident in gallery) <= 10


def test_complete_folder_is_not_changed(collection):
    before = {file: file.stat().st_mtime_ns for file in collection.rglob("*")}
    assert not write_patents(collection, Collection(**SMALL))
    assert {file: file.stat().st_mtime_ns for file in collection.rglob("*")} == before


def test_incomplete_folder_is_completed(collection, tmp_path):
    shutil.copytree(collection, tmp_path / "copy")
    (tmp_path / "copy/train_data/val_db_patent.txt").unlink()
    next((tmp_path / "copy/train_data/patent_data").glob("*/*")).unlink()
    assert write_patents(tmp_path / "copy", Collection(**SMALL))
    assert read_files(tmp_path / "copy") == read_files(collection)


def test_folder_with_other_drawings_is_invalid(collection):
    with pytest.raises(InputError, match="choose another folder"):
        write_patents(collection, Collection(**{**SMALL, "seed": 9}))


def test_folder_with_real_data_is_invalid(tmp_path):
    (tmp_path / "train_data").mkdir()
    with pytest.raises(InputError, match="contains data that was not generated"):
        write_patents(tmp_path, Collection(**SMALL))


def test_progress_counts_all_patents(tmp_path):
    calls = []
    write_patents(tmp_path, Collection(**ONE_EACH), on_patent=lambda done, num: calls.append((done, num)))
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_train_patents": 0}, "num_train_patents must be an integer from 1 to 500000, not 0"),
        ({"num_test_patents": 500_001}, "num_test_patents must be an integer"),
        ({"seed": 1.5}, "seed must be an integer, not 1.5"),
        ({"size_px": 10}, "size_px must be an integer from 64 to 2000, not 10"),
    ],
)
def test_invalid_settings_write_nothing(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        write_patents(tmp_path, Collection(**{**SMALL, **settings}))
    assert not list(tmp_path.iterdir())


def test_negative_num_workers_is_invalid(tmp_path):
    with pytest.raises(InputError, match="num_workers must be a non-negative integer, not -1"):
        write_patents(tmp_path, Collection(**SMALL), num_workers=-1)


def test_command_writes_collection_and_contact_sheet(tmp_path):
    args = ("--output", tmp_path / "made", "--patents", 1, "--test-patents", 1, "--size-px", 64)
    code, output, errors = run("data synth", *args, "--sheet", tmp_path / "sheet.png", folder=tmp_path)
    assert (code, errors) == (0, "")
    assert "of 1 training and 1 test patents" in output
    assert image_mode(tmp_path / "sheet.png") == "L"


def test_command_reports_invalid_numbers_in_one_line(tmp_path):
    code, _, errors = run("data synth", "--output", tmp_path / "made", "--patents", 0, folder=tmp_path)
    assert code == 2
    [line] = errors.splitlines()
    assert "argument --patents: '0' is invalid; it must be an integer from 1 to 500000, such as 200; see" in line
    assert not (tmp_path / "made").exists()
