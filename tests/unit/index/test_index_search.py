"""Search in collections of 10,000 clustered features equals the exact reference, with and without filters."""

import dataclasses
import functools
import re

import numpy as np
import pytest
import torch
from index_pages import check_several_values

import fastreid.index
from fastreid.evaluation import nearest
from fastreid.evaluation.calibration import Calibration, write_calibration
from fastreid.evaluation.postprocess.query_expansion import expand
from fastreid.index import IndexSettings, ModelIdentity, Refinement
from fastreid.index.backends.probes import Probes, describe_probes, measure_probes
from fastreid.index.manifest import write_manifest
from fastreid.utils.errors import InputError, NumericalError, WeightsError

pytest.importorskip("lancedb", reason="the extra `search` is not installed")

MODEL = ModelIdentity("random features", "0" * 64, {"INPUT.SIZE_TEST": [64, 64]})
NUM, DIM, NUM_QUERIES, K = 10_000, 32, 8, 10
WHERE = "locarno STARTSWITH 0 AND year IN 2004..2015"


@functools.cache
def features():
    """Return 10,000 features in 1,000 clusters, and queries near ten of these."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(NUM // 10, DIM, generator=generator)
    rows = centers.repeat_interleave(10, dim=0) + 0.4 * torch.randn(NUM, DIM, generator=generator)
    return rows, centers[:NUM_QUERIES] + 0.4 * torch.randn(NUM_QUERIES, DIM, generator=generator)


def make_rows(num=NUM):
    return [
        {"id": f"{row:05}", "patent": f"D{row // 10}", "locarno": f"{row % 30:02}-01", "year": 2000 + row % 20}
        for row in range(num)
    ]


def build(folder, num_additions=2, **settings):
    collection = fastreid.index.create(folder, model=MODEL, dim=DIM, settings=IndexSettings(**settings))
    rows = make_rows()
    for start in range(0, NUM, NUM // num_additions):  # each addition is a file of the table
        part = slice(start, start + NUM // num_additions)
        collection.add_features(features()[0][part], rows[part], model=MODEL)
    return collection


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return build(tmp_path_factory.mktemp("exact") / "collection")


def expected_ids(selected):
    """Return the ids of the reference for each query, among some rows."""
    rows = features()[0]
    ranking = nearest(features()[1], rows[selected], K)
    return [[f"{selected[row]:05}" for row in ranks] for ranks in ranking.indices.tolist()], ranking.distances


def check_equals_reference(collection):
    for where, selected in (
        ("", list(range(NUM))),
        (WHERE, [row for row in range(NUM) if row % 30 < 10 and 2004 <= 2000 + row % 20 <= 2015]),
        ("year = 2003 AND locarno = 03-01", list(range(3, NUM, 60))),
    ):
        assert collection.count(where) == len(selected)
        ids, distances = expected_ids(selected)
        for query, names, values in zip(features()[1], ids, distances.tolist(), strict=True):
            hits = collection.search_features(query[None], model=MODEL, k=K, where=where)
            assert [hit.id for hit in hits] == names
            assert [hit.distance for hit in hits] == values


def test_exact_search_equals_the_reference(collection):
    check_equals_reference(collection)
    other = fastreid.index.open(collection.folder)  # another process
    check_equals_reference(other)


def test_search_equals_the_reference_after_compaction_and_removal(tmp_path):
    collection = build(tmp_path / "collection")
    collection.compact()
    check_equals_reference(collection)
    best = collection.search_features(features()[1][:1], model=MODEL, k=1)[0]
    reader = fastreid.index.open(collection.folder)
    assert reader.search_features(features()[1][:1], model=MODEL, k=1)[0] == best
    assert collection.remove(ids=[best.id]) == 1
    assert reader.search_features(features()[1][:1], model=MODEL, k=1)[0].id != best.id
    assert reader.count() == NUM - 1


def test_flat_search_of_a_large_collection_equals_the_reference(tmp_path):
    """Above `exact_max_rows` without an index, the table itself is searched."""
    collection = build(tmp_path / "collection", exact_max_rows=NUM)
    settings = IndexSettings(exact_max_rows=500)
    write_manifest(collection.folder, dataclasses.replace(collection.manifest, settings=settings))
    collection = fastreid.index.open(collection.folder)
    assert collection.info()["search"] == "exact, without an index"
    check_equals_reference(collection)
    groups = collection.search_features(features()[1][:1], model=MODEL, k=30, group="patent")
    assert len({hit.patent for hit in groups}) == 30


def test_index_finds_most_of_the_reference(tmp_path):
    collection = build(tmp_path / "collection", num_additions=1, exact_max_rows=1000, num_partitions=20)
    assert re.fullmatch(
        r"IVF-RQ index of \d+ drawings, measured recall [01].\d+ with \d+ probes", collection.info()["search"]
    )
    ids, _ = expected_ids(list(range(NUM)))
    found = [{hit.id for hit in collection.search_features(query[None], model=MODEL, k=K)} for query in features()[1]]
    assert np.mean([len(names & set(expected)) / K for names, expected in zip(found, ids)]) >= 0.8
    few = collection.search_features(features()[1][:1], model=MODEL, k=K, where="year = 2003 AND locarno = 03-01")
    assert [hit.id for hit in few] == expected_ids(list(range(3, NUM, 60)))[0][0]


def test_number_of_probes_is_the_smallest_with_enough_recall():
    queries = [torch.ones(2), torch.zeros(2)]
    found = {1: 1, 2: 5, 5: 8, 10: 10}  # of ten, by the number of probes
    probes = measure_probes(
        queries,
        100,
        find_exact=lambda query: set(map(str, range(10))),
        find_approximate=lambda query, num: set(map(str, range(found.get(num, 9)))),
    )
    assert (probes.num_probes, probes.recall) == (10, 1.0)
    nothing = measure_probes(queries, 3, find_exact=lambda query: {"a"}, find_approximate=lambda query, num: set())
    assert (nothing.num_probes, nothing.recall) == (3, 0.0)


def test_group_returns_the_best_drawing_of_each_patent(collection):
    query = features()[1][:1]
    ranking = nearest(query, features()[0], NUM).indices[0].tolist()
    best = list({row // 10: row for row in reversed(ranking)}.items())
    expected = sorted((row for _, row in best), key=ranking.index)[:K]
    hits = collection.search_features(query, model=MODEL, k=K, group="patent")
    assert [hit.id for hit in hits] == [f"{row:05}" for row in expected]
    hits = collection.search_features(query, model=MODEL, k=K, where=WHERE, group="year")
    assert len({hit.metadata["year"] for hit in hits}) == K


def test_several_ids_are_one_query(collection):
    ids = ["00000", "00001", "05000"]
    rows = torch.nn.functional.normalize(features()[0][[int(name) for name in ids]].double()).mean(dim=0)[None]
    others = [row for row in range(NUM) if f"{row:05}" not in ids]
    expected = nearest(rows.float(), features()[0][others], K).indices[0].tolist()
    assert [hit.id for hit in collection.search(ids=ids, k=K)] == [f"{others[row]:05}" for row in expected]
    best = collection.search(ids=ids, k=K, combine="best")
    assert {hit.id[:4] for hit in best[:3]} <= {"0000", "0500"}
    assert len({hit.id for hit in best}) == K
    excluded = collection.search(ids=ids, k=K, exclude_patents=["D0", "D500"], min_score=0.2)
    assert {hit.patent for hit in excluded} & {"D0", "D500"} == set()
    assert all(hit.score >= 0.2 for hit in excluded)


def test_ties_are_ordered_by_id_and_found_completely(tmp_path):
    collection = fastreid.index.create(tmp_path / "collection", model=MODEL, dim=DIM)
    same = torch.ones(50, DIM)
    collection.add_features(same, [{"id": f"{row:02}"} for row in reversed(range(50))], model=MODEL)
    hits = collection.search_features(same[:1] * 3, model=MODEL, k=3)
    assert [(hit.id, hit.distance, hit.score, hit.patent) for hit in hits] == [
        (f"{row:02}", 0.0, 1.0, None) for row in range(3)
    ]
    assert len(collection.search_features(same[:1], model=MODEL, k=99, group="patent")) == 50  # each its own group
    assert collection.search_features(same[:1], model=MODEL, k=3, where="patent = x") == []


def test_features_are_replaced_by_id_and_checked(tmp_path):
    collection = fastreid.index.create(tmp_path / "collection", model=MODEL, dim=DIM)
    rows = torch.eye(DIM)[:3]
    collection.add_features(rows, make_rows(3), model=MODEL)
    collection.add_features(rows[[1]], [{"id": "00000", "title": "new", "weight": 2.5}], model=MODEL)
    assert collection.count() == 3
    assert collection.get(["00000"])[0]["weight"] == 2.5
    assert collection.get(["00000"])[0]["patent"] is None
    assert {hit.id for hit in collection.search_features(rows[[1]], model=MODEL, k=2)} == {"00000", "00001"}
    for bad, error in ((rows * 0, NumericalError), (rows * torch.nan, NumericalError), (rows[:, :8], InputError)):
        with pytest.raises(error):
            collection.add_features(bad, make_rows(3), model=MODEL)
    for bad in ([{"id": "a"}, {"id": "a"}], [{"id": ""}, {"id": "b"}], [{"id": "a", "year": "x"}, {"id": "b"}]):
        with pytest.raises(InputError, match=r"row \d: "):
            collection.add_features(rows[:2], bad, model=MODEL)
    assert collection.count() == 3
    assert collection.check().faults == []


def test_other_model_is_rejected(collection):
    other = ModelIdentity("other", "1" * 64, MODEL.settings)
    with pytest.raises(WeightsError, match=r"of the model random features \(sha256 0{12}\), not of other"):
        collection.search_features(features()[1], model=other)
    resized = ModelIdentity("resized", MODEL.weights_sha256, {"INPUT.SIZE_TEST": [96, 96]})
    with pytest.raises(WeightsError, match=r"INPUT.SIZE_TEST was \[64, 64\] and is \[96, 96\]"):
        collection.add_features(features()[1], make_rows(NUM_QUERIES), model=resized)


def test_invalid_arguments(collection, tmp_path):
    search = functools.partial(collection.search_features, features()[1][:1], model=MODEL)
    for options, message in (
        ({"k": 0}, "k is 0"),
        ({"group": "patnt"}, "Did you mean 'patent'"),
        ({"where": "yeer = 1"}, "Did you mean 'year'"),
    ):
        with pytest.raises(InputError, match=message):
            search(**options)
    with pytest.raises(InputError, match="no drawing with the id 'x'"):
        collection.search(ids=["x"])
    with pytest.raises(InputError, match="no query is given"):
        collection.search()
    with pytest.raises(InputError, match="is already a collection"):
        fastreid.index.create(collection.folder, model=MODEL, dim=DIM)
    with pytest.raises(InputError, match="does not divide the dimension 32"):
        fastreid.index.create(tmp_path / "a", model=MODEL, dim=DIM, settings=IndexSettings(num_sub_vectors=5))
    with pytest.raises(InputError, match="num_probes is -1"):
        IndexSettings(num_probes=-1)
    with pytest.raises(InputError, match="is no address of a collection"):
        fastreid.index.open("http://localhost:19530")


def test_groups_of_a_column_that_results_do_not_show(tmp_path):
    collection = fastreid.index.create(tmp_path / "c", model=MODEL, dim=DIM)
    collection.add_features(features()[0][:30], make_rows(30), model=MODEL)
    assert len(collection.search_features(features()[1][:1], model=MODEL, k=30, group="added")) == 1


def test_probabilities_follow_the_number_of_patents(tmp_path, monkeypatch):
    monkeypatch.setattr("fastreid.index.probability.find_model_directory", lambda name: tmp_path)
    write_calibration(tmp_path, Calibration(8.0, -4.0, 50, 500, weights_sha256=MODEL.weights_sha256))
    collection = fastreid.index.create(tmp_path / "c", model=MODEL, dim=DIM)

    def find_first(patents):
        rows = [{"id": str(number), "patent": patent} for number, patent in enumerate(patents)]
        fastreid.index.open(tmp_path / "c").add_features(features()[0][: len(rows)], rows, model=MODEL)
        return collection.search_features(features()[0][:1], model=MODEL, k=1)[0].probability

    for num_patents, patents in ((3, "ABC"), (2, "AAB"), (3, ["A", None, None])):
        odds = np.exp(4) / (num_patents - 1)
        assert find_first(patents) == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert find_first("AAA") is None


@pytest.mark.parametrize("column", ["locarno", "classes"])
def test_filters_on_several_values(tmp_path, column):
    check_several_values(fastreid.index.create(tmp_path / "c", model=MODEL, dim=DIM), MODEL, column)


def test_smallest_score_holds_for_each_picture(tmp_path):
    """A drawing with a low score for its best picture does not take the place of others."""
    collection = fastreid.index.create(tmp_path / "c", model=MODEL, dim=3)
    rows = torch.tensor([[1.0, 0.1, 0.0], [1.0, 0.2, 0.0], [0.0, 0.3, 1.0], [0.0, 0.7, 1.0]])
    collection.add_features(rows, [{"id": name} for name in "abcd"], model=MODEL)
    queries = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.3]])

    def search(**options):
        return [hit.id for hit in collection.search(features=queries, combine="best", **options)]

    assert search(k=2) == ["a", "d"]
    assert search(k=2, min_score=0.9) == ["a", "b"]
    assert search(k=9, min_score=0.7) == ["a", "d", "b"]
    assert search(k=9, min_score=0.999) == []


def test_refinement_orders_only_the_best_results(collection):
    query = features()[1][:1]
    plain = collection.search(features=query, k=60)
    assert len({tuple(hit.id for hit in plain)}) == 1
    for options in ({"expand": True}, {"rerank": "k-reciprocal"}, {"expand": True, "rerank": "superglobal"}):
        refined = collection.search(features=query, k=60, refinement=Refinement(**options, num_candidates=40))
        assert {hit.id for hit in refined[:40]} == {hit.id for hit in plain[:40]}
        assert refined[40:] == plain[40:]
        assert [hit.id for hit in refined] != [hit.id for hit in plain]
        assert sorted(refined, key=lambda hit: hit.distance) == plain
        groups = collection.search(features=query, k=30, group="patent", refinement=Refinement(**options))
        assert len({hit.patent for hit in groups}) == 30
        good = collection.search(features=query, k=25, min_score=plain[24].score, refinement=Refinement(**options))
        assert {hit.id for hit in good} == {hit.id for hit in plain[:25]}
    rows = features()[0][[int(hit.id) for hit in plain[:40]]]
    units = torch.nn.functional.normalize(rows)
    expanded, _ = expand(torch.nn.functional.normalize(query), units, k=2, alpha=3, gallery_too=False)
    order = nearest(expanded, units, 40).indices[0].tolist()
    refined = collection.search(features=query, k=40, refinement=Refinement(expand=True, num_candidates=40))
    assert refined == [plain[row] for row in order]
    few = collection.search(features=query, k=5, where="id = 00000", refinement=Refinement(expand=True))
    assert [hit.id for hit in few] == ["00000"]
    with pytest.raises(InputError, match="Did you mean 'superglobal'"):
        Refinement(rerank="superglobl")


def test_patents_and_families_are_excluded(tmp_path):
    collection = fastreid.index.create(tmp_path / "c", model=MODEL, dim=DIM)
    families = ["1|3", "1", "2", None, None, None]
    rows = [{"id": name, "patent": patent} for name, patent in zip("abcdef", "AABCCD", strict=True)]
    collection.add_features(features()[0][:6], rows, model=MODEL)
    with pytest.raises(InputError, match="has no column family"):
        collection.search(ids=["a"], exclude_families=["1"])
    assert {hit.id for hit in collection.search(ids=["d"], exclude_own=True)} == set("abcf")
    rows = [row | {"family": family} for row, family in zip(rows, families, strict=True)]
    rows[2]["patent"], rows[1]["patent"] = "A", "B"
    collection.add_features(features()[0][:6], rows, model=MODEL)
    assert {hit.id for hit in collection.search(ids=["a"], exclude_own=True)} == set("def")
    assert {hit.id for hit in collection.search(ids=["d"], exclude_families=["2"])} == set("abef")
    assert {hit.id for hit in collection.search(ids=["d"], exclude_own=True)} == set("abcf")
    hits = collection.search(ids=["d"], group="family")
    assert sorted(hit.metadata.get("family", "") for hit in hits) == ["", "", "1", "1|3", "2"]
    assert len(collection.search(ids=["d"], group="id")) == 5
    with pytest.raises(InputError, match="give their ids"):
        collection.search(features=features()[1][:1], exclude_own=True)


def test_number_of_probes_of_the_settings_is_shown():
    probes = Probes(4, 100, 0.962)
    assert describe_probes(probes, 0) == describe_probes(probes, 4) == "measured recall 0.962 with 4 probes"
    assert describe_probes(probes, 9) == "9 probes as set by --num-probes; measured recall 0.962 with 4"
