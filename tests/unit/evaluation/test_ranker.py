import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastreid.evaluation
from fastreid.evaluation.ranker import choose_ranker, places_by_numpy

SOURCE = Path(fastreid.evaluation.__file__).parent / "rank_cy.pyx"


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
    return rank_cy.places


def test_places_count_from_one_in_the_order_of_the_rows_asked_for():
    distances = np.array([0.5, 0.1, 0.5, 0.9, -0.2], dtype=np.float32)
    assert places_by_numpy(distances, np.array([2, 0, 4, 3])).tolist() == [4, 3, 1, 5]


def test_no_rows_have_no_places():
    assert places_by_numpy(np.zeros(3, dtype=np.float32), np.empty(0, dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("num_rows", [0, 1, 7, 200])
def test_cython_and_numpy_give_the_same_places(places_by_cython, num_rows):
    generator = np.random.default_rng(num_rows)
    for levels in (3, 50, 10**6):  # many ties, some, none
        distances = (generator.integers(-levels, levels, 1000) / levels).astype(np.float32)
        distances[:5] = [0.0, -0.0, np.inf, -np.inf, 0.0]
        rows = generator.permutation(1000)[:num_rows]
        found, wanted = places_by_cython(distances, rows), places_by_numpy(distances, rows)
        assert found.dtype == wanted.dtype == np.int64
        np.testing.assert_array_equal(found, wanted)
        by_sorting = np.lexsort((np.arange(1000), distances)).argsort() + 1
        np.testing.assert_array_equal(wanted, by_sorting[rows])


def test_cython_refuses_rows_outside_the_distances(places_by_cython):
    with pytest.raises(IndexError, match=r"outside 0\.\.2"):
        places_by_cython(np.zeros(3, dtype=np.float32), np.array([3]))


def test_without_the_built_ranker_scoring_goes_on_in_numpy_and_says_so(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "fastreid.evaluation.rank_cy", None)
    monkeypatch.setattr(logging.getLogger("fastreid"), "propagate", True)
    with caplog.at_level(logging.DEBUG, logger="fastreid"):
        assert choose_ranker() is places_by_numpy
    assert "the numbers are the same" in caplog.text
