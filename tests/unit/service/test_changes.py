"""Add, update and remove drawings over HTTP."""

import csv
import io
import json
import shutil

import pytest
from index_pages import draw_page, write_pages
from PIL import Image
from service_requests import encode, get_error, start_client

import fastreid.index
from fastreid.service.uploads import Upload, add_uploads, parse_metadata

TOKEN = "0123456789abcdef0123"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def folder(collection_folder, tmp_path):
    """Return a folder with a copy of the collection."""
    shutil.copytree(collection_folder, tmp_path / "c")
    return tmp_path


@pytest.fixture
def editor(folder):
    with start_client(folder / "c", token=TOKEN, uploads=folder / "uploads") as client:
        client.headers.update(HEADERS)
        yield client


def add(client, *pages, metadata=None, name="../../x.png"):
    data = {} if metadata is None else {"metadata": json.dumps(metadata)}
    parts = [("pictures", (name, page if isinstance(page, bytes) else encode(page))) for page in pages]
    return client.post("/api/v1/drawings", files=parts, data=data)


def search(client, page, **fields):
    response = client.post("/api/v1/search", files=[("pictures", ("q.png", encode(page)))], data=fields)
    assert response.status_code == 200, response.text
    return response.json()["results"]


def test_added_drawing_is_found_and_removed(editor, folder):
    page = draw_page(50)
    metadata = {"patent": "D9", "Filing Date": "2020-01-31", "title": '=cmd()|<b>, "x"\n', "year": 2020, "color": True}
    assert add(editor, page, draw_page(51), metadata=metadata).json() == {
        "added": 2,
        "relabeled": 0,
        "unchanged": 0,
        "removed": 0,
        "excluded": 0,
        "faults": [],
        "drawings": 11,
    }
    best = search(editor, page, filter="filing_date >= 2020-01-01")[0]
    assert (best["score"], best["patent"], best["metadata"]["color"]) == (1.0, "D9", True)
    assert best["metadata"]["title"].strip() == metadata["title"].strip()
    assert editor.get(f"/{best['thumbnail']}").status_code == 200
    assert editor.get(f"/{best['image']}").status_code == 200
    files = sorted(path.relative_to(folder / "uploads").as_posix() for path in (folder / "uploads").glob("*/*"))
    assert len(files) == 2
    assert best["path"] in files
    assert all(len(name) == 28 for name in files)  # DIGEST/drawing.png
    answer = editor.delete(f"/api/v1/drawings/{best['id']}").json()
    assert answer == {"removed": 1, "drawings": 10}
    get_error(editor.get(f"/api/v1/drawings/{best['id']}"), 404, "not_found")
    get_error(editor.delete(f"/api/v1/drawings/{best['id']}"), 404, "not_found")
    assert search(editor, page)[0]["score"] < 1
    assert add(editor, draw_page(52)).json()["drawings"] == 11  # the removed drawing is not restored
    assert fastreid.index.open(folder / "c").remove(where="patent = D9") == 1  # from the command line
    assert add(editor, draw_page(53)).json()["drawings"] == 11
    assert add(editor, page).json()["drawings"] == 12
    assert search(editor, page)[0]["score"] == 1


def test_pages_of_a_file_are_drawings(editor, folder):
    file = io.BytesIO()
    first, second = (Image.fromarray(draw_page(seed)) for seed in (60, 61))
    first.save(file, "TIFF", save_all=True, append_images=[second])
    assert add(editor, file.getvalue(), metadata={"patent": "D8"}).json()["added"] == 2
    best = search(editor, draw_page(61))[0]
    assert (best["score"], best["page"], best["patent"]) == (1.0, 2, "D8")
    assert editor.get(f"/{best['image']}").status_code == 200
    assert fastreid.index.open(folder / "c").update().num_unchanged == 11


def test_drawings_without_patent_are_patents_of_their_own(editor, folder):
    add(editor, draw_page(50), draw_page(51))
    first, second = (search(editor, draw_page(seed), k=1)[0] for seed in (50, 51))
    assert first["patent"] != second["patent"]
    assert add(editor, draw_page(50), metadata={"title": "new"}).json()["added"] == 0
    assert search(editor, draw_page(50), k=1)[0]["metadata"]["title"] == "new"
    rows = list(csv.DictReader((folder / "uploads/drawings.csv").read_text().splitlines()))
    assert [row["patent"] for row in rows] == [first["patent"], second["patent"]]


