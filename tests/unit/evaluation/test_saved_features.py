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
    list_fingerprint,
    load_features,
    save_features,
    stale_parts,
)
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.mapped_rows import MappedRows

PROVENANCE = Provenance("Mine", "best.pth", "ab" * 32, {"INPUT.SIZE_TEST": [32, 32]}, "SEED: 0\n", {"torch": "2.10"})
NAMES = ("a.png", "with space/b, c.png", 'quote".png', "line\r\nfeed.png", "zeichnung-ä-図.png", "bytes-\udcff.png")


def drawings(num=6):
    return tuple(Drawing(f"/x/{n}-{NAMES[n % 6]}", f"{n}-{NAMES[n % 6]}", f"0{n // 2}", n - 1) for n in range(num))


def part(name="queries", *, num=6, width=5, fingerprint="s", seed=0):
    features = torch.randn(num, width, generator=torch.Generator().manual_seed(seed))
    return FeaturePart(name, Embeddings.from_drawings(features, drawings(num)), drawings(num), fingerprint)


def without_source(listed):
    """Return the fields of the drawings that are saved."""
    return [(drawing.path, drawing.name, drawing.patent, drawing.camera) for drawing in listed]


def test_saved_features_load_exactly_and_stay_mapped(tmp_path):
    saved = part()
    save_features(tmp_path / "Größe 図", [saved], provenance=PROVENANCE)
    loaded, listed = load_features(tmp_path / "Größe 図", "queries")
    assert isinstance(loaded.features, MappedRows)
    assert torch.equal(loaded.features[:], saved.features.features)
    assert (loaded.names, loaded.patents, loaded.cameras) == (
        saved.features.names,
        saved.features.patents,
        saved.features.cameras,
    )
    assert without_source(listed) == without_source(saved.drawings)


