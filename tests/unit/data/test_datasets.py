import threading
import time

import numpy as np
import pytest
from patent_layout import get_names, touch, write_patent_layout
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data.datasets.base import InvalidListError, RetrievalData
from fastreid.data.datasets.combined import find_overlap, join_datasets
from fastreid.data.datasets.folder import Folder, ImageLists
from fastreid.data.datasets.generated import LOCK_NAME, Generated
from fastreid.engine.data import build_datasets
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError

LOOSE = "is not in a patent's sub-folder; move it into a folder of its patent"


@pytest.fixture
def folder(tmp_path):
    for patent in range(10):
        for view in range(5):
            touch(tmp_path / f"patent {patent}" / f"{view}.{'PNG' if view % 2 else 'tif'}")
    touch(tmp_path / "patent 0" / "notes.txt")
    touch(tmp_path / "patent 1" / "more/6.jpg")
    touch(tmp_path / ".hidden/1.png")
    return tmp_path


def make_folder_dataset(path, *, test_fraction=0.3, num_queries=2):
    return Folder(path, test_fraction=test_fraction, num_queries=num_queries)


def test_folder_splits_patents_by_test_fraction(folder):
    train = make_folder_dataset(folder).train()
    queries, gallery = make_folder_dataset(folder).test()
    tested = {drawing.patent for drawing in queries}
    assert len(tested) == 3
    assert tested == {drawing.patent for drawing in gallery}
    assert not tested & {drawing.patent for drawing in train}
    assert len(train) + len(queries) + len(gallery) == 51
    assert all(sum(drawing.patent == patent for drawing in queries) == 2 for patent in tested)


def test_folder_split_is_reproducible(folder):
    assert make_folder_dataset(folder).train() == make_folder_dataset(folder).train()
    assert make_folder_dataset(folder).test() == make_folder_dataset(folder).test()


def test_folder_may_be_all_test_or_all_training(folder):
    assert make_folder_dataset(folder, test_fraction=1).train() == ()
    assert len(make_folder_dataset(folder, test_fraction=0).train()) == 51


def test_patent_with_few_drawings_keeps_one_in_the_gallery(tmp_path):
    touch(tmp_path / "a/1.png")
    touch(tmp_path / "b/1.png")
    touch(tmp_path / "b/2.png")
    queries, gallery = make_folder_dataset(tmp_path, test_fraction=1, num_queries=5).test()
    assert [drawing.patent for drawing in queries] == ["b"]
    assert [drawing.patent for drawing in gallery] == ["a", "b"]


def test_folder_reports_all_faults(folder):
    touch(folder / "stray.png")
    touch(folder / "stray.PDF")
    (folder / "zempty").mkdir()
    with pytest.raises(InputError) as caught:
        make_folder_dataset(folder).train()
    heading, *faults = str(caught.value).splitlines()
    assert heading == f"{folder}: 2 faults"
    assert faults == [f"  stray.{suffix} {LOOSE}" for suffix in ("PDF", "png")]


def test_link_to_a_missing_file_is_a_fault(folder):
    (folder / "patent 3/linked.png").symlink_to(folder / "gone.png")
    with pytest.raises(InputError, match=r": patent 3/linked\.png is a link to a missing file; remove the link$"):
        make_folder_dataset(folder).train()


def test_test_set_without_a_patent_of_two_drawings_is_explained(tmp_path):
    for patent in "abc":
        touch(tmp_path / patent / "1.png")
    with pytest.raises(InputError, match=r"none of the 3 held-out patents \(a, b, c\) has 2 drawings, .*FRACTION 1$"):
        make_folder_dataset(tmp_path, test_fraction=1).test()
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.NAMES", "Folder", "DATASETS.TESTS", "Folder", "DATASETS.FOLDER.PATH", str(tmp_path)])
    cfg.merge_from_list(["DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "DATALOADER.NUM_INSTANCE", 4])
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 64])
    with pytest.raises(InvalidListError) as caught:
        build_datasets(cfg)
    heading, test_fault, batch_fault = str(caught.value).splitlines()
    assert heading == "Folder: the data cannot be used: 2 faults"
    assert "held-out" in test_fault
    assert "a batch of 64 with 4 drawings per patent needs 16 patents, but the training list has 2" in batch_fault
    with pytest.raises(InputError, match=r"the only held-out patent \(.\) does not have 2 drawings"):
        make_folder_dataset(tmp_path, test_fraction=0.1).test()


@pytest.mark.parametrize(("fraction", "queries"), [(-0.1, 1), (1.1, 1), (0.5, 0)])
def test_folder_with_invalid_fraction_or_queries_raises(tmp_path, fraction, queries):
    with pytest.raises(InputError, match="allowed are"):
        make_folder_dataset(tmp_path, test_fraction=fraction, num_queries=queries)


