"""Drawings of folders, files and lists in a collection: incremental, with metadata, without broken files."""

import dataclasses
import io
import os
import shutil

import numpy as np
import pytest
import torch
from index_pages import draw_page, write_model, write_pages
from PIL import Image

import fastreid.index
from fastreid.engine.predictor import Predictor
from fastreid.index import embedder
from fastreid.index.side_data import SideData, encode_thumbnail
from fastreid.index.stores import FolderStore
from fastreid.utils.errors import InputError, StorageError, WeightsError

pytest.importorskip("lancedb", reason="the extra `search` is not installed")


@pytest.fixture
def collection(model, drawings, tmp_path):
    collection = fastreid.index.create(tmp_path / "collection", model=model)
    assert collection.add([drawings]).describe() == "3 drawings added, 0 unchanged"
    return collection


def rows_by_name(collection):
    columns = list(collection.columns())
    rows = [row for block in collection.scan(columns) for row in block]
    return {(os.path.basename(row["path"]), row["page"]): row for row in rows}


def test_folder_of_a_drawing_is_its_patent(collection, drawings, model):
    rows = rows_by_name(collection)
    assert {name: row["patent"] for (name, _), row in rows.items()} == {"a.png": "D1", "b.png": "D1", "c.png": "D2"}
    assert rows["c.png", 1]["path"] == str(drawings / "week/D2/c.png")
    hits = collection.search(str(drawings / "D1/b.png"), k=2)
    assert (hits[0].path, hits[0].page) == (str(drawings / "D1/b.png"), 1)
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    expected = Predictor.from_pretrained(model)([str(drawings / "D1/b.png")])
    [vector] = [row["vector"] for block in collection.scan(["vector"], "patent = D1") for row in block][1:]
    np.testing.assert_allclose(vector, expected[0].numpy(), atol=1e-5)
    for name in ("D1/a.png", "D1/b.png"):
        row = rows[os.path.basename(name), 1]
        assert collection.thumbnail(row["id"]).startswith(b"\x89PNG")


def test_only_new_and_changed_files_are_embedded(collection, drawings, monkeypatch):
    embedded = []
    original = type(collection.embedder).embed_drawings

    def embed_drawings(self, entries):
        embedded.append(sorted(os.path.basename(entry.path) for entry in entries))
        return original(self, entries)

    monkeypatch.setattr(type(collection.embedder), "embed_drawings", embed_drawings)
    assert collection.update().describe() == "0 drawings added, 3 unchanged"
    os.utime(drawings / "D1/a.png", (1, 1))  # another time, the same content
    Image.fromarray(draw_page(77)).save(drawings / "D1/b.png")
    write_pages(drawings, ["D3/d.png"], first=9)
    (drawings / "week/D2/c.png").unlink()
    report = collection.add([drawings])
    assert report.describe() == "2 drawings added, 0 unchanged, 1 with new metadata"
    assert collection.count() == 4  # an addition removes nothing
    report = collection.update()
    assert report.describe() == "0 drawings added, 3 unchanged, 1 removed"
    assert embedded == [["b.png", "d.png"]]
    assert {name for name, _ in rows_by_name(collection)} == {"a.png", "b.png", "d.png"}
    assert collection.search(str(drawings / "D1/b.png"), k=1)[0].score == pytest.approx(1, abs=1e-5)
    assert collection.check().faults == collection.check().notes == []


def test_broken_and_ignored_files(collection, drawings):
    for name in (".hidden.png", "@eaDir/a.png", "Thumbs.db"):
        (drawings / name).parent.mkdir(exist_ok=True)
        shutil.copy(drawings / "D1/a.png", drawings / name)
    (drawings / "D1/broken.png").write_bytes((drawings / "D1/a.png").read_bytes()[:60])
    (drawings / "D1/b.png").write_text("text")
    report = collection.add([drawings])
    assert report.describe() == "0 drawings added, 2 unchanged, 1 removed, 2 skipped"
    assert report.notes == ["1 drawing removed, because the changed file is unreadable"]
    assert "broken.png: a corrupt image" in report.faults[1]
    assert "b.png: not an image" in report.faults[0]
    assert {name for name, _ in rows_by_name(collection)} == {"a.png", "c.png"}  # the earlier content of b is gone


