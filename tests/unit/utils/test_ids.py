"""Ids from lists, arrays, tensors, pandas and pyarrow, and the errors for others."""

import numpy as np
import pandas
import pyarrow
import pytest
import torch

from fastreid.evaluation import average_queries_by_object, score
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError
from fastreid.utils.ids import to_id_array

WORDS, NUMBERS = ["D10", "D2", "D10"], [10, 2, 10]


class Series:
    """A container with the interface of a pandas Series of dtype object."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, row):
        raise KeyError(row)  # as in a Series whose index has other labels

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype or object)


class NAType:
    """A missing value whose comparisons have no truth value, as pandas.NA."""

    def __eq__(self, other):
        raise TypeError("boolean value of NA is ambiguous")

    __ne__ = __eq__
    __hash__ = object.__hash__


def containers(values):
    yield from (values, tuple(values), Series(values), np.array(values), np.array(values, dtype=object))
    yield [np.array(values)[row] for row in range(len(values))]  # numpy scalars
    if isinstance(values[0], int):
        yield from (torch.tensor(values), np.array(values, np.uint8), np.array(values, np.int16))
        yield np.array([np.int32(value) for value in values], dtype=object)


@pytest.mark.parametrize("values", [WORDS, NUMBERS])
def test_ids_of_any_container_are_the_same(values):
    expected = np.array(values)
    for container in containers(values):
        ids = to_id_array(container, "ids")
        assert ids.dtype.kind == expected.dtype.kind
        assert ids.tolist() == values


@pytest.mark.parametrize("values", [WORDS, NUMBERS])
def test_pyarrow(values):
    assert to_id_array(pyarrow.array(values), "ids").tolist() == values
    assert to_id_array(pyarrow.chunked_array([values]), "ids").tolist() == values
    with pytest.raises(InputError, match=r"ids has no value .* at position 1"):
        to_id_array(pyarrow.array([values[0], None]), "ids")


@pytest.mark.parametrize("values", [WORDS, NUMBERS])
def test_pandas(values):
    kinds = [object, "string", "category"] if isinstance(values[0], str) else [object, "int32", "Int64", "category"]
    for kind in kinds:
        series = pandas.Series(values, dtype=kind, index=[7, 8, 9])
        assert to_id_array(series, "ids").tolist() == values
        missing = series.astype(object)
        missing.loc[8] = None
        with pytest.raises(InputError, match=r"ids has no value .* at position 1"):
            to_id_array(missing.astype(kind) if kind != "int32" else missing, "ids")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["D1", 2], r"ids has strings and, at position 1, integers; make all strings or all integers"),
        (np.array([1, "D2"], dtype=object), r"ids has integers and, at position 1, strings"),
        (["D1", None], r"ids has no value \(None\) at position 1"),
        (["D1", float("nan")], r"ids has no value \(nan\) at position 1"),
        (Series([1, 2, NAType()]), r"ids has no value .* at position 2"),
        (np.array([1.0, np.nan]), r"ids has no value \(NaN\) at position 1"),
        (np.array([1.0, 2.0]), r"strings or integers, not float64; convert them with \.astype\(int\)"),
        ([1.0, 2.0], r"value 0 is of type float"),
        ([1, True], r"value 1 is of type bool"),
        ([b"D1"], r"value 0 is of type bytes"),
        (np.array([True]), r"not bool"),
        (np.array([2**63], np.uint64), r"9223372036854775808, which has more than 64 bits"),
        ([2**70], r"more than 64 bits; use strings"),
        ([], r"at least one, not an array \(0,\)"),
        ([["D1"]], r"not an array \(1, 1\)"),
        ("D1", r"not an array \(\)"),
        (None, r"not an array \(\)"),
    ],
)
def test_invalid_ids_raise_with_the_first_fault(values, message):
    with pytest.raises(InputError, match=message):
        to_id_array(values, "ids")


def test_ids_of_19_digits_are_exact():
    ids = [9_223_372_036_854_775_806, 9_223_372_036_854_775_807]
    assert to_id_array(Series(ids), "ids").tolist() == ids


@pytest.mark.parametrize("wrap", [Series, lambda values: np.array(values, dtype=object), list])
def test_scores_embeddings_and_fusion_take_object_ids(wrap):
    distances = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    expected = score(distances, ["D2", "D10"], WORDS)
    assert score(distances, wrap(["D2", "D10"]), wrap(WORDS)) == expected
    assert score(
        distances, wrap([2, 10]), wrap(NUMBERS), query_cameras=wrap([0, 0]), gallery_cameras=wrap([1] * 3)
    ) == (expected)
    features = torch.eye(3)
    embeddings = Embeddings(features, wrap(NUMBERS), wrap(["a", "b", "c"]), wrap([1, 2, 3]))
    assert (embeddings.patents, embeddings.names) == (("10", "2", "10"), ("a", "b", "c"))
    assert embeddings.cameras == (1, 2, 3)
    fused = average_queries_by_object(features, wrap(WORDS))
    assert torch.equal(fused, average_queries_by_object(features, wrap(NUMBERS)))
    assert torch.equal(fused[0], fused[2])


def test_embeddings_with_missing_patents_or_words_as_cameras_raise():
    with pytest.raises(InputError, match="patents has no value"):
        Embeddings(torch.eye(2), ("D1", None), ("a", "b"))
    with pytest.raises(InputError, match="cameras must be integers"):
        Embeddings(torch.eye(2), ("D1", "D2"), ("a", "b"), ("x", "y"))
