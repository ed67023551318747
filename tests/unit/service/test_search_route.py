"""POST /api/v1/search returns what `Collection.search` does."""

import io

import numpy as np
import pytest
from index_pages import draw_page
from PIL import Image
from service_requests import encode, get_error

import fastreid.index
from fastreid.index.crop import parse_crop

SEARCH = "/api/v1/search"


@pytest.fixture(scope="module")
def collection(collection_folder):
    return fastreid.index.open(collection_folder)


def post(client, *pictures, **fields):
    return client.post(SEARCH, files=[("pictures", part) for part in pictures], data=fields)


def post_ok(client, *pictures, **fields):
    response = post(client, *pictures, **fields)
    assert response.status_code == 200, response.text
    return response.json()


def check_hits(answer, hits):
    assert [result["id"] for result in answer["results"]] == [hit.id for hit in hits]
    scores = [result["score"] for result in answer["results"]]
    np.testing.assert_allclose(scores, [hit.score for hit in hits], atol=2e-6)
    assert [result["metadata"] for result in answer["results"]] == [hit.to_json()["metadata"] for hit in hits]


def test_upload_finds_the_same_drawing(client, collection, picture):
    answer = post_ok(client, picture.part[1])
    assert (answer["total"], answer["results"][0]["score"], answer["results"][0]["rank"]) == (9, 1.0, 1)
    assert answer["results"][0]["path"] == "drawings/D1/4.png"  # from the folder of its source
    assert (answer["query"]["version"], answer["query"]["model"]) == (collection.version, "model")
    check_hits(answer, collection.search(draw_page(4)))
    assert answer["query"]["pictures"] == [{"name": "query.png", "page": 1, "crop": ""}]
    assert answer["query"]["weights_sha256"] == collection.manifest.model.weights_sha256


def test_several_pictures_and_ids_are_one_query(client, collection, tmp_path):
    name = collection.search(draw_page(0), k=1)[0].id
    paths = [tmp_path / "1.png", tmp_path / "2.png"]
    for seed, path in zip((4, 7), paths):
        path.write_bytes(encode(draw_page(seed)))
    parts = [(path.name, path.read_bytes()) for path in paths]
    for combine in ("mean", "best"):
        answer = post_ok(client, *parts, ids=name, combine=combine, k=5)
        check_hits(answer, collection.search([str(path) for path in paths], ids=[name], combine=combine, k=5))
    crop = "10%,0%,60%,80%"
    answer = post_ok(client, *parts, crop=crop)
    check_hits(answer, collection.search([str(path) for path in paths], crop=parse_crop(crop)))
    assert [picture["crop"] for picture in answer["query"]["pictures"]] == [crop, crop]


def test_each_picture_has_its_own_crop(client, collection):
    pages = [draw_page(4), draw_page(7)]
    answer = post_ok(client, *[("a.png", encode(page)) for page in pages], crop=["5,6,40,50", ""])
    check_hits(answer, collection.search([pages[0][6:56, 5:45], pages[1]]))


def test_page_of_a_tiff(client, collection):
    file = io.BytesIO()
    first, second = (Image.fromarray(draw_page(seed)) for seed in (0, 4))
    first.save(file, "TIFF", save_all=True, append_images=[second])
    answer = post_ok(client, ("scan.tif", file.getvalue()), page=2)
    check_hits(answer, collection.search(draw_page(4)))
    message = get_error(post(client, ("scan#page=2.tif", file.getvalue()), page=3), 400, "invalid_input")
    assert message == "scan_page=2.tif: has no page 3; it has 2"


def test_filter_group_and_other_options(client, collection, picture):
    options = {"group": "patent", "exclude_patents": ["D1"], "min_score": 0.1, "k": 2}
    answer = post_ok(client, picture.part[1], filter="locarno STARTSWITH 06", **options)
    check_hits(answer, collection.search(draw_page(4), where="locarno STARTSWITH 06", **options))
    assert {result["patent"] for result in answer["results"]} == {"D0", "D2"}


