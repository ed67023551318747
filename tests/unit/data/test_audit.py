import json
import os

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastreid.config import get_cfg
from fastreid.data.audit.audit import survey
from fastreid.data.audit.findings import Finding
from fastreid.data.audit.inspection import fingerprint_of, look_at_all
from fastreid.data.audit.near_duplicates import MOST_BITS, equal_groups, groups_alike
from fastreid.data.audit.report import Survey
from fastreid.data.datasets.base import ListFaults, read_each, read_list
from fastreid.utils.errors import InputError

MOST = 64_000_000


@pytest.fixture(scope="module")
def sheets():
    """Two patents of four sheets each, grey, each of some lines across it."""
    rng, found = np.random.default_rng(0), []
    for _ in range(8):
        sheet = Image.new("L", (124, 160), 255)
        for ends in rng.integers(4, 120, (9, 4)).tolist():
            ImageDraw.Draw(sheet).line(ends, fill=0, width=2)
        found.append(sheet)
    return [found[:4], found[4:]]


@pytest.fixture
def root(tmp_path, sheets):
    """A sound data set in DeepPatent's layout: two patents to train on, two to test on."""
    images = tmp_path / "train_data/patent_data"
    images.mkdir(parents=True)
    lists = {"train_patent_trn": [], "val_query_patent": [], "val_db_patent": []}
    for number, views in enumerate(sheets):
        for view, sheet in enumerate(views):
            sheet.save(images / f"t{number}-{view}.png")
            sheet.transpose(Image.Transpose.ROTATE_90).save(images / f"v{number}-{view}.png")
            lists["train_patent_trn"].append(f"t{number}-{view}.png {number}")
            lists["val_db_patent" if view else "val_query_patent"].append(f"v{number}-{view}.png {number + 10}")
    for name, lines in lists.items():
        (tmp_path / f"train_data/{name}.txt").write_text("\n".join(lines))
    return tmp_path


def surveyed(root, *opts, decode=True):
    cfg = get_cfg()
    words = ["DATASETS.ROOT", str(root), "DATASETS.NAMES", "Patent", "DATASETS.TESTS", "Patent"]
    cfg.merge_from_list([*words, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0, *opts])
    cfg.freeze()
    return survey(cfg, decode=decode)


def told(found):
    return {(finding.kind, finding.must_mend) for finding in found.findings}


def add(root, line, name="train_patent_trn"):
    with (root / f"train_data/{name}.txt").open("a") as file:
        file.write(f"\n{line}")


def test_a_sound_set_has_nothing_to_mend_and_its_counts_are_told(root):
    found = surveyed(root)
    assert found.findings == ()
    lines = list(found.lines())
    assert lines[0] == "Patent train: 8 drawings of 2 patents, 4 to 4 (median 4)"
    assert lines[3] == "16 files"
    assert "16 PNG L" in lines[4]


def test_all_faults_of_all_lists_are_told_with_their_lines_and_the_rest_is_looked_at(root):
    add(root, "gone.png 1")
    add(root, "gone.png 1", "val_query_patent")
    add(root, "t0-0.png x", "val_db_patent")
    (root / "train_data/patent_data/v0-1.png").write_bytes(b"no image")
    found = [finding.what for finding in surveyed(root, decode=False).findings]
    for number, line in enumerate(
        ("train_patent_trn.txt:9: no file", "val_query_patent.txt:3: no file", "db_patent.txt:7:")
    ):
        assert line in found[number]
    assert "val_db_patent.txt:1: " in found[3]
    assert "not an image" in found[3]


@pytest.mark.parametrize("decode", [True, False])
def test_a_file_cut_short_is_found_where_pages_are_looked_at(root, decode):
    path = root / "train_data/patent_data/v0-1.png"
    path.write_bytes(path.read_bytes()[:-200])
    assert (("unreadable", True) in told(surveyed(root, decode=decode))) == decode


def test_a_bad_training_image_that_will_be_passed_over_need_not_be_mended(root):
    (root / "train_data/patent_data/t0-1.png").write_bytes(b"")
    assert ("unreadable", True) in told(surveyed(root))
    assert ("unreadable", False) in told(surveyed(root, "INPUT.ON_BAD_IMAGE", "skip"))


def test_what_training_and_test_share_is_told(root):
    add(root, "t0-0.png 10", "val_db_patent")
    assert ("in both", True) in told(surveyed(root))
    assert ("in both", False) in told(surveyed(root, "DATASETS.ALLOW_OVERLAP", True))
    add(root, "t1-0.png 0", "val_db_patent")
    assert ("ids in both", False) in told(surveyed(root))


