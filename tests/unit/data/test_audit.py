import functools
import json
import os

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastreid.config import get_cfg
from fastreid.data.audit.audit import audit_datasets
from fastreid.data.audit.inspection import compute_fingerprint, inspect_files
from fastreid.data.audit.near_duplicates import MAX_BITS
from fastreid.engine.data import build_dataset
from fastreid.engine.run_checks import check_test_data
from fastreid.utils.errors import InputError

MAX_PIXELS = 64_000_000


@pytest.fixture(scope="module")
def sheets():
    """Two patents of four gray sheets, each with some lines."""
    rng, sheets = np.random.default_rng(0), []
    for _ in range(8):
        sheet = Image.new("L", (124, 160), 255)
        for ends in rng.integers(4, 120, (9, 4)).tolist():
            ImageDraw.Draw(sheet).line(ends, fill=0, width=2)
        sheets.append(sheet)
    return [sheets[:4], sheets[4:]]


@pytest.fixture
def root(tmp_path, sheets):
    """A valid dataset in DeepPatent's layout: two training patents and two test patents."""
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


def audit(root, *opts, decode=True):
    cfg = get_cfg()
    settings = ["DATASETS.ROOT", str(root), "DATASETS.NAMES", "Patent", "DATASETS.TESTS", "Patent"]
    cfg.merge_from_list([*settings, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0, *opts])
    cfg.freeze()
    check_test = functools.partial(check_test_data, cfg)
    return audit_datasets(cfg, build_dataset, check_test=check_test, decode=decode)


def list_kinds(report):
    return {(finding.kind, finding.is_error) for finding in report.findings}


def add(root, line, name="train_patent_trn"):
    with (root / f"train_data/{name}.txt").open("a") as file:
        file.write(f"\n{line}")


def test_valid_dataset_has_no_findings(root):
    report = audit(root)
    assert report.findings == ()
    lines = list(report.format_lines())
    assert lines[0] == "Patent train: 8 drawings of 2 patents, 4 to 4 (median 4)"
    assert lines[3] == "16 files"
    assert "16 PNG (8-bit gray)" in lines[4]


def test_all_list_faults_are_reported_and_the_rest_inspected(root):
    add(root, "gone.png 1")
    add(root, "gone.png 1", "val_query_patent")
    add(root, "t0-0.png x", "val_db_patent")
    (root / "train_data/patent_data/v0-1.png").write_bytes(b"no image")
    messages = [finding.message for finding in audit(root, decode=False).findings]
    for number, line in enumerate(
        ("train_patent_trn.txt:9: no file", "val_query_patent.txt:3: no file", "db_patent.txt:7:")
    ):
        assert line in messages[number]
    assert "val_db_patent.txt:1: " in messages[3]
    assert "not an image" in messages[3]


@pytest.mark.parametrize("decode", [True, False])
def test_truncated_file_is_found_by_decoding(root, decode):
    path = root / "train_data/patent_data/v0-1.png"
    path.write_bytes(path.read_bytes()[:-200])
    assert (("unreadable", True) in list_kinds(audit(root, decode=decode))) == decode


def test_unreadable_training_image_that_is_skipped_is_a_warning(root):
    (root / "train_data/patent_data/t0-1.png").write_bytes(b"")
    assert ("unreadable", True) in list_kinds(audit(root))
    assert ("unreadable", False) in list_kinds(audit(root, "INPUT.ON_BAD_IMAGE", "skip"))


def test_leakage_is_reported(root):
    add(root, "t0-0.png 10", "val_db_patent")
    assert ("in training and test", True) in list_kinds(audit(root))
    assert ("in training and test", False) in list_kinds(audit(root, "DATASETS.ALLOW_OVERLAP", True))
    add(root, "t1-0.png 0", "val_db_patent")
    assert ("ids in training and test", False) in list_kinds(audit(root))