def test_missing_or_empty_folder_raises(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        make_folder_dataset(tmp_path / "gone").train()
    with pytest.raises(InputError, match="no sub-folder"):
        make_folder_dataset(tmp_path).train()


def test_lists_of_any_name_are_read(tmp_path):
    touch(tmp_path / "a.png")
    (tmp_path / "mine.csv").write_text("path,id\na.png,US 1\n")
    lists = ImageLists(tmp_path, train=tmp_path / "mine.csv", query=None, gallery=None)
    assert lists.train()[0].patent == "US 1"
    with pytest.raises(InputError, match=r"DATASETS\.LIST\.QUERY is empty"):
        lists.test()


def drawing(path, patent="1"):
    touch(path)
    return Drawing(str(path), path.name, patent)


class MemoryDataset:
    """A dataset of drawings in memory."""

    def __init__(self, train, queries=(), gallery=()):
        self.parts = (tuple(train), (tuple(queries), tuple(gallery)))

    def train(self):
        return self.parts[0]

    def test(self):
        return self.parts[1]


def test_only_joined_datasets_prefix_their_ids(tmp_path):
    one, two = drawing(tmp_path / "a.png"), drawing(tmp_path / "b.png")
    assert join_datasets({"A": MemoryDataset([one])}) == (one,)
    assert [each.patent for each in join_datasets({"A": MemoryDataset([one]), "B": MemoryDataset([two])})] == [
        "A_1",
        "B_1",
    ]


def test_test_drawings_in_training_get_other_ids(tmp_path):
    parts = [[drawing(tmp_path / name)] for name in ("a.png", "b.png", "c.png")]
    patents = [each.patent for each in join_datasets({"A": MemoryDataset(*parts)}, include_tests=True)]
    assert patents == ["A_1", "A_test_1", "A_test_1"]


def test_unknown_and_repeated_test_drawings_are_not_trained_on(tmp_path):
    train, both = [drawing(tmp_path / "a.png")], drawing(tmp_path / "b.png")
    unknown = drawing(tmp_path / "c.png", patent="")
    dataset = MemoryDataset(train, [both], [both, unknown])
    assert [each.name for each in join_datasets({"A": dataset}, include_tests=True)] == ["a.png", "b.png"]


def test_dataset_without_training_drawings_or_ids_raises(tmp_path):
    with pytest.raises(InputError, match="A: the training list is empty"):
        join_datasets({"A": MemoryDataset([])})
    with pytest.raises(InputError, match="A: its drawings have no ids"):
        join_datasets({"A": MemoryDataset([drawing(tmp_path / "a.png", patent="")])})


def test_overlap_is_found_under_any_path(tmp_path):
    one, two, three = (drawing(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    (tmp_path / "link.png").symlink_to(tmp_path / "b.png")
    linked = Drawing(str(tmp_path / "link.png"), "link.png", "9")
    data = RetrievalData("A", (), (three,), (linked,))
    assert find_overlap([one, two], data) == [(linked, two)]
    assert find_overlap([one], data) == []


def write_tiny_collection(folder):
    write_patent_layout(folder)
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(folder / "train_data/patent_data/p/1.png")


def make_generated(root, *, identity="settings", write=write_tiny_collection):
    return Generated(root, identity=identity, write=write)


def list_folders(root):
    return sorted(path.name for path in root.iterdir() if path.name != LOCK_NAME)


def test_collection_is_generated_once_and_completely(tmp_path):
    calls = []
    dataset = make_generated(
        tmp_path / "data", write=lambda folder: (calls.append(folder), write_tiny_collection(folder))
    )
    for _ in range(2):
        assert get_names(dataset.train()) == ["p/1.png", "p/2.png"]
    assert len(calls) == 1
    assert list_folders(tmp_path / "data") == [dataset.folder.name]


def test_other_identity_is_another_folder(tmp_path):
    folders = {make_generated(tmp_path, identity=identity).folder for identity in ("a", "b", "c")}
    assert len(folders) == 3
    assert make_generated(tmp_path, identity="a").folder in folders


def test_concurrent_runs_generate_once_and_both_read(tmp_path):
    started, calls = threading.Event(), []

    def write(folder):
        calls.append(folder)
        started.set()
        time.sleep(0.2)
        write_tiny_collection(folder)

    names = []
    runs = [
        threading.Thread(target=lambda: names.append(get_names(make_generated(tmp_path, write=write).train())))
        for _ in range(2)
    ]
    runs[0].start()
    assert started.wait(timeout=20)
    runs[1].start()
    for run in runs:
        run.join()
    assert names == [["p/1.png", "p/2.png"]] * 2
    assert len(calls) == len(list_folders(tmp_path)) == 1


def test_only_leftovers_of_killed_runs_are_removed(tmp_path):
    dataset = make_generated(tmp_path)
    for stale in (f"{dataset.folder.name}.unfinished-abc_1234", "generated-0123abcd.unfinished-qwertyui"):
        touch(tmp_path / stale / "half.png")
    touch(tmp_path / "generated-sketches.unfinished" / "mine.png")
    dataset.train()
    assert list_folders(tmp_path) == sorted([dataset.folder.name, "generated-sketches.unfinished"])
    assert not (dataset.folder / "half.png").exists()


def test_failed_generation_leaves_no_files(tmp_path):
    def write(folder):
        touch(folder / "half.png")
        raise InputError("invalid drawing")

    with pytest.raises(InputError, match="invalid drawing"):
        make_generated(tmp_path, write=write).train()
    assert list_folders(tmp_path) == []


def test_emptied_generated_folder_raises(tmp_path):
    make_generated(tmp_path).folder.mkdir()
    with pytest.raises(InputError, match="remove the folder"):
        make_generated(tmp_path).train()