def test_copies_are_told_by_where_they_stand(root, sheets):
    images = root / "train_data/patent_data"
    (images / "copy.png").write_bytes((images / "t0-0.png").read_bytes())
    add(root, "copy.png 1")
    assert told(surveyed(root)) == {("same bytes, different patents", False)}
    darker = sheets[0][1].point(lambda level: level * 0.9)
    darker.save(images / "near.png")
    add(root, "near.png 10", "val_db_patent")
    assert ("alike, training and test", False) in told(surveyed(root))
    assert not any(kind.startswith("alike") for kind, _ in told(surveyed(root, decode=False)))


def test_blank_pages_patents_with_one_drawing_and_queries_without_a_match_are_told(root):
    Image.new("L", (90, 90), 255).save(root / "train_data/patent_data/blank.png")
    add(root, "blank.png 7")
    Image.new("L", (90, 91), 250).save(root / "train_data/patent_data/pale.png")
    add(root, "pale.png 77", "val_query_patent")
    found = told(surveyed(root))
    assert found >= {("blank", False), ("single", False), ("few", False), ("no match", False)}


def test_unusual_files_are_told(root, sheets):
    images = root / "train_data/patent_data"
    Image.new("L", (20, 400), 0).save(images / "odd.jpg", format="PNG")
    levels = np.full((80, 80), 40000, np.uint16)
    Image.fromarray(levels).save(images / "deep.tif", save_all=True, append_images=[Image.fromarray(levels)])
    add(root, "odd.jpg 0")
    add(root, "deep.tif 0")
    found = [finding.what for finding in surveyed(root).findings if finding.kind == "odd"]
    assert "PNG under the name of .jpg; 20 x 400 px" in found[0]
    assert "pixels of kind I;16, scaled to 256 greys; 2 pictures, the first counts" in found[1]


def test_batches_that_cannot_be_made_are_told(root):
    words = [
        "DATALOADER.SAMPLER_TRAIN",
        "BalancedIdentitySampler",
        "DATALOADER.NUM_INSTANCE",
        4,
        "SOLVER.IMS_PER_BATCH",
    ]
    assert ("batches", True) in told(surveyed(root, *words, 6))
    assert ("batches", True) in told(surveyed(root, *words, 64))
    assert ("batches", True) not in told(surveyed(root, *words, 8))


def test_a_list_shorter_than_a_batch_is_told(root):
    assert ("batches", True) in told(surveyed(root, "SOLVER.IMS_PER_BATCH", 9))


def test_a_link_to_nowhere_and_a_name_that_is_no_text_end_nothing(tmp_path):
    for patent in "abcd":
        (tmp_path / patent).mkdir()
        for view in range(3):
            Image.new("L", (90, 90 + view), view).save(tmp_path / patent / f"{view}.png")
    (tmp_path / "a/9.png").symlink_to("/nowhere.png")
    (tmp_path / "b/0.png").rename(os.fsdecode(bytes(tmp_path) + b"/b/\xff.png"))
    words = ["DATASETS.NAMES", "Folder", "DATASETS.TESTS", "Folder", "DATASETS.FOLDER.PATH", str(tmp_path)]
    found = surveyed(tmp_path, *words, "SOLVER.IMS_PER_BATCH", 2)
    assert "unreadable" in {kind for kind, _ in told(found)}
    found.as_json().encode()


def test_tests_that_are_trained_on_are_told_as_what_training_and_test_share(root):
    assert ("in both", True) in told(surveyed(root, "DATASETS.COMBINEALL", True))


def test_what_no_passing_over_helps_must_be_mended(root):
    images = root / "train_data/patent_data"
    (images / "t0-1.png").write_bytes(b"")
    skip = ("INPUT.ON_BAD_IMAGE", "skip", "INPUT.MAX_BAD_IMAGES")
    assert ("too bad", True) not in told(surveyed(root, *skip, 1))
    (images / "t1-1.png").write_bytes(b"")
    assert ("too bad", True) in told(surveyed(root, *skip, 1))
    for view in range(4):
        (images / f"t0-{view}.png").write_bytes(b"")
    [found] = [one.what for one in surveyed(root, *skip, 9).findings if one.kind == "too bad"]
    assert "nor can any of the 4 drawings" in found