def test_duplicates_are_reported_by_patent_and_split(root, sheets):
    images = root / "train_data/patent_data"
    (images / "copy.png").write_bytes((images / "t0-0.png").read_bytes())
    add(root, "copy.png 1")
    [conflict] = audit(root).findings
    assert (conflict.kind, conflict.is_error, conflict.patents) == ("label conflict", False, ("0", "1"))
    assert conflict.message == (
        "same bytes with 2 ids: train_patent_trn.txt:1 t0-0.png (id 0), train_patent_trn.txt:9 copy.png (id 1); "
        "correct one of the ids"
    )
    sheets[0][0].save(images / "copy.png", compress_level=0)
    [message] = [finding.message for finding in audit(root).findings]
    assert message.startswith("same pixels with 2 ids: train_patent_trn.txt:1 t0-0.png (id 0), train")
    darker = sheets[0][1].point(lambda level: level * 0.9)
    darker.save(images / "near.png")
    add(root, "near.png 10", "val_db_patent")
    assert ("similar pages, training and test", False) in list_kinds(audit(root))
    assert not any(kind.startswith("similar") for kind, _ in list_kinds(audit(root, decode=False)))


def test_dark_and_blank_pages_are_findings_with_counts_and_names(root):
    images = root / "train_data/patent_data"
    for number in range(23):
        Image.new("L", (90, 90 + number), 30).save(images / f"dark{number:02}.png")
        add(root, f"dark{number:02}.png 7")
    Image.new("RGBA", (90, 90), (0, 0, 0, 0)).save(images / "transparent.png")
    add(root, "transparent.png 7")
    report = audit(root)
    dark = [finding for finding in report.findings if finding.kind == "dark"]
    assert len(dark) == 23
    assert dark[0].message.endswith("dark00.png: median gray level 30, paper should be white (255)")
    lines = list(report.format_lines())
    assert "  dark (23)" in lines
    assert lines[lines.index("  dark (23)") + 21] == "    ... and 3 more"
    assert [finding.message for finding in report.findings if finding.kind == "blank"] == [
        "train_patent_trn.txt:32 transparent.png: 0.000 % ink"
    ]


def test_pages_of_a_file_are_neither_unusual_nor_equal(root):
    images = root / "train_data/patent_data"
    pages = [Image.open(images / f"t0-{view}.png").rotate(180) for view in (0, 1)]
    pages[0].save(images / "a.tif", save_all=True, append_images=pages[1:])
    add(root, "a.tif#page=1 0")
    add(root, "a.tif#page=2 0")
    assert audit(root).findings == ()


def test_blank_pages_single_drawings_and_missing_matches_are_found(root):
    Image.new("L", (90, 90), 255).save(root / "train_data/patent_data/blank.png")
    add(root, "blank.png 7")
    Image.new("L", (90, 91), 250).save(root / "train_data/patent_data/pale.png")
    add(root, "pale.png 77", "val_query_patent")
    assert list_kinds(audit(root)) >= {("blank", False), ("single", False), ("few", False), ("no match", False)}


def test_unusual_files_are_reported(root, sheets):
    images = root / "train_data/patent_data"
    Image.new("L", (20, 400), 0).save(images / "odd.jpg", format="PNG")
    levels = np.full((80, 80), 40000, np.uint16)
    Image.fromarray(levels).save(images / "deep.tif", save_all=True, append_images=[Image.fromarray(levels)])
    add(root, "odd.jpg 0")
    add(root, "deep.tif 0")
    messages = [finding.message for finding in audit(root).findings if finding.kind == "unusual"]
    assert "a PNG file with the suffix .jpg; 20 x 400 px" in messages[0]
    assert "16-bit gray, scaled to 256 gray levels; 2 pages, the first is used; write #page=2" in messages[1]


def test_impossible_batches_are_reported(root):
    settings = ["DATALOADER.SAMPLER_TRAIN", "BalancedIdentitySampler", "DATALOADER.NUM_INSTANCE", 4]
    for batch_size, is_error in ((6, True), (64, True), (8, False)):
        kinds = list_kinds(audit(root, *settings, "SOLVER.IMS_PER_BATCH", batch_size))
        assert (("batches", True) in kinds) == is_error