def test_each_page_of_a_file_is_a_drawing(collection, tmp_path):
    pages = [Image.fromarray(draw_page(seed)) for seed in (5, 6)]
    folder = tmp_path / "D9"
    folder.mkdir()
    pages[0].save(folder / "sheet.tif", save_all=True, append_images=pages[1:])
    report = collection.add([folder / "sheet.tif"])
    assert report.describe() == "2 drawings added, 0 unchanged"
    pages[1].save(tmp_path / "query.png")
    hit = collection.search(str(tmp_path / "query.png"), k=1)[0]
    assert (hit.path, hit.page, hit.patent) == (str(folder / "sheet.tif"), 2, "D9")


def test_each_page_of_a_pdf_is_a_drawing(collection, drawings):
    pytest.importorskip("pypdfium2", reason="the extra `pdf` is not installed")
    pages = [Image.fromarray(draw_page(seed)) for seed in (5, 6)]
    pages[0].save(drawings / "D1/sheet.pdf", save_all=True, append_images=pages[1:])
    assert collection.add([drawings]).describe() == "2 drawings added, 3 unchanged"
    assert {name for name in rows_by_name(collection) if name[0] == "sheet.pdf"} == {("sheet.pdf", 1), ("sheet.pdf", 2)}


def test_latest_source_of_a_drawing_counts(collection, drawings):
    (drawings / "list.csv").write_text("path,id\nD1/a.png,P1\n")
    assert collection.add([drawings / "list.csv"]).num_relabeled == 1
    assert collection.update().describe() == "0 drawings added, 3 unchanged"
    assert rows_by_name(collection)["a.png", 1]["patent"] == "P1"
    assert collection.add([drawings]).num_relabeled == 1
    assert collection.update().num_relabeled == 0
    assert rows_by_name(collection)["a.png", 1]["patent"] == "D1"


def test_metadata_by_path_and_by_patent(collection, drawings, tmp_path):
    by_patent = tmp_path / "patents.csv"
    by_patent.write_text("Patent;Title;Filing Date;Locarno;Pages\nD1;Chair, wooden;2018-01-31;06-01;7\nD8;x;;;\n")
    report = collection.add([drawings], metadata=by_patent)
    assert report.describe() == "0 drawings added, 1 unchanged, 2 with new metadata"
    assert report.notes == [f"{by_patent}: 1 row of 2 match no drawing (first: patents.csv:3)"]
    assert collection.count("title = 'Chair, wooden' AND filing_date < 2018-02-01 AND pages = 7") == 2
    by_path = tmp_path / "drawings.csv"
    by_path.write_text("path,figure,patent\nD1/a.png,FIG. 1,D1-A\nweek/D2/c.png,FIG. 2,\n")
    assert collection.add([drawings], metadata=by_path).num_relabeled == 3
    assert collection.add([drawings]).num_unchanged == 3
    rows = rows_by_name(collection)
    assert [rows[name, 1]["figure"] for name in ("a.png", "b.png", "c.png")] == ["FIG. 1", None, "FIG. 2"]
    assert [rows[name, 1]["patent"] for name in ("a.png", "b.png", "c.png")] == ["D1-A", "D1", "D2"]
    assert collection.count("locarno IS NULL") == 3  # the newer metadata replace the older ones
    by_path.write_text("path,pages\nD1/a.png,many\n")
    with pytest.raises(InputError, match=r"drawings.csv:2: pages: 'many' is not an integer"):
        collection.add([drawings], metadata=by_path)