def test_copies_in_two_sets_are_not_of_one_patent_because_their_numbers_are_alike(root):
    images = root / "train_data/patent_data"
    (images / "copy.png").write_bytes((images / "t0-0.png").read_bytes())
    for name in ("query", "database", "train"):
        (root / f"{name}.txt").write_text("copy.png 0" if name == "train" else f"v{int(name == 'query')}-0.png 0")
    lists = [
        word
        for name in ("train", "query", "database")
        for word in (f"DATASETS.LIST.{name.upper()}", root / f"{name}.txt")
    ]
    words = ["DATASETS.NAMES", ("Patent", "List"), "DATASETS.LIST.IMAGES", images, *lists]
    found = surveyed(root, *(word if isinstance(word, tuple) else str(word) for word in words))
    assert ("same bytes, different patents", False) in told(found)


def test_a_set_that_stands_twice_is_refused_as_runs_refuse_it(root):
    with pytest.raises(InputError, match="each once"):
        surveyed(root, "DATASETS.NAMES", ("Patent", "Patent"))


def test_a_set_without_any_list_is_a_finding_and_not_an_end(tmp_path):
    found = surveyed(tmp_path)
    assert told(found) == {("list", True), ("empty", True)}
    assert found.sheet(max_pixels=MOST) is None


def test_json_holds_all_findings_and_text_the_first_twenty(root):
    findings = tuple(Finding("odd", f"number {number}") for number in range(25))
    found = Survey((), {}, findings, was_decoded=False)
    lines = list(found.lines())
    assert lines[-1].strip() == "... and 5 more"
    assert len(json.loads(found.as_json())["findings"]) == 25


def test_the_sheet_shows_drawings_from_all_over_and_those_that_were_found(root):
    Image.new("L", (90, 90), 255).save(root / "train_data/patent_data/blank.png")
    plain = surveyed(root).sheet(max_pixels=MOST)
    add(root, "blank.png 1")
    assert surveyed(root).sheet(max_pixels=MOST).height > plain.height


def test_two_processes_find_what_one_finds(root):
    paths = sorted(str(path) for path in (root / "train_data/patent_data").iterdir())
    one, two = (look_at_all(paths, decode=True, max_pixels=MOST, num_workers=num) for num in (0, 2))
    assert list(one) == list(two) == paths
    assert all(np.array_equal(one[path].fingerprint, two[path].fingerprint) for path in paths)


def test_a_fingerprint_does_not_change_with_margins_size_or_paleness(sheets):
    sheet = sheets[0][0]
    wide = Image.new("L", (sheet.width + 90, sheet.height + 40), 255)
    wide.paste(sheet, (70, 10))
    pale = np.asarray(wide.resize((wide.width * 2, wide.height * 2), Image.Resampling.BICUBIC)) // 2 + 127
    bits = np.unpackbits([fingerprint_of(np.asarray(page)) for page in (sheet, wide, pale, sheets[1][0])], axis=1)
    differ = (bits[0] != bits).sum(axis=1)
    assert differ[0] == differ[1] == 0
    assert differ[2] <= MOST_BITS + 8 < 60 < differ[3]  # 1-bit lines of a small sheet, drawn twice as large
    assert fingerprint_of(np.full((9, 9), 255, np.uint8)) is None


def test_groups_are_joined_by_small_steps_and_equal_ones_are_no_burden():
    bits = np.zeros((5000, 256), np.uint8)
    bits[1, :MOST_BITS] = 1
    bits[2, : 2 * MOST_BITS] = 1  # near the row before, far from row 0
    bits[3, : 3 * MOST_BITS + 1] = 1  # one bit too far from the row before
    bits[5:] = np.random.default_rng(0).integers(0, 2, 256)
    groups = groups_alike(np.packbits(bits, axis=1))
    assert groups == [[0, 1, 2, 4], list(range(5, 5000))]
    assert groups_alike(np.zeros((0, 32), np.uint8)) == []


def test_equal_words_are_grouped_and_empty_ones_are_not():
    assert equal_groups(["b", "", "a", "b", "", "a", "c"]) == [[0, 3], [2, 5]]
    assert equal_groups(["", ""]) == []


def test_the_faults_of_several_lists_are_told_together(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    for name, lines in (("one.txt", "a.png 1\nb.png 2"), ("two.txt", "a.png 1"), ("three.txt", "c.png x")):
        (tmp_path / name).write_text(lines)
    readers = [
        lambda name=name: read_list(tmp_path / name, images=tmp_path, with_ids=True)
        for name in ("one.txt", "two.txt", "three.txt")
    ]
    with pytest.raises(ListFaults, match=r"one.txt:2: no file .*three.txt:1: the id 'x'") as refused:
        read_each(*readers)
    assert [len(drawings) for drawings in refused.value.sound] == [1, 1, 0]