def test_own_patents_and_the_order_of_results(client, collection, picture):
    name = collection.search(draw_page(4), k=1)[0].id
    answer = post_ok(client, ids=name, exclude_own="true", group="patent")
    hits = collection.search(ids=[name], exclude_own=True, group="patent")
    check_hits(answer, hits)
    assert "D1" not in {result["patent"] for result in answer["results"]}
    views = {result["patent"]: result["other_views"] for result in answer["results"]}
    assert views == {hit.patent: collection.count(f"patent = {hit.patent}") - 1 for hit in hits}
    answer = post_ok(client, picture.part[1], expand="true", rerank="superglobal")
    refinement = fastreid.index.Refinement(expand=True, rerank="superglobal")
    check_hits(answer, collection.search(draw_page(4), refinement=refinement))
    assert (answer["query"]["expand"], answer["query"]["rerank"]) == (True, "superglobal")
    get_error(post(client, ids=name, rerank="best"), 422, "invalid_request")


def test_more_like_this(client, collection):
    best, second = collection.search(draw_page(4), k=2)
    answer = post_ok(client, ids=best.id)
    assert best.id not in {result["id"] for result in answer["results"]}
    check_hits(answer, collection.search(ids=[best.id]))
    assert answer["results"][0]["thumbnail"] == f"api/v1/drawings/{answer['results'][0]['id']}/thumbnail"
    twice = post_ok(client, ids=[best.id, second.id, best.id])
    check_hits(twice, collection.search(ids=[best.id, second.id]))


def test_paging(client, picture):
    whole = post_ok(client, picture.part[1])["results"]
    answer = post_ok(client, picture.part[1], offset=3, limit=4)
    assert (answer["total"], answer["offset"], answer["limit"]) == (9, 3, 4)
    assert answer["results"] == whole[3:7]
    assert post_ok(client, picture.part[1], offset=50)["results"] == []


def test_other_drawings_of_a_group(client, collection, picture):
    options = {"filter": "year >= 2001", "exclude_patents": "D2"}
    answer = post_ok(client, picture.part[1], group="patent", **options)
    best = {result["patent"]: result for result in answer["results"]}
    assert {patent: result["other_views"] for patent, result in best.items()} == {"D0": 2, "D1": 2}
    inside = post_ok(client, picture.part[1], group="patent", within="D0", **options)
    check_hits(inside, collection.search(draw_page(4), where="patent = D0"))
    assert inside["results"][0]["score"] == best["D0"]["score"]
    assert (inside["total"], inside["query"]["within"], inside["results"][0]["other_views"]) == (3, "D0", None)
    own = inside["results"][0]["id"]
    answer = post_ok(client, ids=own, group="patent")
    assert {result["patent"]: result["other_views"] for result in answer["results"]}["D0"] == 1  # without the query
    answer = post_ok(client, picture.part[1], group="year", k=1)
    assert [result["other_views"] for result in answer["results"]] == [5]
    assert post_ok(client, picture.part[1], group="year", within="2002")["total"] == 6
    answer = post_ok(client, picture.part[1], group="applicant")  # a column without values
    assert [result["other_views"] for result in answer["results"]] == [0] * 9
    for fields, message in (
        ({"within": "D0"}, "within needs group"),
        ({"within": "x", "group": "year"}, "'x' is not an integer"),
        ({"within": "x", "group": "patnt"}, "Did you mean 'patent'?"),
        ({"within": "D0", "group": "patent", "filter": "patnt = 1"}, "filter 'patnt = 1', position 1:"),
    ):
        assert message in get_error(post(client, picture.part[1], **fields), 400, "invalid_input")


