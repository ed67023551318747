"""Where the data sets look, and what they give."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid.data.datasets import generated
from fastreid.data.datasets.base import RetrievalData
from fastreid.data.datasets.combined import joined, overlap
from fastreid.data.datasets.deeppatent import Patent, PatentTest
from fastreid.data.datasets.folder import Folder, Lists
from fastreid.structures import Drawing
from fastreid.synthetic import Collection
from fastreid.utils.errors import InputError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def names(drawings):
    return [drawing.name for drawing in drawings]


def patent_layout(root):
    for name in ("p/1.png", "p/2.png", "q/1.png", "q/2.png"):
        touch(root / "train_data/patent_data" / name)
    (root / "train_data/train_patent_trn.txt").write_text("p/1.png 0\np/2.png 0\n")
    (root / "train_data/val_query_patent.txt").write_text("q/1.png 0\n")
    (root / "train_data/val_db_patent.txt").write_text("q/2.png 0\n")


def test_patent_reads_the_three_lists_and_knows_no_cameras(tmp_path):
    patent_layout(tmp_path)
    train = Patent(tmp_path).train()
    queries, gallery = Patent(tmp_path).test()
    assert (names(train), names(queries), names(gallery)) == (["p/1.png", "p/2.png"], ["q/1.png"], ["q/2.png"])
    assert {drawing.camera for drawing in train + queries + gallery} == {-1}
    assert Path(train[0].path) == tmp_path / "train_data/patent_data/p/1.png"


def test_patent_needs_no_training_list_for_a_test(tmp_path):
    patent_layout(tmp_path)
    (tmp_path / "train_data/train_patent_trn.txt").unlink()
    assert len(Patent(tmp_path).test()) == 2


@pytest.mark.parametrize("folder", ["codalab_test_set", "test_data"])
@pytest.mark.parametrize("prefix", ["", "{part}/"])
def test_patent_test_finds_its_drawings_in_every_layout(tmp_path, folder, prefix):
    for part in ("queries", "database"):
        touch(tmp_path / folder / part / "I1/a b.png")
        line = prefix.format(part=part) + "I1/a b.png"
        (tmp_path / folder / "lists").mkdir(exist_ok=True)
        (tmp_path / folder / "lists" / f"test_{part}.txt").write_text(f"{line}\n")
    queries, gallery = PatentTest(tmp_path).test()
    assert Path(queries[0].path) == tmp_path / folder / "queries/I1/a b.png"
    assert Path(gallery[0].path) == tmp_path / folder / "database/I1/a b.png"
    assert queries[0].patent == gallery[0].patent == ""


def test_patent_test_says_what_it_looked_for_and_has_no_training_part(tmp_path):
    with pytest.raises(InputError, match="neither codalab_test_set/lists nor test_data/lists"):
        PatentTest(tmp_path).test()
    with pytest.raises(InputError, match=r"DATASETS\.TESTS only"):
        PatentTest(tmp_path).train()


@pytest.fixture
def shelf(tmp_path):
    for patent in range(10):
        for view in range(5):
            touch(tmp_path / f"patent {patent}" / f"{view}.{'PNG' if view % 2 else 'tif'}")
    touch(tmp_path / "patent 0" / "notes.txt")
    touch(tmp_path / "patent 1" / "more/6.jpg")
    touch(tmp_path / ".hidden/1.png")
    return tmp_path


def folder_set(path, *, test_fraction=0.3, num_queries=2):
    return Folder(path, test_fraction=test_fraction, num_queries=num_queries)


def test_a_folder_keeps_its_share_of_patents_for_the_test(shelf):
    train = folder_set(shelf).train()
    queries, gallery = folder_set(shelf).test()
    kept = {drawing.patent for drawing in queries}
    assert len(kept) == 3
    assert kept == {drawing.patent for drawing in gallery}
    assert not kept & {drawing.patent for drawing in train}
    assert len(train) + len(queries) + len(gallery) == 51
    assert all(sum(drawing.patent == word for drawing in queries) == 2 for word in kept)


def test_a_folder_gives_the_same_lists_again(shelf):
    assert folder_set(shelf).train() == folder_set(shelf).train()
    assert folder_set(shelf).test() == folder_set(shelf).test()


def test_a_folder_of_tests_alone_trains_on_nothing_and_one_without_tests_on_all(shelf):
    assert folder_set(shelf, test_fraction=1).train() == ()
    assert len(folder_set(shelf, test_fraction=0).train()) == 51


def test_a_patent_with_few_drawings_keeps_one_in_the_database(tmp_path):
    touch(tmp_path / "a/1.png")
    touch(tmp_path / "b/1.png")
    touch(tmp_path / "b/2.png")
    queries, gallery = folder_set(tmp_path, test_fraction=1, num_queries=5).test()
    assert [drawing.patent for drawing in queries] == ["b"]
    assert [drawing.patent for drawing in gallery] == ["a", "b"]


def test_a_folder_tells_all_its_faults(shelf):
    touch(shelf / "stray.png")
    (shelf / "zempty").mkdir()
    with pytest.raises(
        InputError, match=r"2 faults: stray.png lies in no patent's sub-folder; zempty holds no drawing"
    ):
        folder_set(shelf).train()


@pytest.mark.parametrize(("fraction", "queries"), [(-0.1, 1), (1.1, 1), (0.5, 0)])
def test_a_folder_refuses_impossible_shares(tmp_path, fraction, queries):
    with pytest.raises(InputError, match="allowed are"):
        folder_set(tmp_path, test_fraction=fraction, num_queries=queries)


def test_a_missing_folder_and_one_without_patents_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        folder_set(tmp_path / "gone").train()
    with pytest.raises(InputError, match="no sub-folder"):
        folder_set(tmp_path).train()


def test_lists_of_any_name_are_read_and_a_missing_one_is_named(tmp_path):
    touch(tmp_path / "a.png")
    (tmp_path / "mine.csv").write_text("path,id\na.png,US 1\n")
    lists = Lists(tmp_path, train=tmp_path / "mine.csv", query=None, database=None)
    assert lists.train()[0].patent == "US 1"
    with pytest.raises(InputError, match=r"DATASETS\.LIST\.QUERY is empty"):
        lists.test()


def drawing(path, patent="1"):
    touch(path)
    return Drawing(str(path), path.name, patent)


class Given:
    """A data set from drawings in memory."""

    def __init__(self, train, queries=(), gallery=()):
        self.parts = (tuple(train), (tuple(queries), tuple(gallery)))

    def train(self):
        return self.parts[0]

    def test(self):
        return self.parts[1]


def test_one_set_keeps_its_words_and_several_get_their_names_before(tmp_path):
    one, two = drawing(tmp_path / "a.png"), drawing(tmp_path / "b.png")
    assert joined({"A": Given([one])}) == (one,)
    assert [each.patent for each in joined({"A": Given([one]), "B": Given([two])})] == ["A_1", "B_1"]


def test_test_drawings_that_are_trained_on_are_other_patents(tmp_path):
    parts = [[drawing(tmp_path / name)] for name in ("a.png", "b.png", "c.png")]
    words = [each.patent for each in joined({"A": Given(*parts)}, with_tests=True)]
    assert words == ["A_1", "A_test_1", "A_test_1"]


def test_nothing_to_learn_is_refused(tmp_path):
    with pytest.raises(InputError, match="A: the training list is empty"):
        joined({"A": Given([])})
    with pytest.raises(InputError, match="A: its drawings have no ids"):
        joined({"A": Given([drawing(tmp_path / "a.png", patent="")])})


def test_a_drawing_in_training_and_test_is_found_under_any_path(tmp_path):
    one, two, three = (drawing(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    (tmp_path / "link.png").symlink_to(tmp_path / "b.png")
    again = Drawing(str(tmp_path / "link.png"), "link.png", "9")
    data = RetrievalData("A", (), (three,), (again,))
    assert overlap([one, two], data) == ["link.png"]
    assert overlap([one], data) == []


SETTINGS = {"seed": 0, "num_train_patents": 2, "num_test_patents": 1, "size_px": 64}


def generated_in(root, *, num_workers=0, **other):
    return generated.Generated(root, Collection(**{**SETTINGS, **other}), num_workers=num_workers)


def write_tiny(folder, **_):
    """Stands for the generator, which has its own tests."""
    patent_layout(folder)
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(folder / "train_data/patent_data/p/1.png")


def made_in(root):
    return sorted(path.name for path in root.iterdir() if path.name != generated.LOCK_NAME)


def test_generated_drawings_are_made_once_and_whole(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        generated, "write_patents", lambda folder, given, **_: (calls.append(given), write_tiny(folder))
    )
    for _ in range(2):
        assert names(generated_in(tmp_path / "data").train()) == ["p/1.png", "p/2.png"]
    assert calls == [Collection(**SETTINGS)]
    assert made_in(tmp_path / "data") == [generated_in(tmp_path).folder.name]


def test_other_settings_are_another_folder(tmp_path):
    folders = {generated_in(tmp_path, **other).folder for other in ({}, {"seed": 1}, {"size_px": 65})}
    assert len(folders) == 3
    assert generated_in(tmp_path, num_workers=8).folder in folders


def test_of_two_runs_that_generate_at_once_one_draws_and_both_read(tmp_path, monkeypatch):
    begun, calls = threading.Event(), []

    def write(folder, *_, **__):
        calls.append(folder)
        begun.set()
        time.sleep(0.2)
        write_tiny(folder)

    monkeypatch.setattr(generated, "write_patents", write)
    found = []
    runs = [threading.Thread(target=lambda: found.append(names(generated_in(tmp_path).train()))) for _ in range(2)]
    runs[0].start()
    assert begun.wait(timeout=20)
    runs[1].start()
    for run in runs:
        run.join()
    assert found == [["p/1.png", "p/2.png"]] * 2
    assert len(calls) == len(made_in(tmp_path)) == 1


def test_what_a_killed_run_left_is_removed_and_only_that(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "write_patents", lambda folder, *_, **__: write_tiny(folder))
    data = generated_in(tmp_path)
    for stale in (f"{data.folder.name}.unfinished-abc_1234", "generated-0123abcd.unfinished-qwertyui"):
        touch(tmp_path / stale / "half.png")
    touch(tmp_path / "generated-sketches.unfinished" / "mine.png")
    data.train()
    assert made_in(tmp_path) == sorted([data.folder.name, "generated-sketches.unfinished"])
    assert not (data.folder / "half.png").exists()


def test_drawings_of_older_rules_never_pass_for_new_ones(tmp_path, monkeypatch):
    before = generated_in(tmp_path).folder
    monkeypatch.setattr(generated, "RULES_VERSION", generated.RULES_VERSION + 1)
    assert generated_in(tmp_path).folder != before


def test_a_generator_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def write(folder, *_, **__):
        touch(folder / "half.png")
        raise InputError("no room for the drawing")

    monkeypatch.setattr(generated, "write_patents", write)
    with pytest.raises(InputError, match="no room"):
        generated_in(tmp_path).train()
    assert made_in(tmp_path) == []


def test_a_generated_folder_that_was_emptied_is_refused(tmp_path):
    generated_in(tmp_path).folder.mkdir()
    with pytest.raises(InputError, match="remove the folder"):
        generated_in(tmp_path).train()
