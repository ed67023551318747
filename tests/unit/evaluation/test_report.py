import io
import zipfile

import numpy as np
import pytest
import torch

from fastreid.evaluation import scores_table, write_results
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError


def ranking(rows=((3, 1, 0), (2, 0, 1))):
    rows = torch.tensor(rows)
    return Ranking(rows, torch.arange(rows.shape[1], dtype=torch.float32).expand(rows.shape))


def test_result_npy_is_int64_positions_and_the_zip_holds_the_same(tmp_path):
    write_results(ranking(), tmp_path / "new", num_gallery=4)
    rows = np.load(tmp_path / "new" / "result.npy")
    assert rows.dtype == np.int64
    assert rows.tolist() == [[3, 1, 0], [2, 0, 1]]
    with zipfile.ZipFile(tmp_path / "new" / "result.zip") as archive:
        assert archive.namelist() == ["result.npy"]
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)  # not the time of writing
        np.testing.assert_array_equal(np.load(io.BytesIO(archive.read("result.npy"))), rows)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["result.npy", "result.zip"]


def test_equal_rankings_give_equal_bytes(tmp_path):
    for folder in ("a", "b"):
        write_results(ranking(), tmp_path / folder, num_gallery=4)
    for name in ("result.npy", "result.zip"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("rows", "words"),
    [(((4, 0),), "row 4, but the database has 4"), (((1, 1),), "twice for query 0"), ((), "empty")],
)
def test_a_ranking_that_cannot_be_is_refused_and_nothing_is_written(tmp_path, rows, words):
    bad = ranking(rows) if rows else Ranking(torch.empty(0, 10, dtype=torch.int64), torch.empty(0, 10))
    with pytest.raises(InputError, match=words):
        write_results(bad, tmp_path / "new", num_gallery=4)
    assert not (tmp_path / "new").exists()


def test_scores_stand_in_a_table_with_two_places_and_counts_with_none():
    head, _, row = scores_table({"mAP": 12.3456, "num_queries": 3}).splitlines()
    assert (head.split(), row.split()) == (["mAP", "num_queries"], ["12.35", "3"])


def test_steps_stand_one_a_row_under_their_names():
    table = scores_table([("search", {"mAP": 10.0}), ("+ AQE", {"mAP": 20.0})]).splitlines()
    assert table[0].split() == ["after", "mAP"]
    assert [line.split()[-1] for line in table[2:]] == ["10.00", "20.00"]
    assert table[3].startswith("+ AQE")
