"""Drawings, the collection, facets, probes, metrics and the page."""

import io
import json
import os
import re

import numpy as np
import pytest
import torch
from index_pages import draw_page
from PIL import Image
from service_requests import get_error, start_client

import fastreid.index
from fastreid.service.errors import hide_folders
from fastreid.service.requests import shorten_path
from fastreid.service.routes_collection import count_values
from fastreid.service.static_files import load_static_files


@pytest.fixture(scope="module")
def drawing(client, picture):
    return client.post("/api/v1/search", files=[picture.part]).json()["results"][0]


def test_drawing_and_its_images(client, drawing):
    answer = client.get(f"/api/v1/drawings/{drawing['id']}").json()
    assert answer == {name: drawing[name] for name in answer}
    thumbnail = client.get(f"/{drawing['thumbnail']}")
    assert thumbnail.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(thumbnail.content)).size == (64, 64)
    image = client.get(f"/{drawing['image']}")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.content))), draw_page(4))
    assert image.headers["cache-control"] == "private, max-age=3600"
    for suffix in ("", "/thumbnail", "/image"):
        message = get_error(client.get(f"/api/v1/drawings/a%2Fb{suffix}"), 404, "not_found")
        assert message == "there is no drawing with the id 'a/b'; a search returns ids"
    assert "longest_px" in get_error(client.get(f"/{drawing['image']}?longest_px=9"), 422, "invalid_request")


def test_images_that_the_client_has_are_not_sent_again(client, drawing, collection_folder):
    path = collection_folder.parent / "drawings" / "D1/4.png"
    for address in (drawing["thumbnail"], drawing["image"], "page.css"):
        first = client.get(f"/{address}")
        tag = first.headers["etag"]
        for header in (tag, f'"x", W/{tag}', "*"):
            again = client.get(f"/{address}", headers={"If-None-Match": header})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert again.headers["cache-control"] == first.headers["cache-control"]
        other = client.get(f"/{address}", headers={"If-None-Match": '"x"'})
        assert (other.status_code, other.content) == (200, first.content)
    tag = client.get(f"/{drawing['image']}").headers["etag"]
    assert client.get(f"/{drawing['image']}?longest_px=64", headers={"If-None-Match": tag}).status_code == 200
    before = path.stat()
    os.utime(path, (1, 1))  # the file has changed
    try:
        assert client.get(f"/{drawing['image']}", headers={"If-None-Match": tag}).status_code == 200
    finally:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # other tests have the same collection


def test_head_has_the_headers_of_get(client, drawing):
    addresses = ("/", "/page.css", "/healthz", "/readyz", f"/{drawing['image']}", f"/{drawing['thumbnail']}")
    for address in (*addresses, "/api/v1/collection", "/api/v1/drawings/none"):
        whole, head = client.get(address), client.head(address)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        names = [name for name in whole.headers if name != "date"]
        assert {name: head.headers[name] for name in names} == {name: whole.headers[name] for name in names}
    tag = client.get("/page.css").headers["etag"]
    assert client.head("/page.css", headers={"If-None-Match": tag}).status_code == 304
    assert client.head("/api/v1/search").status_code == 405


def test_paths_are_relative_to_their_source():
    sources = ["/data/patents", "/data/patents/more", "/lists/new.csv", "/data/one.png"]
    for path, shown in (
        ("/data/patents/D1/1.png", "patents/D1/1.png"),
        ("/data/patents/more/1.png", "more/1.png"),
        ("/data/one.png", "one.png"),
        ("/lists/images/2.png", "images/2.png"),
        ("/data/patents2/1.png", "1.png"),
        ("", ""),
    ):
        assert shorten_path(path, sources) == shown


def test_messages_show_only_the_last_part_of_paths():
    paths = ["/srv/data", "/srv/data/more", "srv/c.index", "/srv/c.index", "", "/"]
    for text, shown in (
        ("/srv/data/D1/1.png: corrupt; /srv/data/more/2.png", "data/D1/1.png: corrupt; more/2.png"),
        ("/srv/c.index/lance: not found: srv/c.index/lance", "c.index/lance: not found: c.index/lance"),
        ("a/b", "a/b"),
    ):
        assert hide_folders(text, paths) == shown