def test_lists_of_drawings(model, drawings, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (drawings / "list.csv").write_text("path,id,score\nD1/a.png,P1,0.5\nD1/gone.png,P1,1\nweek/D2/c.png,P2,\n")
    collection = fastreid.index.create(tmp_path / "lists", model=model)
    report = collection.add([drawings / "list.csv"])
    assert report.describe() == "2 drawings added, 0 unchanged, 1 skipped"
    assert report.faults[0].startswith("list.csv:3: no file ")
    assert collection.count("patent = P1 AND score = 0.5") == 1
    lists = drawings / "train_data"
    lists.mkdir()
    shutil.copytree(drawings / "D1", lists / "patent_data/D1")
    (lists / "train_patent_trn.txt").write_text("D1/a.png 17\nD1/b.png -1\n")
    assert collection.add([lists / "train_patent_trn.txt"]).num_embedded == 2
    assert collection.count("patent = 17") == 1
    content = {"path": [str(drawings / "D1/b.png")], "patent": ["P9"], "active": [True], "score": [2.0]}
    parquet.write_table(pa.table(content), tmp_path / "list.parquet")
    collection.add([tmp_path / "list.parquet"])
    assert collection.count("patent = P9 AND active = true AND score = 2") == 1
    (drawings / "list.csv").write_text("path,id\nD1/a.png,P1\n")
    assert collection.update().describe() == "0 drawings added, 3 unchanged, 1 with new metadata, 1 removed"


def test_removed_drawings_stay_removed_until_they_are_added(collection, drawings):
    rows = rows_by_name(collection)
    assert collection.remove(ids=[rows["a.png", 1]["id"]], where="patent = D2") == 2
    assert collection.thumbnail(rows["a.png", 1]["id"]) is None
    assert collection.update().describe() == "0 drawings added, 1 unchanged, 2 removed earlier"
    assert collection.add([drawings]).describe() == "2 drawings added, 1 unchanged"
    assert collection.remove_source(drawings) == 3
    assert collection.count() == 0
    with pytest.raises(InputError, match="has no source to update from"):
        collection.update()


def test_missing_source_stops_an_update(collection, drawings):
    drawings.rename(drawings.with_name("unmounted"))
    with pytest.raises(InputError, match="no longer exists; mount it again"):
        collection.update()
    assert collection.count() == 3
    assert collection.check().notes == [
        "3 files cannot be found; `fastreid index update` removes the drawings of those that no longer exist, and "
        "keeps those whose folder cannot be read"
    ]


def test_update_keeps_drawings_below_an_unreadable_folder(collection, drawings, monkeypatch):
    (drawings / "week").rename(drawings.parent / "disk")
    (drawings / "week").symlink_to(drawings.parent / "disk")
    assert collection.update().num_unchanged == 3
    (drawings.parent / "disk").rename(drawings.parent / "unmounted")
    report = collection.update()
    assert (report.num_removed, collection.count()) == (0, 3)
    hint = "cannot be read; check its permissions or its link"
    assert report.notes == [f"1 drawing kept, because {drawings / 'week'} {hint}"]
    (drawings / "week").unlink()
    original = os.scandir

    def scandir(path):
        if os.fspath(path) == str(drawings / "D1"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        report = collection.update()
    assert report.notes == [f"2 drawings kept, because {drawings / 'D1'} {hint}"]
    assert {name for name, _ in rows_by_name(collection)} == {"a.png", "b.png"}


def test_missing_folder_of_images_stops_an_update(model, drawings, tmp_path):
    (tmp_path / "list.csv").write_text("path\nD1/a.png\n")
    collection = fastreid.index.create(tmp_path / "lists", model=model)
    collection.add([tmp_path / "list.csv"], images=drawings)
    drawings.rename(drawings.with_name("unmounted"))
    with pytest.raises(InputError, match=r"the folder of its images, .*, no longer exists; mount it again"):
        collection.update()
    assert collection.count() == 1


def test_removed_source_leaves_drawings_of_other_sources(collection, drawings, tmp_path):
    (drawings / "list.csv").write_text("path,id,figure\nD1/a.png,P1,7\n")
    collection.add([drawings / "list.csv"])
    (tmp_path / "gone.csv").write_text(f"path\n{drawings}/week/D2/c.png\n")
    collection.add([tmp_path / "gone.csv"])
    (tmp_path / "gone.csv").unlink()
    assert collection.remove_source(drawings / "list.csv") == 0
    row = rows_by_name(collection)["a.png", 1]
    assert (row["patent"], row["source"], row["figure"]) == ("D1", str(drawings), None)
    assert collection.search(str(drawings / "D1/a.png"), k=1)[0].score == pytest.approx(1, abs=1e-5)
    assert collection.remove_source(drawings) == 2
    assert {name for name, _ in rows_by_name(collection)} == {"c.png"}
    assert collection.remove_source(tmp_path / "gone.csv") == 1


def test_second_creator_does_not_overwrite_the_first(collection, drawings):
    store = FolderStore(collection.folder)
    with pytest.raises(InputError, match="is already a collection"):
        store.create(dataclasses.replace(collection.manifest, sources=()))  # as if it had found the folder free
    assert [source.path for source in store.read_manifest().sources] == [str(drawings)]


def test_model_with_other_weights_is_rejected(collection, drawings, tmp_path):
    other = write_model(tmp_path / "other", seed=1)
    with pytest.raises(WeightsError, match="use the same model, or create a new collection"):
        fastreid.index.open(collection.folder, model=other)
    copy = shutil.copytree(collection.manifest.model.name, tmp_path / "copy")
    assert fastreid.index.open(collection.folder, model=str(copy)).add([drawings]).num_unchanged == 3


def test_check_finds_faults_and_compact_repairs_thumbnails(collection, drawings):
    rows = rows_by_name(collection)
    name = rows["a.png", 1]["id"]
    side_data = SideData(collection.folder)
    side_data.write_thumbnails({"orphan": b"x"})
    side_data.delete_thumbnails([name])
    report = collection.check()
    assert report.faults == [f"{name}: has no thumbnail; `fastreid index compact` repairs this"]
    assert "1 thumbnails of drawings that are not in the table" in report.notes[0]
    assert collection.compact() == []
    report = collection.check()
    assert (report.num_drawings, report.faults, report.notes) == (3, [], [])
    manifest = collection.folder / "collection.json"
    manifest.write_text(manifest.read_text().replace('"dim": 32', '"dim": 33'))
    with pytest.raises(StorageError, match=r"collection.json: damaged"):
        fastreid.index.open(collection.folder)


@pytest.mark.parametrize("part", ["data", "_versions", "lance"])
def test_damaged_table_is_a_storage_error(collection, drawings, part):
    table = collection.folder / "lance" / "drawings.lance"
    if part == "lance":
        shutil.rmtree(table)
    else:
        for path in (table / part).iterdir():
            path.write_bytes(b"damaged" + bytes(100))
    with pytest.raises(StorageError) as error:
        fastreid.index.open(collection.folder).search(str(drawings / "D1/a.png"))
    assert str(collection.folder) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_table_removed_after_opening_is_a_storage_error(collection):
    shutil.rmtree(collection.folder / "lance")
    for read in (collection.columns, lambda: collection.version, lambda: collection.check_filter("patent = D1")):
        with pytest.raises(StorageError, match="restore the folder") as error:
            read()
        assert len(str(error.value).splitlines()) == 1


def test_features_do_not_depend_on_workers(model, tmp_path, monkeypatch):
    write_pages(tmp_path / "many", [f"D{number // 4}/{number}.png" for number in range(20)])
    (tmp_path / "many/D0/broken.png").write_text("text")
    monkeypatch.setattr(embedder, "MIN_FILES_FOR_WORKERS", 8)
    collection = fastreid.index.create(tmp_path / "collection", model=model)
    assert collection.add([tmp_path / "many"]).describe() == "20 drawings added, 0 unchanged, 1 skipped"
    paths = {row["path"]: row["vector"] for block in collection.scan(["path", "vector"]) for row in block}
    some = sorted(paths)[::5]
    torch.testing.assert_close(
        torch.tensor(np.stack([paths[path] for path in some])), Predictor.from_pretrained(model)(some)
    )
    assert collection.check().faults == []


def test_thin_lines_are_visible_in_a_thumbnail():
    page = np.full((800, 800), 255, np.uint8)
    page[400:402] = 0  # half a pixel of the thumbnail
    with Image.open(io.BytesIO(encode_thumbnail(page))) as image:
        small = np.asarray(image)
    assert small.min() < 100
    assert (small == 255).mean() > 0.95


def test_invalid_filter_is_found_before_the_model_is_loaded(collection, drawings, monkeypatch):
    monkeypatch.setattr(embedder.Embedder, "embed_pictures", lambda *arguments: pytest.fail("the model was used"))
    with pytest.raises(InputError, match="Did you mean 'patent'"):
        collection.search([str(drawings / "D1/a.png")], where="patnt = D1")
