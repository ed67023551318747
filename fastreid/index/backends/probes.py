"""The number of partitions that a search of an IVF index reads, chosen by measured recall."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from fastreid.utils.files import read_file_bytes, write_text

MIN_RECALL = 0.95
NUM_SAMPLES, TOP_K = 32, 10  # queries and their nearest rows
_FILE_NAME = "probes.json"
_FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0)  # of the partitions, tried in this order
_Query = TypeVar("_Query")


@dataclass(frozen=True)
class Probes:
    """Result of a measurement.

    Args:
        num_probes: partitions that a search reads.
        num_partitions: partitions of the index.
        recall: fraction 0..1 of the nearest rows that such a search finds.
    """

    num_probes: int
    num_partitions: int
    recall: float


def measure_probes(
    queries: Sequence[_Query],
    num_partitions: int,
    *,
    find_exact: Callable[[_Query], set[str]],
    find_approximate: Callable[[_Query, int], set[str]],
) -> Probes:
    """Return the smallest number of probes with a recall of MIN_RECALL; all partitions if none has it.

    Args:
        queries: a sample of the rows: their vectors or their numbers.
        num_partitions: partitions of the index.
        find_exact: returns the ids of the nearest rows of a query.
        find_approximate: returns the ids that a search with a number of probes finds.
    """
    expected = [find_exact(query) for query in queries]
    tried = Probes(num_partitions, num_partitions, 0.0)
    for num_probes in sorted({max(1, round(fraction * num_partitions)) for fraction in _FRACTIONS}):
        found = [len(ids & find_approximate(query, num_probes)) / len(ids) for query, ids in zip(queries, expected)]
        tried = Probes(num_probes, num_partitions, sum(found) / len(found))
        if tried.recall >= MIN_RECALL:
            break
    return tried


def read_probes(folder: Path) -> Probes | None:
    """Return the result of the latest measurement of a table; None if there is none or it is damaged."""
    try:
        return Probes(**json.loads(read_file_bytes(folder / _FILE_NAME)))
    except (OSError, ValueError, TypeError):
        return None


def write_probes(folder: Path, probes: Probes) -> None:
    """Store the result of a measurement."""
    write_text(folder / _FILE_NAME, json.dumps(asdict(probes)) + "\n")


def describe_probes(probes: Probes, num_set: int) -> str:
    """Return the number of probes of a search and its recall, for people.

    Args:
        probes: the measurement.
        num_set: `IndexSettings.num_probes`; 0: the measured number.
    """
    if num_set and num_set != probes.num_probes:
        return f"{num_set} probes as set by --num-probes; measured recall {probes.recall:.3f} with {probes.num_probes}"
    return f"measured recall {probes.recall:.3f} with {probes.num_probes} probes"
