"""The index of a LanceDB table: its type and partitions, and the number of them that a search reads."""

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid.index.backends.base import IndexSettings
from fastreid.index.backends.probes import (
    TOP_K,
    describe_probes,
    measure_probes,
    read_probes,
    write_probes,
)
from fastreid.index.columns import VECTOR

_MIN_INDEXED_ROWS = 256  # that the training of an index needs
_MAX_UNINDEXED = 0.2  # fraction of rows outside the index, which every search reads
_DEFAULT_PROBES = 20  # if the measurement of an index is missing
_MIN_SHARE = 1e-6
_SAMPLE_RATE = 64  # training vectors of a partition; 256, the default of LanceDB, costs four times as much
_BITS_DIM = 8  # divisor of the dimension of an index of bits
_NUM_SAMPLES = 100  # with 32, runs for the same 1,000,000 rows chose 298 and 547 of 995 partitions
_ROWS_PER_BLOCK = 8192


class TableIndex:
    """The index of the vectors of a table.

    Features of a multiple of 8 values get an IVF-RQ index (RaBitQ: one bit for each value after a rotation, Gao and
    Long, RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound, 2024). Others, and those whose
    settings give a number of sub-vectors, get an IVF-PQ index.

    Args:
        table: a LanceDB table.
        folder: where the measured number of probes is stored.
        settings: how the table is searched.
        dim: number of values of a vector.
    """

    def __init__(self, table: Any, folder: Path, settings: IndexSettings, dim: int):
        self._table, self._folder, self._settings, self._dim = table, folder, settings, dim
        self._is_of_bits = not settings.num_sub_vectors and dim % _BITS_DIM == 0

    def exists(self) -> bool:
        """Return whether the table has an index."""
        return self._find_name() is not None

    def count_rows(self) -> int:
        """Return the number of rows in the index."""
        name = self._find_name()
        stats = None if name is None else self._table.index_stats(name)
        return 0 if stats is None else int(stats.num_indexed_rows)

    def search(
        self, query: Tensor, limit: int, *, is_exact: bool = False, num_probes: int = 0, share: float = 1.0
    ) -> Any:
        """Return LanceDB's query for the nearest rows.

        Args:
            query: float32 (D,).
            limit: number of rows.
            is_exact: compare all rows, without the index.
            num_probes: partitions to read; 0: as set, or as measured when the index was built.
            share: fraction of the rows that fulfill the filter. The number of partitions is divided by it, so that a
                search compares as many rows as without a filter.
        """
        search = self._table.search(query.numpy(), vector_column_name=VECTOR).distance_type("cosine").limit(limit)
        if is_exact:
            return search.bypass_vector_index()
        if not num_probes:
            probes = read_probes(self._folder)
            num_probes = self._settings.num_probes or (_DEFAULT_PROBES if probes is None else probes.num_probes)
            num_probes = math.ceil(num_probes / max(share, _MIN_SHARE))
        return search.nprobes(num_probes).refine_factor(self._settings.refine_factor)

    def update(self, num_rows: int) -> None:
        """Build the index if the table is large, and too many rows are outside or its partitions are too large."""
        if num_rows <= max(self._settings.exact_max_rows, _MIN_INDEXED_ROWS):
            return
        probes = read_probes(self._folder)
        num_partitions = self._settings.choose_partitions(num_rows)
        has_grown = probes is not None and num_partitions >= 2 * probes.num_partitions
        if has_grown or num_rows - self.count_rows() > _MAX_UNINDEXED * num_rows:
            self._build(num_partitions)
            probes = None
        if probes is None:  # also if a build was interrupted before the measurement
            self._measure(num_rows, num_partitions)

    def describe(self) -> str:
        """Return the type, the number of rows and the recall; empty if there is no index."""
        name = self._find_name()
        if name is None:
            return ""
        kind = str(self._table.index_stats(name).index_type).upper().replace("_", "-")
        probes = read_probes(self._folder)
        recall = "" if probes is None else f", {describe_probes(probes, self._settings.num_probes)}"
        return f"{kind} index of {self.count_rows()} drawings{recall}"

    def _find_name(self) -> str | None:
        names = [str(index.name) for index in self._table.list_indices() if VECTOR in index.columns]
        return names[0] if names else None

    def _build(self, num_partitions: int) -> None:
        options = {"distance_type": "cosine", "num_partitions": num_partitions, "sample_rate": _SAMPLE_RATE}
        module = importlib.import_module("lancedb.index")
        if self._is_of_bits:
            config = module.IvfRq(**options)
        else:
            config = module.IvfPq(**options, num_sub_vectors=self._settings.choose_sub_vectors(self._dim))
        self._table.create_index(VECTOR, config=config, replace=True)

    def _measure(self, num_rows: int, num_partitions: int) -> None:
        """Choose the number of probes and store it."""
        rows = np.random.default_rng(0).choice(num_rows, _NUM_SAMPLES, replace=False).tolist()
        sample = self._table.take_offsets(rows).select([VECTOR]).to_arrow()
        queries = torch.tensor(sample.column(VECTOR).combine_chunks().flatten().to_numpy()).view(-1, self._dim)
        expected = self._find_nearest(queries)
        probes = measure_probes(
            range(_NUM_SAMPLES),
            num_partitions,
            find_exact=lambda number: expected[number],
            find_approximate=lambda number, num: self._find_ids(queries[number], num),
        )
        write_probes(self._folder, probes)

    def _find_nearest(self, queries: Tensor) -> list[set[str]]:
        """Return the ids of the nearest rows of some rows, without the rows themselves; read the table once."""
        queries = torch.nn.functional.normalize(queries)
        best, ids = torch.empty(len(queries), 0), np.empty((len(queries), 0), dtype=object)
        for batch in self._table.search().select(["id", VECTOR]).limit(None).to_batches(_ROWS_PER_BLOCK):
            vectors = torch.tensor(batch.column(VECTOR).flatten().to_numpy()).view(-1, self._dim)
            products = queries @ torch.nn.functional.normalize(vectors).T
            names = np.broadcast_to(np.array(batch.column("id").to_pylist(), dtype=object), products.shape)
            products, names = torch.cat([best, products], dim=1), np.concatenate([ids, names], axis=1)
            best, positions = products.topk(min(TOP_K + 1, products.shape[1]), dim=1)
            ids = np.take_along_axis(names, positions.numpy(), axis=1)
        return [set(map(str, row[1:])) for row in ids]

    def _find_ids(self, query: Tensor, num_probes: int) -> set[str]:
        found = self.search(query, TOP_K + 1, num_probes=num_probes).select(["id", "_distance"]).to_arrow()
        return set(map(str, found.column("id").to_pylist()))
