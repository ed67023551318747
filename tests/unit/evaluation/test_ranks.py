import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fastreid.evaluation
from fastreid.evaluation.scoring.ranks import choose_rank_function, compute_ranks

SOURCE = Path(fastreid.evaluation.__file__).parent / "scoring/rank_cy.pyx"
NONE = torch.empty(1, 0, dtype=torch.int64)


@pytest.fixture(scope="module")
def compute_ranks_in_cython(tmp_path_factory):
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler to build the Cython ranker")
    folder = tmp_path_factory.mktemp("ranker")
    shutil.copy(SOURCE, folder)
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "-3", "rank_cy.pyx"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=os.environ | {"CFLAGS": "-O1"})
    sys.path.insert(0, str(folder))
    try:
        import rank_cy
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("rank_cy", None)
    return rank_cy.compute_ranks_of_block


def sample_rows(generator, num_queries, num_rows, num_gallery):
    """Return distinct rows for each query, the last ones replaced by padding (-1)."""
    rows = np.stack([generator.permutation(num_gallery)[:num_rows] for _ in range(num_queries)])
    num_valid = generator.integers(0, num_rows + 1, num_queries)
    num_valid[0] = num_rows
    return np.where(np.arange(num_rows) < num_valid[:, None], rows, -1)


def ranks_by_sorting(distances, rows, ignored):
    order = np.lexsort((np.arange(len(distances)), distances))
    return (np.flatnonzero(np.isin(order[~np.isin(order, ignored)], rows)) + 1).tolist()


def test_ranks_are_one_based_and_ascending():
    distances = torch.tensor([[0.5, 0.1, 0.5, 0.9, -0.2], [0.5, 0.1, 0.5, 0.9, -0.2]])
    rows = torch.tensor([[2, 0, 4, 3], [1, -1, -1, -1]])
    assert compute_ranks(distances, rows, NONE.expand(2, 0)).tolist() == [[1, 3, 4, 5], [2, 0, 0, 0]]


def test_ignored_rows_are_removed_from_the_ranking():
    distances = torch.tensor([[0.5, 0.1, 0.5, 0.9, -0.2]])
    assert compute_ranks(distances, torch.tensor([[0, 3]]), torch.tensor([[2, 4, -1]])).tolist() == [[2, 3]]


def test_no_rows_have_no_ranks():
    assert compute_ranks(torch.zeros(1, 3), NONE, NONE).shape == (1, 0)


@pytest.mark.parametrize(("num_rows", "num_ignored"), [(0, 2), (1, 0), (7, 3), (200, 40)])
@pytest.mark.parametrize("levels", [3, 50, 10**6])  # many ties, some, none
def test_cython_and_torch_ranks_equal_sorting(compute_ranks_in_cython, num_rows, num_ignored, levels):
    generator = np.random.default_rng(num_rows)
    distances = (generator.integers(-levels, levels, (6, 1000)) / levels).astype(np.float32)
    distances[:, :5] = [0.0, -0.0, np.inf, -np.inf, 0.0]
    both = sample_rows(generator, 6, num_rows + num_ignored, 1000)
    block = (distances, np.ascontiguousarray(both[:, :num_rows]), np.ascontiguousarray(both[:, num_rows:]))
    expected = compute_ranks(*map(torch.from_numpy, block)).numpy()
    ranks = compute_ranks_in_cython(*block)
    assert ranks.dtype == expected.dtype == np.int64
    np.testing.assert_array_equal(ranks, expected)
    for query, row_ranks in enumerate(expected):
        rows = block[1][query]
        assert row_ranks[row_ranks > 0].tolist() == ranks_by_sorting(distances[query], rows[rows >= 0], block[2][query])


@pytest.mark.parametrize(("rows", "message"), [([[3]], r"outside 0\.\.2"), ([[0], [1]], "rows of 2 queries")])
def test_cython_rejects_rows_outside_the_distances(compute_ranks_in_cython, rows, message):
    with pytest.raises(IndexError, match=message):
        compute_ranks_in_cython(np.zeros((1, 3), dtype=np.float32), np.array(rows), NONE.numpy())


def test_torch_is_used_and_logged_without_cython(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "fastreid.evaluation.scoring.rank_cy", None)
    monkeypatch.setattr(logging.getLogger("fastreid"), "propagate", True)
    with caplog.at_level(logging.DEBUG, logger="fastreid"):
        assert choose_rank_function() is compute_ranks
    assert "ranking with torch, with the same results" in caplog.text


def test_cython_is_used_for_cpu_distances_only(monkeypatch):
    module = type(sys)("rank_cy")
    module.compute_ranks_of_block = lambda *block: np.full((1, 1), 7)
    monkeypatch.setitem(sys.modules, "fastreid.evaluation.scoring.rank_cy", module)
    block = torch.zeros(1, 3), torch.tensor([[0]]), NONE
    assert choose_rank_function()(*block).tolist() == [[7]]
    on_meta = choose_rank_function()(*(part.to("meta") for part in block))
    assert on_meta.device.type == "meta"