def test_test_set_without_a_match_is_an_error_as_in_training(root):
    path = root / "train_data/val_query_patent.txt"
    path.write_text(path.read_text().replace(" 1", " 3"))
    [message] = [finding.message for finding in audit(root).findings if finding.is_error]
    cause = "no id is in both lists (queries: 30, 31; gallery: 10, 11); check the ids"
    assert message == f"Patent: none of the 2 queries has a match in the gallery: {cause}"


def test_list_shorter_than_a_batch_is_reported(root):
    assert ("batches", True) in list_kinds(audit(root, "SOLVER.IMS_PER_BATCH", 9))


def test_broken_link_and_non_text_name_are_findings(tmp_path):
    for patent in "abcd":
        (tmp_path / patent).mkdir()
        for view in range(3):
            Image.new("L", (90, 90 + view), view).save(tmp_path / patent / f"{view}.png")
    (tmp_path / "a/9.png").symlink_to("/nowhere.png")
    (tmp_path / "b/0.png").rename(os.fsdecode(bytes(tmp_path) + b"/b/\xff.png"))
    settings = ["DATASETS.NAMES", "Folder", "DATASETS.TESTS", "Folder", "DATASETS.FOLDER.PATH", str(tmp_path)]
    report = audit(tmp_path, *settings, "SOLVER.IMS_PER_BATCH", 2)
    link, name = [one.message for one in report.findings if one.is_error]
    assert link.endswith("a/9.png is a link to a missing file; remove the link")
    assert "name is not UTF-8" in name
    assert len(report.files) == 11  # the other drawings are inspected
    report.to_json().encode()


def test_fault_of_a_folder_is_reported_once(tmp_path):
    for number in range(3):
        Image.new("L", (90, 90)).save(tmp_path / f"{number}.png")
    settings = ["DATASETS.NAMES", "Folder", "DATASETS.TESTS", "Folder", "DATASETS.FOLDER.PATH", str(tmp_path)]
    report = audit(tmp_path, *settings)
    assert report.num_errors == 3
    assert all("is not in a patent's sub-folder; move it into a folder" in one.message for one in report.findings)


def test_folder_is_read_and_described_once(tmp_path, caplog):
    for patent in "abcd":
        (tmp_path / patent).mkdir()
        for view in range(2):
            Image.new("L", (90, 90 + view), view).save(tmp_path / patent / f"{view}.png")
    settings = ["DATASETS.NAMES", "Folder", "DATASETS.TESTS", "Folder", "DATASETS.FOLDER.PATH", str(tmp_path)]
    with caplog.at_level("INFO", logger="fastreid"):
        audit(tmp_path, *settings, "SOLVER.IMS_PER_BATCH", 4)
    assert caplog.text.count("4 patents (each folder at level 1 is one), 8 drawings in 8 files") == 1


def test_patents_with_few_drawings_are_listed(root):
    report = audit(root, "DATALOADER.NUM_INSTANCE", 8)
    [few] = [one for one in report.findings if one.kind == "few"]
    assert few.message == "Patent train: 2 patents (0, 1) with fewer drawings than DATALOADER.NUM_INSTANCE (8)"
    assert json.loads(report.to_json())["findings"][report.findings.index(few)]["patents"] == ["0", "1"]


def test_unreadable_file_of_a_folder_is_named_once(tmp_path):
    for patent in "abcd":
        (tmp_path / patent).mkdir()
        for view in range(2):
            Image.new("L", (90, 90 + view), view).save(tmp_path / patent / f"{view}.png")
    (tmp_path / "a/0.png").write_bytes(b"")
    settings = ["DATASETS.NAMES", "Folder", "DATASETS.TESTS", "Folder", "DATASETS.FOLDER.PATH", str(tmp_path)]
    findings = audit(tmp_path, *settings, "SOLVER.IMS_PER_BATCH", 4).findings
    messages = [one.message for one in findings if one.kind == "unreadable"]
    assert messages == [f"{tmp_path}/a/0.png: an empty file (0 bytes); replace the file or remove it"]


