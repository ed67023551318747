import csv
import json
import os

import numpy as np
import pytest
import torch

from fastreid.evaluation.storage.manifest import Provenance, diff_values, read_manifest
from fastreid.evaluation.storage.saved_features import (
    FeaturePart,
    find_feature_folders,
    load_features,
    save_features,
    list_fingerprint,
    stale_parts,
)
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.mapped_rows import MappedRows

PROVENANCE = Provenance("Mine", "best.pth", "ab" * 32, {"INPUT.SIZE_TEST": [32, 32]}, "SEED: 0\n", {"torch": "2.10"})
NAMES = ("a.png", "with space/b, c.png", 'quote".png', "line\r\nfeed.png", "zeichnung-ä-図.png", "bytes-\udcff.png")


def drawings(num=6):
    return tuple(Drawing(f"/x/{n}-{NAMES[n % 6]}", f"{n}-{NAMES[n % 6]}", f"0{n // 2}", n - 1) for n in range(num))


def part(name="queries", *, num=6, width=5, stamp="s", seed=0):
    features = torch.randn(num, width, generator=torch.Generator().manual_seed(seed))
    return FeaturePart(name, Embeddings.from_drawings(features, drawings(num)), drawings(num), stamp)


def bare(given):
    """Drawings without the place they were read from."""
    return [(drawing.path, drawing.name, drawing.patent, drawing.camera) for drawing in given]


def test_what_is_saved_comes_back_bit_for_bit_and_stays_in_its_file(tmp_path):
    given = part()
    save_features(tmp_path / "Größe 図", [given], provenance=PROVENANCE)
    found, listed = load_features(tmp_path / "Größe 図", "queries")
    assert isinstance(found.features, MappedRows)
    assert torch.equal(found.features[:], given.features.features)
    assert (found.names, found.patents, found.cameras) == (
        given.features.names,
        given.features.patents,
        given.features.cameras,
    )
    assert bare(listed) == bare(given.drawings)


def test_the_files_are_those_of_numpy_and_of_csv(tmp_path):
    given = part()
    save_features(tmp_path, [given], provenance=PROVENANCE)
    np.save(tmp_path / "by numpy.npy", given.features.features.numpy())
    assert (tmp_path / "queries.npy").read_bytes() == (tmp_path / "by numpy.npy").read_bytes()
    assert np.load(tmp_path / "queries.npy", mmap_mode="r").flags.c_contiguous
    with open(tmp_path / "queries.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [drawing.name for drawing in given.drawings]
    assert list(rows[0]) == ["row", "name", "patent", "camera", "path"]


def test_mapped_features_are_saved_like_those_in_memory(tmp_path):
    save_features(tmp_path / "one", [part()], provenance=PROVENANCE)
    found, listed = load_features(tmp_path / "one", "queries")
    save_features(tmp_path / "two", [FeaturePart("queries", found, listed, "s")], provenance=PROVENANCE)
    assert (tmp_path / "one/queries.npy").read_bytes() == (tmp_path / "two/queries.npy").read_bytes()


def test_the_manifest_tells_what_the_features_were_made_from(tmp_path):
    save_features(tmp_path, [part(), part("gallery", num=4)], provenance=PROVENANCE)
    manifest = read_manifest(tmp_path)
    assert manifest.provenance == PROVENANCE
    assert {name: (entry.rows, entry.width) for name, entry in manifest.parts.items()} == {
        "queries": (6, 5),
        "gallery": (4, 5),
    }
    assert json.loads((tmp_path / "manifest.json").read_text())["origin"]["weights_sha256"] == "ab" * 32


def test_a_part_that_joins_leaves_the_others_and_their_manifest_in_place_while_it_is_made(tmp_path):
    save_features(tmp_path, [part(), part("gallery")], provenance=PROVENANCE)

    def later():
        yield part("train", num=3)
        assert load_features(tmp_path, "gallery")

    assert list(save_features(tmp_path, later(), provenance=PROVENANCE).parts) == ["queries", "gallery", "train"]
    assert len(load_features(tmp_path, "train")[1]) == 3


def test_features_of_another_origin_take_the_place_of_all_that_was_there(tmp_path):
    save_features(tmp_path, [part(), part("gallery"), part("train")], provenance=PROVENANCE)
    other = Provenance("Mine", "best.pth", "cd" * 32, PROVENANCE.settings, "", PROVENANCE.versions)
    save_features(tmp_path, [part(), part("gallery")], provenance=other)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gallery.csv",
        "gallery.npy",
        "manifest.json",
        "queries.csv",
        "queries.npy",
    ]