def test_files_are_plain_npy_and_csv(tmp_path):
    saved = part()
    save_features(tmp_path, [saved], provenance=PROVENANCE)
    np.save(tmp_path / "numpy.npy", saved.features.features.numpy())
    assert (tmp_path / "queries.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    assert np.load(tmp_path / "queries.npy", mmap_mode="r").flags.c_contiguous
    with open(tmp_path / "queries.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [drawing.name for drawing in saved.drawings]
    assert list(rows[0]) == ["row", "name", "patent", "camera", "path"]


def test_mapped_features_are_saved_like_tensors(tmp_path):
    save_features(tmp_path / "one", [part()], provenance=PROVENANCE)
    loaded, listed = load_features(tmp_path / "one", "queries")
    save_features(tmp_path / "two", [FeaturePart("queries", loaded, listed, "s")], provenance=PROVENANCE)
    assert (tmp_path / "one/queries.npy").read_bytes() == (tmp_path / "two/queries.npy").read_bytes()


def test_manifest_contains_provenance_and_sizes(tmp_path):
    save_features(tmp_path, [part(), part("gallery", num=4)], provenance=PROVENANCE)
    manifest = read_manifest(tmp_path)
    assert manifest.provenance == PROVENANCE
    assert {name: (entry.num_rows, entry.dim) for name, entry in manifest.parts.items()} == {
        "queries": (6, 5),
        "gallery": (4, 5),
    }
    assert json.loads((tmp_path / "manifest.json").read_text())["origin"]["weights_sha256"] == "ab" * 32


def test_other_parts_stay_valid_while_a_part_is_added(tmp_path):
    save_features(tmp_path, [part(), part("gallery")], provenance=PROVENANCE)

    def add_train():
        yield part("train", num=3)
        assert load_features(tmp_path, "gallery")

    assert list(save_features(tmp_path, add_train(), provenance=PROVENANCE).parts) == ["queries", "gallery", "train"]
    assert len(load_features(tmp_path, "train")[1]) == 3


def test_another_provenance_replaces_all_parts(tmp_path):
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


def test_manifest_is_removed_only_once_a_part_is_written(tmp_path):
    save_features(tmp_path, [part()], provenance=PROVENANCE)

    def fail_at_once():
        raise NumericalError("features are NaN")
        yield

    with pytest.raises(NumericalError):
        save_features(tmp_path, fail_at_once(), provenance=PROVENANCE)
    assert load_features(tmp_path, "queries")

    def fail_after_one_part():
        yield part("queries", seed=1)
        raise NumericalError("features are NaN")

    with pytest.raises(NumericalError):
        save_features(tmp_path, fail_after_one_part(), provenance=PROVENANCE)
    assert (tmp_path / "queries.npy").exists()
    with pytest.raises(InputError, match=r"no manifest\.json, so the extraction into it did not finish"):
        load_features(tmp_path, "queries")


def test_features_load_from_a_read_only_folder(tmp_path):
    save_features(tmp_path / "set", [part()], provenance=PROVENANCE)
    for path in [*(tmp_path / "set").iterdir(), tmp_path / "set"]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert len(load_features(tmp_path / "set", "queries")[1]) == 6
    (tmp_path / "set").chmod(0o755)


def test_stale_parts_are_reported_with_the_reason(tmp_path):
    def stale(fingerprint="s", **changes):
        return stale_parts(tmp_path, {"queries": fingerprint}, provenance=Provenance(**{**vars(PROVENANCE), **changes}))

    assert stale() == {"queries": "not extracted yet"}
    save_features(tmp_path, [part()], provenance=PROVENANCE)
    assert stale() == {}
    assert stale(weights="elsewhere/best.pth", config="OUTPUT_DIR: elsewhere\n") == {}
    assert stale("t") == {"queries": "the list or its files changed"}
    assert stale(settings={"INPUT.SIZE_TEST": [64, 64]}) == {"queries": "INPUT.SIZE_TEST was [32, 32] and is [64, 64]"}
    assert stale(versions={"torch": "2.11"}) == {"queries": "torch was 2.10 and is 2.11"}
    assert "the weights were best.pth (sha256 abab" in stale(weights_sha256="cd" * 32)["queries"]
    assert stale_parts(tmp_path, {"gallery": "s"}, provenance=PROVENANCE) == {"gallery": "not extracted yet"}
    (tmp_path / "queries.csv").unlink()
    assert stale() == {"queries": "queries.csv is missing or damaged"}
    (tmp_path / "manifest.json").write_bytes(b"{}")
    assert stale() == {"queries": "manifest.json is damaged or of another format"}


@pytest.mark.parametrize("change", ["content", "touch", "rename", "patent"])
def test_fingerprint_changes_with_files_and_entries(change, tmp_path):
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for path in paths:
        path.write_bytes(b"1234")

    def listed(patent="1"):
        return [Drawing(str(path), path.name, patent) for path in sorted(tmp_path.iterdir())]

    before = list_fingerprint(listed())
    assert list_fingerprint(listed()) == before
    if change == "content":  # same size, and the modification time restored
        times = paths[0].stat()
        paths[0].write_bytes(b"1235")
        os.utime(paths[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "touch":
        paths[0].touch()
    elif change == "rename":
        paths[0].rename(tmp_path / "three.png")
    assert list_fingerprint(listed("2" if change == "patent" else "1")) != before


def test_fingerprint_of_a_missing_file_raises(tmp_path):
    with pytest.raises(InputError, match=r"list.txt:3: .*gone.png is missing"):
        list_fingerprint([Drawing(str(tmp_path / "gone.png"), "gone.png", "1", source="list.txt:3")])


def test_find_feature_folders_returns_complete_datasets(tmp_path):
    save_features(tmp_path / "A", [part(), part("gallery")], provenance=PROVENANCE)
    save_features(tmp_path / "B", [part("train")], provenance=PROVENANCE)
    (tmp_path / "notes").mkdir()
    assert find_feature_folders(tmp_path) == {"A": tmp_path / "A"}
    assert find_feature_folders(tmp_path / "A") == {"Mine": tmp_path / "A"}


def test_values_on_one_side_only_are_differences():
    changes = ["A was 1 and no longer exists", "C is None but did not exist when the features were extracted"]
    assert diff_values({"A": 1, "B": 2}, {"B": 2, "C": None}) == changes
    assert diff_values({"A": ""}, {"A": 0.02}) == ["A was unused and is 0.02"]


def test_saving_and_loading_copy_no_features_in_memory(tmp_path, measure_peak_memory):
    num, width = 20_000, 1_000  # 80 MB
    listed = tuple(Drawing(f"/{n}", str(n), "1") for n in range(num))
    features = Embeddings.from_drawings(torch.ones(num, width), listed)
    part = FeaturePart("gallery", features, listed, "s")
    _, saving_mb = measure_peak_memory(lambda: save_features(tmp_path, [part], provenance=PROVENANCE))
    (loaded, _), loading_mb = measure_peak_memory(lambda: load_features(tmp_path, "gallery"))
    assert max(saving_mb, loading_mb) < 40
    assert float(loaded.features[:1].sum()) == width