def test_training_on_tests_is_reported_as_leakage(root):
    assert ("in training and test", True) in list_kinds(audit(root, "DATASETS.COMBINEALL", True))


def test_unreadable_images_that_cannot_be_skipped_are_errors(root):
    images = root / "train_data/patent_data"
    (images / "t0-1.png").write_bytes(b"")
    skip = ("INPUT.ON_BAD_IMAGE", "skip", "INPUT.MAX_BAD_IMAGES")
    assert ("cannot skip", True) not in list_kinds(audit(root, *skip, 1))
    (images / "t1-1.png").write_bytes(b"")
    assert ("cannot skip", True) in list_kinds(audit(root, *skip, 1))
    for view in range(4):
        (images / f"t0-{view}.png").write_bytes(b"")
    [message] = [one.message for one in audit(root, *skip, 9).findings if one.kind == "cannot skip"]
    assert "none of the 4 drawings" in message
    messages = [one.message for one in audit(root, *skip, 1).findings if one.kind == "cannot skip"]
    assert [
        sum(f"/{name}.png" in message for name in ("t0-0", "t0-1", "t0-2", "t0-3", "t1-1")) for message in messages
    ] == [1] * 6  # one per drawing, and one for the patent


def test_equal_ids_of_two_datasets_are_different_patents(root):
    images = root / "train_data/patent_data"
    (images / "copy.png").write_bytes((images / "t0-0.png").read_bytes())
    for name in ("query", "gallery", "train"):
        (root / f"{name}.txt").write_text("copy.png 0" if name == "train" else f"v{int(name == 'query')}-0.png 0")
    lists = [(f"DATASETS.LIST.{name.upper()}", str(root / f"{name}.txt")) for name in ("train", "query", "gallery")]
    settings = ["DATASETS.NAMES", ("Patent", "List"), "DATASETS.LIST.IMAGES", str(images)]
    report = audit(root, *settings, *(word for pair in lists for word in pair))
    assert ("same bytes, different patents", False) in list_kinds(report)


def test_repeated_dataset_raises(root):
    with pytest.raises(InputError, match="each once"):
        audit(root, "DATASETS.NAMES", ("Patent", "Patent"))


def test_dataset_without_lists_is_a_finding(tmp_path):
    report = audit(tmp_path)
    assert list_kinds(report) == {("list", True)}  # and no other errors about the lists that are missing
    assert report.plot(max_pixels=MAX_PIXELS) is None


def test_contact_sheet_shows_a_sample_and_the_findings(root):
    Image.new("L", (90, 90), 255).save(root / "train_data/patent_data/blank.png")
    without_findings = audit(root).plot(max_pixels=MAX_PIXELS)
    add(root, "blank.png 1")
    assert audit(root).plot(max_pixels=MAX_PIXELS).height > without_findings.height


def test_two_processes_find_the_same_as_one(root):
    paths = sorted(str(path) for path in (root / "train_data/patent_data").iterdir())
    one, two = (inspect_files(paths, decode=True, max_pixels=MAX_PIXELS, num_workers=num) for num in (0, 2))
    assert list(one) == list(two) == paths
    assert all(np.array_equal(one[path].fingerprint, two[path].fingerprint) for path in paths)


def test_fingerprint_is_invariant_to_margins_size_and_contrast(sheets):
    sheet = sheets[0][0]
    wide = Image.new("L", (sheet.width + 90, sheet.height + 40), 255)
    wide.paste(sheet, (70, 10))
    pale = np.asarray(wide.resize((wide.width * 2, wide.height * 2), Image.Resampling.BICUBIC)) // 2 + 127
    bits = np.unpackbits([compute_fingerprint(np.asarray(page)) for page in (sheet, wide, pale, sheets[1][0])], axis=1)
    differ = (bits[0] != bits).sum(axis=1)
    assert differ[0] == differ[1] == 0
    assert differ[2] <= MAX_BITS + 8 < 60 < differ[3]  # 1-bit lines of a small sheet, enlarged twice
    assert compute_fingerprint(np.full((9, 9), 255, np.uint8)) is None