def test_update_reads_the_sources_again(editor, collection_folder):
    drawings = collection_folder.parent / "drawings"
    write_pages(drawings, ["D7/new.png"], first=70)
    try:
        answer = editor.post("/api/v1/update").json()
        assert (answer["added"], answer["unchanged"], answer["drawings"]) == (1, 9, 10)
        (drawings / "D7/new.png").write_bytes(encode(draw_page(70))[:100])
        (fault,) = editor.post("/api/v1/update").json()["faults"]
        assert fault.startswith("drawings/D7/new.png: ")  # not where the server has it
    finally:
        shutil.rmtree(drawings / "D7")
    moved = drawings.rename(drawings.with_name("moved"))
    try:
        message = get_error(editor.post("/api/v1/update"), 400, "invalid_input")
    finally:
        moved.rename(drawings)
    assert message.startswith("drawings: this source of the collection no longer exists")


def test_invalid_additions_change_nothing(editor, folder):
    page = encode(draw_page(50))
    for pages, metadata, message in (
        ([b"text"], None, "x.png: not an image"),
        ([page[:100]], None, "x.png: a corrupt image"),
        ([page], {"path": "/etc/passwd"}, "the column name 'path' is reserved"),
        ([page], {"title": ["a"]}, "the value of title must be a text"),
        ([page], {"filing_date": "soon"}, "metadata: filing_date: 'soon' is not a date"),
        ([page], {"a": "x" * 3000}, "at most 2000 characters"),
        ([page], [1], "must be a JSON object"),
        ([page], {f"a{number}": "1" for number in range(60)}, "at most 50 columns"),
        ([], {}, "no drawing is given"),
    ):
        if pages:
            response = add(editor, *pages, metadata=metadata)
        else:
            response = editor.post("/api/v1/drawings", data={"metadata": "{}"})
        assert message in get_error(response, 400, "invalid_input")
        assert str(folder) not in response.text
    assert editor.get("/api/v1/collection").json()["drawings"] == 9
    get_error(editor.post("/api/v1/drawings", headers={"Authorization": "x"}), 401, "unauthorized")
    assert not (folder.parent / "x.png").exists()


def test_changes_are_off_by_default(client):
    for response in (add(client, draw_page(50)), client.delete("/api/v1/drawings/x"), client.post("/api/v1/update")):
        assert "does not change its collection" in get_error(response, 403, "forbidden")


def test_list_of_uploads_is_locked_while_it_changes(folder, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    collection, uploads, attempts = fastreid.index.open(folder / "c"), folder / "uploads", []
    add_sources = collection.add

    def try_lock(sources):
        with open(uploads / ".lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                attempts.append("free")
            except BlockingIOError:
                attempts.append("locked")
        return add_sources(sources)

    monkeypatch.setattr(collection, "add", try_lock)
    add_uploads(collection, uploads, [Upload("a.png", encode(draw_page(60)))], {})
    assert attempts == ["locked"]


def test_repeated_upload_changes_only_the_columns_that_it_has(editor):
    page = draw_page(62)
    add(editor, page, metadata={"patent": "D6", "title": "Cup", "locarno": "07-01", "year": 2001})
    add(editor, page, metadata={"title": "Mug", "locarno": None, "applicant": "A"})
    best = search(editor, page, k=1)[0]
    assert (best["patent"], best["metadata"]) == ("D6", {"title": "Mug", "year": 2001, "applicant": "A"})
    add(editor, page, metadata={"patent": None, "year": ""})
    best = search(editor, page, k=1)[0]
    assert (len(best["patent"]), best["metadata"]) == (16, {"title": "Mug", "applicant": "A"})
    editor.delete(f"/api/v1/drawings/{best['id']}")
    add(editor, page, metadata={"patent": "D6"})  # removed drawings start again
    assert search(editor, page, k=1)[0]["metadata"] == {}


def test_repeated_upload_with_an_empty_patent_keeps_one(editor):
    assert parse_metadata('{"patent": " ", "title": ""}') == {"title": ""}
    page = draw_page(61)
    add(editor, page)
    patent = search(editor, page)[0]["patent"]
    answer = add(editor, page, metadata={"patent": "", "title": "Cup"}).json()
    assert (answer["added"], answer["relabeled"]) == (0, 1)
    assert search(editor, page)[0]["patent"] == patent is not None
