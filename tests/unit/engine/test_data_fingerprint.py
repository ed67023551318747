import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from processes import run_in_processes

from fastreid.data.datasets.base import RetrievalData
from fastreid.engine.processes.agreement import check_processes_agree
from fastreid.engine.resume import data_fingerprint
from fastreid.engine.resume.data import describe_change_since, describe_changed_times, find_repaired
from fastreid.engine.resume.data_fingerprint import compute_fingerprint, describe_change
from fastreid.engine.resume.unreadable_record import RECORD_FILE, UnreadableRecord, read_record
from fastreid.structures import SYNTHETIC_PREFIX, Drawing
from fastreid.utils import comm
from fastreid.utils.errors import InputError

NUM = 12


def write_drawings(folder, num=NUM):
    folder.mkdir(exist_ok=True)
    drawings = []
    for row in range(num):
        path = folder / f"{row}.png"
        path.write_bytes(bytes([row % 256]) * 100)
        drawings.append(Drawing(str(path), path.name, str(row // 3), source=f"list.txt:{row + 1}"))
    return drawings


def fingerprint(drawings):
    return compute_fingerprint(drawings, {"Mine": RetrievalData("Mine", (), tuple(drawings[:2]), tuple(drawings[2:]))})


def remove_one(drawings):
    return drawings[:5] + drawings[6:]


def remove_last(drawings):
    return drawings[:-1]


def swap(drawings):
    return [*drawings[:3], drawings[4], drawings[3], *drawings[5:]]


def rename(drawings):
    return [*drawings[:7], replace(drawings[7], name="other.png"), *drawings[8:]]


def rename_folder(drawings):
    return [replace(one, name=f"renamed/{one.name}") if one in drawings[4:8] else one for one in drawings]


def swap_ids(drawings):
    ids = {"0": "1", "1": "0"}
    return [replace(drawing, patent=ids.get(drawing.patent, drawing.patent)) for drawing in drawings]


def shift_ids(drawings):
    return [replace(drawing, patent=str(int(drawing.patent) + 1)) for drawing in drawings]


def set_camera(drawings):
    return [*drawings[:11], replace(drawings[11], camera=3)]


def write_larger_file(drawings):
    with open(drawings[8].path, "ab") as file:
        file.write(b"more")
    return drawings


def write_other_bytes(drawings):
    status = os.stat(drawings[2].path)
    with open(drawings[2].path, "wb") as file:
        file.write(b"x" * 100)
    os.utime(drawings[2].path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return drawings


CHANGES = {
    remove_one: "12 drawings then, 11 now; 1 drawing is missing, number 6 then",
    remove_last: "12 drawings then, 11 now; the first 11 are the same",
    swap: "the same drawings in another order; first difference at drawing 4 (4.png)",
    rename: "1 drawing is missing, number 8 then; 1 drawing is new, other.png",
    rename_folder: "4 drawings are missing, first number 5 then; 4 drawings are new, first renamed/4.png",
    swap_ids: "6 of 12 drawings have another id or camera; first difference at drawing 1 (0.png)",
    shift_ids: "12 of 12 drawings have another id or camera; first difference at drawing 1 (0.png)",
    set_camera: "1 of 12 drawings have another id or camera; first difference at drawing 12 (11.png)",
    write_larger_file: "1 of 12 files have another size; first difference at drawing 9 (8.png)",
    write_other_bytes: "1 of 12 compared files have another content, first 2.png",
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_training_list_is_described(change, tmp_path):
    drawings = write_drawings(tmp_path)
    before = compute_fingerprint(drawings, {}).state
    text = describe_change(before, compute_fingerprint(change(drawings), {}))
    assert text == f"the training list changed: {CHANGES[change]}"


def test_changed_test_lists_are_described(tmp_path):
    drawings = write_drawings(tmp_path)
    before = fingerprint(drawings).state
    text = describe_change(before, fingerprint(swap(drawings)))
    assert text.startswith("the training list changed: the same drawings")
    assert text.endswith("(and 1 more list changed)")
    only_gallery = {"Mine": RetrievalData("Mine", (), tuple(drawings[:2]), tuple(drawings[2:-1]))}
    text = describe_change(before, compute_fingerprint(drawings, only_gallery))
    assert text == "the gallery of Mine changed: 10 drawings then, 9 now; the first 9 are the same"


def test_added_and_removed_test_sets_are_no_change(tmp_path):
    drawings = write_drawings(tmp_path)
    assert describe_change(compute_fingerprint(drawings, {}).state, fingerprint(drawings)) == ""
    assert describe_change(fingerprint(drawings).state, compute_fingerprint(drawings, {})) == ""


def test_other_order_of_labels_is_a_change(tmp_path):
    drawings = write_drawings(tmp_path)
    before = compute_fingerprint(drawings, {}).state | {"labels": "0" * 64}
    assert describe_change(before, compute_fingerprint(drawings, {})) == "the labels of the ids changed"


def test_copied_folder_is_no_change(tmp_path):
    before = fingerprint(write_drawings(tmp_path / "one")).state
    copied = write_drawings(tmp_path / "two")
    os.utime(copied[0].path, (1, 1))
    now = fingerprint(copied)
    assert describe_change(before, now) == ""
    assert describe_changed_times(now.state, now) == ([], [])
    compared, unknown = describe_changed_times(before, now)
    assert [line.split(":")[0] for line in compared] == [
        "the training list",
        "the queries of Mine",
        "the gallery of Mine",
    ]
    assert compared[0] == "the training list: 12 of 12 files have new modification times and the same content"
    assert unknown == []


@pytest.mark.parametrize("num_changed", [1, 600])
def test_files_with_new_times_that_were_not_compared_are_named(num_changed, tmp_path, monkeypatch):
    monkeypatch.setattr(data_fingerprint, "MAX_COMPARED_FILES", 599)
    drawings = write_drawings(tmp_path, 600)
    before = compute_fingerprint(drawings, {}).state
    for drawing in drawings[1 : 1 + num_changed]:  # the second file is not sampled
        path = tmp_path / drawing.name
        path.write_bytes(b"x" * 100 if num_changed == 1 else path.read_bytes())
        os.utime(path, (1, 1))
    os.utime(drawings[0].path, (1, 1))
    now = compute_fingerprint(drawings, {})
    assert describe_change(before, now) == ""
    num = (
        "1 other has a new modification time and was"
        if num_changed == 1
        else "344 others have new modification times and were"
    )
    assert describe_changed_times(before, now) == (
        [],
        [f"the training list: 256 of 600 files compared, which are the same; {num} not compared, first 1.png"],
    )


def test_large_and_unreadable_files_are_not_compared(tmp_path, monkeypatch):
    drawings = write_drawings(tmp_path)
    monkeypatch.setattr(data_fingerprint, "MAX_COMPARED_BYTES", 99)
    before = compute_fingerprint(drawings, {}).state
    os.utime(drawings[3].path, (1, 1))
    [line] = describe_changed_times(before, compute_fingerprint(drawings, {}))[1]
    assert line.startswith("the training list: 0 of 12 files compared")


def test_synthetic_drawing_is_identified_by_its_address():
    drawings = [Drawing(f"{SYNTHETIC_PREFIX}3/0/{row}", f"{row}.png", "1") for row in range(3)]
    before = compute_fingerprint(drawings, {}).state
    assert before["lists"]["the training list"]["sizes"].tolist() == [-1, -1, -1]
    changed = [*drawings[:2], replace(drawings[2], path=f"{SYNTHETIC_PREFIX}4/0/2")]
    text = describe_change(before, compute_fingerprint(changed, {}))
    assert text == "the training list changed: 1 drawing is missing, number 3 then; 1 drawing is new, 2.png"


def test_unreadable_sampled_file_is_left_to_the_loader(tmp_path, monkeypatch):
    drawings = write_drawings(tmp_path)

    def fail(*arguments, **options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.open", fail)
    state = compute_fingerprint(drawings, {}).state
    assert set(state["lists"]["the training list"]["samples"]) == {""}


def test_unreadable_training_drawing_may_be_skipped(tmp_path):
    drawings = write_drawings(tmp_path)
    before = compute_fingerprint(drawings, {}).state
    write_larger_file(drawings)
    write_other_bytes(drawings)
    assert describe_change_since(before, compute_fingerprint(drawings, {}, skips_unreadable=True)) == ""
    Image.new("L", (8, 8)).save(drawings[8].path)
    text = describe_change_since(before, compute_fingerprint(drawings, {}, skips_unreadable=True))
    assert text == f"the training list changed: {CHANGES[write_larger_file]}"


def test_file_that_the_run_could_not_read_may_be_repaired(tmp_path):
    drawings = write_drawings(tmp_path)
    before = compute_fingerprint(drawings, {})
    UnreadableRecord(tmp_path, before).add([8, 8])
    with open(tmp_path / RECORD_FILE, "a") as file:
        file.write("12 34 5")  # torn
    record = read_record(tmp_path)
    assert record == {before.file_key(8)}
    write_larger_file(drawings)
    now = compute_fingerprint(drawings, {}, unreadable=record)
    assert (describe_change_since(before.state, now), find_repaired(before.state, now)) == ("", [8])
    assert describe_changed_times(before.state, now) == ([], [])
    write_larger_file(drawings)  # a repaired file is like any other
    again = compute_fingerprint(drawings, {}, unreadable=record)
    assert "1 of 12 files have another size" in describe_change_since(now.state, again)
    write_other_bytes(drawings)
    text = describe_change_since(before.state, compute_fingerprint(drawings, {}, unreadable=record))
    assert text.endswith("compared files have another content, first 2.png")


def test_training_drawing_above_the_limit_of_pixels_may_be_skipped(tmp_path):
    drawings = write_drawings(tmp_path)
    before = compute_fingerprint(drawings, {}).state
    Image.new("L", (8, 8)).save(drawings[8].path)
    now = compute_fingerprint(drawings, {}, skips_unreadable=True, max_pixels=63)
    assert describe_change_since(before, now) == ""
    now = compute_fingerprint(drawings, {}, skips_unreadable=True, max_pixels=64)
    assert "1 of 12 files have another size" in describe_change_since(before, now)


def test_pages_of_one_file_are_compared(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"two pages")
    drawings = [Drawing(f"{path}#page={page}", f"a.tif#page={page}", "1") for page in (1, 2)]
    before = compute_fingerprint(drawings, {}).state
    path.write_bytes(b"other pages")
    assert "2 of 2 files have another size" in describe_change(before, compute_fingerprint(drawings, {}))


def test_missing_file_is_an_error(tmp_path):
    drawings = write_drawings(tmp_path)
    os.unlink(drawings[3].path)
    with pytest.raises(InputError, match=r"list.txt:4: .*3.png no longer exists"):
        compute_fingerprint(drawings, {})


def test_unprintable_names_are_escaped(tmp_path):
    drawings = [replace(drawing, name=f"\x1b{drawing.name}") for drawing in write_drawings(tmp_path)]
    text = describe_change(compute_fingerprint(drawings, {}).state, compute_fingerprint(swap(drawings), {}))
    assert "\x1b" not in text


def test_fingerprint_is_readable_without_code(tmp_path):
    state = fingerprint(write_drawings(tmp_path)).state
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    names = [state["lists"]["the training list"]["names"] for state in (loaded, state)]
    assert np.array_equal(*(tensor.numpy() for tensor in names))


def check_rank(folder, change_rank, change, settings):
    rank = comm.get_rank()
    drawings = write_drawings(folder / f"files {rank}")
    if change is not None and rank == change_rank:
        drawings = change(drawings)
    try:
        check_processes_agree(fingerprint(drawings), settings[rank])
    except InputError as error:
        return str(error)
    return ""


def run_check(tmp_path, *, change=None, settings=("SEED: 1\n", "SEED: 1\n")):
    (tmp_path / "processes").mkdir()
    return run_in_processes(2, check_rank, tmp_path / "processes", tmp_path, 1, change, settings)


def test_equal_processes_agree(tmp_path):
    settings = "SEED: 1\nOUTPUT_DIR: {path}\nDATALOADER:\n  NUM_WORKERS: {num}\n"
    texts = (settings.format(path="a", num=1), settings.format(path="b", num=2))
    assert run_check(tmp_path, settings=texts) == ["", ""]


@pytest.mark.parametrize("change", [remove_one, swap_ids, write_larger_file, write_other_bytes])
def test_every_process_names_the_process_with_other_data(change, tmp_path):
    first, second = run_check(tmp_path, change=change)
    assert first == second
    expected = CHANGES[change].replace("then", "in process 0").replace("now", "in process 1")
    assert f"process 1 does not train the same run as process 0: the training list changed: {expected}" in first


def test_every_process_names_the_process_with_other_settings(tmp_path):
    first, second = run_check(tmp_path, settings=("SEED: 1\n", "SEED: 2\n"))
    assert first == second
    assert "process 1 does not train the same run as process 0: its settings differ: SEED" in first