def test_other_drawings_have_the_smallest_score(client, collection, picture):
    name = collection.search(draw_page(0), k=1)[0].id
    for fields, query in (
        ({}, {"pictures": draw_page(4)}),
        ({"ids": name}, {"pictures": draw_page(4), "ids": [name]}),
        ({"ids": name, "combine": "best"}, {"pictures": draw_page(4), "ids": [name], "combine": "best"}),
    ):
        every = collection.search(**query)
        for least in (every[1].score, every[len(every) // 2].score, every[-2].score):
            answer = post_ok(client, picture.part[1], group="patent", min_score=least, **fields)
            found = collection.search(**query, min_score=least)
            expected = {patent: sum(hit.patent == patent for hit in found) - 1 for patent in ("D0", "D1", "D2")}
            views = {result["patent"]: result["other_views"] for result in answer["results"]}
            assert views == {patent: num for patent, num in expected.items() if num >= 0}


def test_paths_of_the_server_are_not_compared(client, picture, collection_folder):
    folder = str(collection_folder.parent)
    for fields in (
        {"filter": f"patent = D1 AND NOT (year = 1 OR path STARTSWITH '{folder}')"},
        {"filter": "source IS NOT NULL"},
        {"group": "path", "within": f"{folder}/drawings/D1/4.png"},
    ):
        message = get_error(post(client, picture.part[1], **fields), 400, "invalid_input")
        assert "has paths of the server, which requests cannot compare" in message
    facets = client.get("/api/v1/facets", params={"column": "patent", "filter": f"path STARTSWITH '{folder}'"})
    assert "the column path has paths" in get_error(facets, 400, "invalid_input")
    assert post_ok(client, picture.part[1], group="path")["total"] == 9


def test_equal_pictures_are_computed_once(client, picture, monkeypatch):
    embedder = client.app.state.service.collection.embedder
    sizes, compute = [], embedder.embed_prepared
    monkeypatch.setattr(embedder, "embed_prepared", lambda pictures: sizes.append(len(pictures)) or compute(pictures))
    page = encode(draw_page(50))
    pages = [post_ok(client, (name, page), offset=offset, limit=3) for name, offset in (("a.png", 0), ("b.png", 3))]
    assert sizes == [1]
    whole = post_ok(client, ("a.png", page), ("b.png", page), picture.part[1], combine="best")
    assert sum(sizes) <= 2
    assert len(whole["query"]["pictures"]) == 3
    assert pages[0]["results"] + pages[1]["results"] == post_ok(client, ("a.png", page))["results"][:6]
    post_ok(client, ("a.png", page), crop="0%,0%,50%,100%")  # another picture
    assert sizes[-1] == 1


def test_messages_do_not_list_internal_columns(client, picture):
    for fields in ({"filter": "sha265 = 1"}, {"group": "sha265"}):
        message = get_error(post(client, picture.part[1], **fields), 400, "invalid_input")
        assert "locarno" in message
        assert not any(name in message for name in ("sha256", "mtime_ns", "size_bytes", "digest", "source"))


def test_faults_are_those_of_the_library(client, picture):
    part = picture.part[1]
    for fields, message in (
        ({"filter": "patnt = D1"}, "position 1: the column 'patnt' is unknown. Did you mean 'patent'?"),
        ({"group": "patnt"}, "Did you mean 'patent'?"),
        ({"crop": "900,0,5,5"}, "query.png: the crop is outside of the picture, which has 64 x 64 px"),
        ({"crop": ["1,1,5,5"] * 3}, "3 values of crop for 1 picture; give one for all, or one for each"),
        ({"page": "0"}, "page is 0; pages count from 1"),
        ({"ids": "x"}, "patents.index: there is no drawing with the id 'x'"),
    ):
        assert message in get_error(post(client, part, **fields), 400, "invalid_input")
    assert "not an image" in get_error(post(client, ("../x.png", b"text")), 400, "invalid_input")
    for fields, message in (
        ({"k": 1001}, "k: 1001 is more than the 1000 allowed"),
        ({"k": "x"}, "k: 'x' is not allowed; give an integer"),
        ({"k": "0"}, "k: '0' is too small; allowed is at least 1"),
        ({"min_score": "inf"}, "min_score: 'inf' is not allowed; give a finite number"),
        ({"combine": "men"}, "combine: 'men' is unknown; allowed is 'mean' or 'best'"),
        ({"filter": "x" * 30_000}, "filter: a text of 30,000 characters is too long; allowed are 20,000 characters"),
        ({"exclude_patents": ["x"] * 101}, "a list of 101 values is too long; allowed are 100 values"),
        ({"grup": "1"}, "the field 'grup' is unknown. Did you mean 'group'? Available: combine, crop"),
    ):
        assert message in get_error(post(client, part, **fields), 422, "invalid_request")
    assert get_error(client.post(SEARCH, data={"pictures": "x"}), 422, "invalid_request").endswith("give a file")
    assert "no query is given" in get_error(client.post(SEARCH, data={"k": 3}), 400, "invalid_input")
