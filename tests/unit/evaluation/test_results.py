import csv
import dataclasses
import io
import sys
import zipfile

import numpy as np
import pytest
import torch
from pyarrow import parquet

from fastreid.evaluation import GroundTruth, ScoreSettings, format_scores, write_results
from fastreid.evaluation.reporting.results import read_per_query_table, write_per_query_table
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.evaluation.scoring.score_queries import score_distance_blocks
from fastreid.structures import Ranking
from fastreid.utils.errors import EnvironmentSetupError, InputError


def ranking(rows=((3, 1, 0), (2, 0, 1))):
    rows = torch.tensor(rows)
    return Ranking(rows, torch.arange(rows.shape[1], dtype=torch.float32).expand(rows.shape))


def test_result_npy_is_int64_and_the_zip_contains_it(tmp_path):
    write_results(ranking(), tmp_path / "new", num_gallery=4)
    rows = np.load(tmp_path / "new" / "result.npy")
    assert rows.dtype == np.int64
    assert rows.tolist() == [[3, 1, 0], [2, 0, 1]]
    with zipfile.ZipFile(tmp_path / "new" / "result.zip") as archive:
        assert archive.namelist() == ["result.npy"]
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)  # constant, not the current time
        np.testing.assert_array_equal(np.load(io.BytesIO(archive.read("result.npy"))), rows)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["result.npy", "result.zip"]


def test_equal_rankings_give_equal_files(tmp_path):
    for folder in ("a", "b"):
        write_results(ranking(), tmp_path / folder, num_gallery=4)
    for name in ("result.npy", "result.zip"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("rows", "message"),
    [(((4, 0),), "row 4, but the gallery has 4"), (((1, 1),), "twice for query 0"), ((), "empty")],
)
def test_invalid_ranking_raises_and_writes_nothing(tmp_path, rows, message):
    invalid = ranking(rows) if rows else Ranking(torch.empty(0, 10, dtype=torch.int64), torch.empty(0, 10))
    with pytest.raises(InputError, match=message):
        write_results(invalid, tmp_path / "new", num_gallery=4)
    assert not (tmp_path / "new").exists()


def test_scores_have_two_decimals_and_counts_are_last():
    lines = format_scores({"num_queries": 3, "mAP": 12.3456}).splitlines()
    assert [line.split() for line in lines[2:]] == [["mAP", "12.35"], ["num_queries", "3"]]


def test_interval_is_shown_for_the_last_step():
    steps = [("search", {"mAP": 10.0, "mINP": 1.0}), ("+ AQE", {"mAP": 20.0})]
    head, _, *lines = format_scores(steps, {"mAP": (15.04, 26.06)}).splitlines()
    assert head.split() == ["score", "search", "+", "AQE", "95", "%"]
    assert [line.split() for line in lines] == [["mAP", "10.00", "20.00", "[15.0,", "26.1]"], ["mINP", "1.00"]]


def test_table_of_four_steps_is_at_most_100_characters_wide():
    distances, ids = torch.zeros(2, 2), ["a", "b"]
    scores = score_distance_blocks([(torch.arange(2), distances)], GroundTruth(ids, ids), ScoreSettings(roc=True))
    steps = [(name, scores.means()) for name in ("search", "WHITEN", "AQE", "RERANK")]
    assert max(map(len, format_scores(steps, scores.intervals()).splitlines())) <= 100


def query_scores():
    values = {"mAP": np.array([50.0, np.nan, 100.0])}
    return QueryScores(values, np.array([0, 1, 0]), np.array([2, 0, 1]), np.array([2.0, np.nan, 1.0]), {})


NAMES, PATENTS = ["a/1.png", "b, \u00fc.png", "a/2.png"], ["D1", "D2", "D1"]


def test_per_query_table_has_a_row_per_query(tmp_path):
    write_per_query_table(tmp_path / "queries.csv", query_scores(), names=NAMES, patents=PATENTS)
    with open(tmp_path / "queries.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == NAMES
    assert lines[0] == {"name": "a/1.png", "patent": "D1", "matches": "2", "first_place": "2", "mAP": "50.0"}
    assert (lines[1]["matches"], lines[1]["first_place"], lines[1]["mAP"]) == ("0", "", "")


def test_per_query_table_round_trip(tmp_path):
    names, scores = ["a\udcff.png", *NAMES[1:]], dataclasses.replace(query_scores(), first_ranks=[np.inf, np.nan, 1])
    write_per_query_table(tmp_path / "queries.csv", scores, names=names, patents=PATENTS)
    read = read_per_query_table(tmp_path / "queries.csv")
    for name in ("patents", "num_matches", "first_ranks"):
        np.testing.assert_array_equal(getattr(read, name), getattr(scores, name))
    np.testing.assert_array_equal(read.values["mAP"], scores.values["mAP"])


@pytest.mark.parametrize("text", [None, "", "name,patent,matches,first_place,mAP\n", "a,b\n1,2\n", "\0"])
def test_invalid_per_query_table_raises(text, tmp_path):
    path = tmp_path / "queries.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(
        InputError,
        match=r"queries\.csv: not a table of query scores .*delete it and write it again with TEST\.SCORE\.",
    ):
        read_per_query_table(path)


def test_per_query_table_as_parquet(tmp_path):
    write_per_query_table(tmp_path / "queries.parquet", query_scores(), names=NAMES, patents=PATENTS)
    table = parquet.read_table(tmp_path / "queries.parquet").to_pydict()
    assert table["name"] == NAMES
    assert table["mAP"] == [50.0, None, 100.0]
    assert table["first_place"] == [2, None, 1]


def test_names_with_undecodable_bytes_are_written(tmp_path):
    names = ["a\udcff.png", *NAMES[1:]]
    write_per_query_table(tmp_path / "queries.csv", query_scores(), names=names, patents=PATENTS)
    assert b"\na\xff.png," in (tmp_path / "queries.csv").read_bytes()
    write_per_query_table(tmp_path / "queries.parquet", query_scores(), names=names, patents=PATENTS)
    assert parquet.read_table(tmp_path / "queries.parquet")["name"].to_pylist() == ["a\\xff.png", *NAMES[1:]]


def test_invalid_table_arguments_raise_and_write_nothing(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"a table must end in \.csv or \.parquet"):
        write_per_query_table(tmp_path / "queries.txt", query_scores(), names=NAMES, patents=PATENTS)
    with pytest.raises(InputError, match="2 names and 3 patents do not match 3 queries"):
        write_per_query_table(tmp_path / "queries.csv", query_scores(), names=NAMES[:2], patents=PATENTS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentSetupError, match=r"pip install pyarrow, or name it \.csv"):
        write_per_query_table(tmp_path / "queries.parquet", query_scores(), names=NAMES, patents=PATENTS)
    assert list(tmp_path.iterdir()) == []
