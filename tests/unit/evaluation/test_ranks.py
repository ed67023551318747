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
def places_by_cython(tmp_path_factory):
    pytest.importorskip("Cython")
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler to build the ranker with")
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
    return rank_cy.places_of_block


def some_of(generator, num_queries, num_rows, num_gallery):
    """Different rows for each query, the last ones replaced by the -1 of the filling."""
    rows = np.stack([generator.permutation(num_gallery)[:num_rows] for _ in range(num_queries)])
    filled = generator.integers(0, num_rows + 1, num_queries)
    filled[0] = num_rows
    return np.where(np.arange(num_rows) < filled[:, None], rows, -1)


def places_by_sorting(distances, rows, dropped):
    order = np.lexsort((np.arange(len(distances)), distances))
    return (np.flatnonzero(np.isin(order[~np.isin(order, dropped)], rows)) + 1).tolist()


def test_places_count_from_one_and_rise():
    distances = torch.tensor([[0.5, 0.1, 0.5, 0.9, -0.2], [0.5, 0.1, 0.5, 0.9, -0.2]])
    rows = torch.tensor([[2, 0, 4, 3], [1, -1, -1, -1]])
    assert compute_ranks(distances, rows, NONE.expand(2, 0)).tolist() == [[1, 3, 4, 5], [2, 0, 0, 0]]


def test_nothing_stands_behind_a_row_that_does_not_count():
    distances = torch.tensor([[0.5, 0.1, 0.5, 0.9, -0.2]])
    assert compute_ranks(distances, torch.tensor([[0, 3]]), torch.tensor([[2, 4, -1]])).tolist() == [[2, 3]]


def test_no_rows_have_no_places():
    assert compute_ranks(torch.zeros(1, 3), NONE, NONE).shape == (1, 0)


@pytest.mark.parametrize(("num_rows", "num_dropped"), [(0, 2), (1, 0), (7, 3), (200, 40)])
@pytest.mark.parametrize("levels", [3, 50, 10**6])  # many ties, some, none
def test_cython_and_torch_give_the_places_of_sorting(places_by_cython, num_rows, num_dropped, levels):
    generator = np.random.default_rng(num_rows)
    distances = (generator.integers(-levels, levels, (6, 1000)) / levels).astype(np.float32)
    distances[:, :5] = [0.0, -0.0, np.inf, -np.inf, 0.0]
    both = some_of(generator, 6, num_rows + num_dropped, 1000)
    block = (distances, np.ascontiguousarray(both[:, :num_rows]), np.ascontiguousarray(both[:, num_rows:]))
    wanted = compute_ranks(*map(torch.from_numpy, block)).numpy()
    found = places_by_cython(*block)
    assert found.dtype == wanted.dtype == np.int64
    np.testing.assert_array_equal(found, wanted)
    for query, places in enumerate(wanted):
        rows = block[1][query]
        assert places[places > 0].tolist() == places_by_sorting(distances[query], rows[rows >= 0], block[2][query])


@pytest.mark.parametrize(("rows", "words"), [([[3]], r"outside 0\.\.2"), ([[0], [1]], "rows of 2 queries")])
def test_cython_refuses_rows_that_do_not_fit_the_distances(places_by_cython, rows, words):
    with pytest.raises(IndexError, match=words):
        places_by_cython(np.zeros((1, 3), dtype=np.float32), np.array(rows), NONE.numpy())


def test_without_the_built_ranker_scoring_goes_on_in_torch_and_says_so(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "fastreid.evaluation.scoring.rank_cy", None)
    monkeypatch.setattr(logging.getLogger("fastreid"), "propagate", True)
    with caplog.at_level(logging.DEBUG, logger="fastreid"):
        assert choose_rank_function() is compute_ranks
    assert "the numbers are the same" in caplog.text


def test_only_distances_on_the_cpu_go_to_cython(monkeypatch):
    module = type(sys)("rank_cy")
    module.places_of_block = lambda *block: np.full((1, 1), 7)
    monkeypatch.setitem(sys.modules, "fastreid.evaluation.scoring.rank_cy", module)
    block = torch.zeros(1, 3), torch.tensor([[0]]), NONE
    assert choose_rank_function()(*block).tolist() == [[7]]
    elsewhere = choose_rank_function()(*(part.to("meta") for part in block))
    assert elsewhere.device.type == "meta"