def test_image_is_reduced_and_keeps_color(collection_folder, tmp_path):
    import fastreid.index

    Image.new("RGB", (300, 150), (255, 0, 0)).save(tmp_path / "red.png")
    collection = fastreid.index.create(tmp_path / "c", model=str(collection_folder.parent / "model"))
    collection.add([tmp_path / "red.png"])
    row = next(iter(collection.scan(["id"])))[0]
    with start_client(tmp_path / "c") as client:
        image = Image.open(io.BytesIO(client.get(f"/api/v1/drawings/{row['id']}/image?longest_px=64").content))
        assert (image.size, image.mode, image.getpixel((0, 0))) == ((64, 32), "RGB", (255, 0, 0))
        (tmp_path / "red.png").unlink()
        message = get_error(client.get(f"/api/v1/drawings/{row['id']}/image"), 404, "not_found")
        assert str(tmp_path) not in message
        assert client.get(f"/api/v1/drawings/{row['id']}/thumbnail").status_code == 200


def test_collection(client, collection_folder):
    answer = client.get("/api/v1/collection").json()
    assert (answer["name"], answer["drawings"], answer["patents"], answer["search"]) == ("patents.index", 9, 3, "exact")
    assert answer["columns"]["year"] == "integer"
    assert answer["limits"]["pictures"] == 7
    assert type(answer["limits"]["pictures"]) is int  # not 7.0
    assert (answer["needs_token"], answer["changes"]) == (False, False)
    assert str(collection_folder.parent / "drawings") not in json.dumps(answer)


def test_facets(client):
    answer = client.get("/api/v1/facets", params={"column": "locarno", "filter": "year = 2002"}).json()
    assert answer["values"] == [{"value": "06-03", "count": 3}, {"value": "07-02", "count": 3}]
    assert (answer["total"], answer["missing"], answer["distinct"]) == (6, 0, 2)
    answer = client.get("/api/v1/facets", params={"column": "year", "limit": 1}).json()
    assert (answer["minimum"], answer["maximum"]) == (2001, 2002)
    assert answer["values"] == [{"value": 2002, "count": 6}]
    answer = client.get("/api/v1/facets", params={"column": "applicant"}).json()
    assert (answer["missing"], answer["values"], answer["minimum"]) == (9, [], None)
    for column, value in (("path", "drawings/D0/0.png"), ("source", "drawings")):  # not where the server has them
        answer = client.get("/api/v1/facets", params={"column": column, "filter": "patent = D0"}).json()
        assert (answer["values"][0]["value"], answer["minimum"]) == (value, value)
    message = get_error(client.get("/api/v1/facets", params={"column": "locarn"}), 400, "invalid_input")
    assert "Did you mean 'locarno'?" in message


def test_facets_count_each_of_several_values(tmp_path):
    identity = fastreid.index.ModelIdentity("features", "0" * 64)
    collection = fastreid.index.create(tmp_path / "c", model=identity, dim=2)
    texts = ["06-01|07-02", "07-02", None, "07-02"]
    rows = [{"id": str(row), "locarno": text} for row, text in enumerate(texts)]
    collection.add_features(torch.ones(4, 2), rows, model=identity)
    answer = count_values(collection, "locarno", where="", limit=9)
    assert answer["values"] == [{"value": "07-02", "count": 3}, {"value": "06-01", "count": 1}]
    assert (answer["total"], answer["missing"], answer["distinct"]) == (4, 1, 2)


def test_probes_and_metrics(client, picture):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.post("/api/v1/search", files=[picture.part])
    client.get("/api/v1/none")
    text = client.get("/metrics").text
    count = re.search(r'requests_total\{method="POST",route="/api/v1/search",status="200"\} (\d+)', text)
    assert int(count[1]) >= 1
    assert 'route="none",status="404"' in text
    assert "fastreid_ready 1.0" in text
    assert re.search(r"fastreid_batch_pictures_count [1-9]", text)
    assert re.search(r"fastreid_search_seconds_count [1-9]", text)


def test_page_uses_no_other_server(client):
    names = [name for name in load_static_files() if not name.endswith(".png")]
    for path in ("/", *(f"/{name}" for name in names), "/docs"):
        response = client.get(path)
        assert response.status_code == 200
        assert re.findall(r"""(?:src|href|action|url|import)\s*[=(]?\s*["'(]?(?:https?:)?//""", response.text) == []
        assert "<script>" not in response.text
        assert "style=" not in response.text
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-frame-options"] == "DENY"
    assert "script-src 'self';" in client.get("/").headers["content-security-policy"]
    assert {"index.html", "page.css", "page.js"} <= load_static_files().keys()
    get_error(client.get("/app.py"), 404, "not_found")


def test_docs_list_every_route(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/v1/search", "/api/v1/drawings/{name}", "/api/v1/facets", "/metrics"} <= paths.keys()
    page = client.get("/docs").text
    assert [path for path in paths if f"<code>{path}</code>" not in page] == []
    assert "pictures (array)" in page