def test_a_fault_on_the_way_leaves_no_manifest_and_one_before_the_first_part_leaves_all(tmp_path):
    save_features(tmp_path, [part()], provenance=PROVENANCE)

    def none():
        raise NumericalError("features are NaN")
        yield

    with pytest.raises(NumericalError):
        save_features(tmp_path, none(), provenance=PROVENANCE)
    assert load_features(tmp_path, "queries")

    def half():
        yield part("queries", seed=1)
        raise NumericalError("features are NaN")

    with pytest.raises(NumericalError):
        save_features(tmp_path, half(), provenance=PROVENANCE)
    assert (tmp_path / "queries.npy").exists()
    with pytest.raises(InputError, match=r"no manifest\.json, so the extraction into it did not finish"):
        load_features(tmp_path, "queries")


def test_features_can_be_read_where_nothing_can_be_written(tmp_path):
    save_features(tmp_path / "set", [part()], provenance=PROVENANCE)
    for path in [*(tmp_path / "set").iterdir(), tmp_path / "set"]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert len(load_features(tmp_path / "set", "queries")[1]) == 6
    (tmp_path / "set").chmod(0o755)


def test_what_is_there_is_made_anew_only_for_a_reason(tmp_path):
    def why(stamp="s", **changes):
        return stale_parts(tmp_path, {"queries": stamp}, provenance=Provenance(**{**vars(PROVENANCE), **changes}))

    assert why() == {"queries": "there are no finished ones"}
    save_features(tmp_path, [part()], provenance=PROVENANCE)
    assert why() == {}
    assert why(weights="elsewhere/best.pth", config="OUTPUT_DIR: elsewhere\n") == {}
    assert why("t") == {"queries": "the list or its files changed"}
    assert why(settings={"INPUT.SIZE_TEST": [64, 64]}) == {"queries": "INPUT.SIZE_TEST was [32, 32] and is [64, 64]"}
    assert why(versions={"torch": "2.11"}) == {"queries": "torch was 2.10 and is 2.11"}
    assert "the weights were best.pth (sha256 abab" in why(weights_sha256="cd" * 32)["queries"]
    assert stale_parts(tmp_path, {"gallery": "s"}, provenance=PROVENANCE) == {"gallery": "there are none yet"}
    (tmp_path / "queries.csv").unlink()
    assert why() == {"queries": "queries.csv is lost or damaged"}
    (tmp_path / "manifest.json").write_bytes(b"{}")
    assert why() == {"queries": "manifest.json is damaged or of another format"}


@pytest.mark.parametrize("change", ["content", "touch", "rename", "patent"])
def test_the_stamp_of_a_list_tells_when_a_file_or_a_line_changed(change, tmp_path):
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for path in paths:
        path.write_bytes(b"1234")

    def listed(patent="1"):
        return [Drawing(str(path), path.name, patent) for path in sorted(tmp_path.iterdir())]

    before = list_fingerprint(listed())
    assert list_fingerprint(listed()) == before
    if change == "content":  # as many bytes, and the time of the last change put back
        times = paths[0].stat()
        paths[0].write_bytes(b"1235")
        os.utime(paths[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "touch":
        paths[0].touch()
    elif change == "rename":
        paths[0].rename(tmp_path / "three.png")
    assert list_fingerprint(listed("2" if change == "patent" else "1")) != before


def test_a_drawing_that_is_gone_has_no_stamp(tmp_path):
    with pytest.raises(InputError, match=r"list.txt:3: .*gone.png is gone"):
        list_fingerprint([Drawing(str(tmp_path / "gone.png"), "gone.png", "1", source="list.txt:3")])


def test_the_folders_that_can_be_ranked_are_found(tmp_path):
    save_features(tmp_path / "A", [part(), part("gallery")], provenance=PROVENANCE)
    save_features(tmp_path / "B", [part("train")], provenance=PROVENANCE)
    (tmp_path / "notes").mkdir()
    assert find_feature_folders(tmp_path) == {"A": tmp_path / "A"}
    assert find_feature_folders(tmp_path / "A") == {"Mine": tmp_path / "A"}


def test_a_setting_that_one_side_does_not_know_counts_as_changed():
    told = ["A, which was 1, is gone", "C, which is None, is newer than the features"]
    assert diff_values({"A": 1, "B": 2}, {"B": 2, "C": None}) == told
    assert diff_values({"A": ""}, {"A": 0.02}) == ["A was unused and is 0.02"]


def test_features_are_written_and_checked_without_a_copy_of_them_in_memory(tmp_path, measured):
    num, width = 20_000, 1_000  # 80 MB
    names = tuple(Drawing(f"/{n}", str(n), "1") for n in range(num))
    features = Embeddings.from_drawings(torch.ones(num, width), names)
    part = FeaturePart("gallery", features, names, "s")
    _, held = measured(lambda: save_features(tmp_path, [part], provenance=PROVENANCE))
    (found, _), again = measured(lambda: load_features(tmp_path, "gallery"))
    assert max(held, again) < 40
    assert float(found.features[:1].sum()) == width
