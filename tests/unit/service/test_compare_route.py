"""POST /api/v1/compare returns the maps of two drawings; equal requests are computed once."""

import asyncio
import base64
import io
import os

import numpy as np
import pytest
import torch
from index_pages import draw_page
from PIL import Image
from service_requests import encode, get_error, start_client

import fastreid.index
from fastreid.service import comparison

COMPARE = "/api/v1/compare"


@pytest.fixture(scope="module")
def drawings(client, picture):
    """Return the results of a search with D1/4.png, itself first."""
    return client.post("/api/v1/search", files=[picture.part]).json()["results"]


def post_ok(client, *pictures, **fields):
    response = client.post(COMPARE, files=[("pictures", part) for part in pictures], data=fields)
    assert response.status_code == 200, response.text
    return response.json()["drawings"]


def test_picture_with_a_drawing(client, picture, drawings, collection_folder):
    own, result = post_ok(client, picture.part[1], ids=drawings[1]["id"])
    assert (own["name"], own["id"], result["name"], result["id"]) == ("query.png", None, "", drawings[1]["id"])
    collection = fastreid.index.open(collection_folder)
    paths = [str(collection_folder.parent / "drawings" / "D1/4.png"), collection.get([drawings[1]["id"]])[0]["path"]]
    for answer, expected in zip((own, result), fastreid.index.compare_drawings(collection.embedder, *paths)):
        assert answer["matched"] == pytest.approx(expected.matched, abs=1e-3)
        assert (answer["width"], answer["height"]) == (64, 64)
        kind, _, content = answer["image"].partition(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(content))).size == (64, 64)
        assert sum(region["ink"] for row in answer["regions"] for region in row) == pytest.approx(1, abs=1e-2)
    swapped = post_ok(client, ids=[drawings[1]["id"], drawings[0]["id"]])
    assert [swapped[1]["matched"], swapped[0]["matched"]] == [own["matched"], result["matched"]]


def test_equal_drawings_and_parts(client, picture, drawings):
    assert [part["matched"] for part in post_ok(client, picture.part[1], ids=drawings[0]["id"])] == [1, 1]
    page = draw_page(4)
    part = ("part.png", encode(np.ascontiguousarray(page[6:56, 5:45])))
    answers = post_ok(client, picture.part[1], part, crop=["5,6,40,50", ""])
    assert [answer["matched"] for answer in answers] == [1, 1]
    assert [(answer["width"], answer["height"]) for answer in answers] == [(40, 50)] * 2


def test_equal_requests_are_computed_once(collection_folder, picture, drawings, monkeypatch):
    with start_client(collection_folder, requests_per_minute=0) as client:
        network = client.app.state.service.collection.embedder.local_features
        sizes = []
        compute = network.compute
        monkeypatch.setattr(network, "compute", lambda levels: sizes.append(len(levels)) or compute(levels))
        answers = [post_ok(client, picture.part[1], ids=drawings[1]["id"]) for _ in range(2)]
        assert answers[0] == answers[1]
        assert sizes == [1, 1]
        with monkeypatch.context() as patch:
            patch.setattr(comparison, "map_similarity", None)  # the answer is known
            assert post_ok(client, picture.part[1], ids=drawings[1]["id"]) == answers[0]
        renamed = ("other.png", picture.content)
        assert post_ok(client, renamed, ids=drawings[1]["id"])[0]["name"] == "other.png"
        post_ok(client, picture.part[1], ids=drawings[2]["id"])
        assert sizes == [1, 1, 1]


def test_changed_file_is_compared_again(client, picture, drawings, collection_folder):
    path = collection_folder.parent / "drawings" / drawings[1]["path"].removeprefix("drawings/")
    content, before = path.read_bytes(), path.stat()
    first = post_ok(client, picture.part[1], ids=drawings[1]["id"])
    path.write_bytes(picture.content)
    try:
        assert [part["matched"] for part in post_ok(client, picture.part[1], ids=drawings[1]["id"])] == [1, 1]
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert post_ok(client, picture.part[1], ids=drawings[1]["id"]) == first
    assert first[0]["matched"] < 1


def test_few_pictures_are_compared_at_once(client, monkeypatch):
    service = client.app.state.service
    network = service.collection.embedder.local_features
    compute, sizes = network.compute, []
    monkeypatch.setattr(network, "compute", lambda levels: sizes.append(len(levels)) or compute(levels))
    level = torch.zeros(3 if service.collection.embedder.has_color else 1, *network.size_px, dtype=torch.uint8)

    async def compute_at_once():
        return await asyncio.gather(*(service._compute_local([level]) for _ in range(6)))

    assert len(client.portal.call(compute_at_once)) == 6
    assert sum(sizes) == 6
    assert max(sizes) == 2


def test_known_features_do_not_keep_their_batch(client, monkeypatch):
    network = client.app.state.service.collection.embedder.local_features
    compute, stored = network.compute, []
    monkeypatch.setattr(network, "compute", lambda levels: compute(levels).repeat(2, 1, 1, 1)[: len(levels)])
    monkeypatch.setattr(comparison.BoundedCache, "put", lambda _, key, value, *, num_bytes: stored.append(value))
    post_ok(client, ("a.png", encode(draw_page(80))), ("b.png", encode(draw_page(81))))
    for _, features in stored[:2]:
        assert features.untyped_storage().nbytes() == features.numel() * features.element_size()


def test_faults(client, picture, drawings, collection_folder):
    part = picture.part

    def post(*files, **fields):
        return client.post(COMPARE, files=files, data=fields)

    for response, text in (
        (client.post(COMPARE, data={"ids": drawings[0]["id"]}), "0 pictures and 1 id; send two drawings to compare"),
        (post(part, part, part), "3 pictures and 0 ids"),
        (post(part, ids="x"), "there is no drawing with the id 'x'"),
        (post(part, part, crop="900,0,5,5"), "the crop is outside of the picture"),
        (post(part, ("pictures", ("a.png", b"text"))), "not an image"),
    ):
        assert text in get_error(response, 400, "invalid_input")
    assert "colour" in get_error(post(part, part, colour="1"), 422, "invalid_request")
    get_error(post(*[part] * 8), 413, "too_large")
    path = collection_folder.parent / "drawings" / "D0/0.png"
    (gone,) = [drawing["id"] for drawing in drawings if drawing["path"].endswith("D0/0.png")]
    moved = path.rename(path.with_name("moved"))
    try:
        message = get_error(post(part, ids=gone), 404, "not_found")
    finally:
        moved.rename(path)
    assert message == f"the file of the drawing {gone!r} cannot be read, so it cannot be compared"
