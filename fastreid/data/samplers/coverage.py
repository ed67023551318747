"""Measures what a sampler covers: repeated drawings, drawings per patent in a batch, share of the list per epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from fastreid.data.loading.loader import Sampler
from fastreid.utils.text import format_count

MAX_BATCHES = 300  # batches that are measured, except for `seen_ratio`, which needs the whole epoch


@dataclass(frozen=True)
class Coverage:
    """Statistics of the batches of a first epoch; ratios are 0..1.

    Args:
        num_batches: batches of the epoch, num_drawings // batch_size.
        distinct_ratio: ratio of the places in a batch that do not repeat a drawing of it.
        seen_ratio: ratio of the list that occurs in the epoch.
        identities_per_batch: mean number of patents in a batch.
        paired_ratio: ratio of the drawings of a batch with at least one other drawing of their patent in it.
        complete_ratio: ratio of the drawings of a batch with at least K - 1 others of their patent in it.
        cut_ratio: ratio of the patents in a batch with fewer drawings in it than K and than they have in total.
        num_instance: K.
    """

    num_batches: int
    distinct_ratio: float
    seen_ratio: float
    identities_per_batch: float
    paired_ratio: float
    complete_ratio: float
    cut_ratio: float
    num_instance: int

    def __str__(self) -> str:
        return (
            f"{self.distinct_ratio:.0%} of a batch are distinct drawings, of {self.identities_per_batch:.1f} patents; "
            f"{self.paired_ratio:.0%} of them have another drawing of their patent in the batch, "
            f"{self.complete_ratio:.0%} have at least {self.num_instance - 1}; "
            f"{self.cut_ratio:.2%} of the patents in a batch have fewer than {self.num_instance} drawings in it "
            f"although they have more; an epoch of {format_count(self.num_batches, 'batch', 'batches')} covers "
            f"{self.seen_ratio:.1%} of the list"
        )


def measure_coverage(sampler: Sampler, targets: Sequence[int], *, batch_size: int, num_instance: int) -> Coverage:
    """Measure the batches of a sampler's first epoch (only the first 300, except for `seen_ratio`).

    Args:
        sampler: source of the batches.
        targets: label of each drawing.
        batch_size: global batch size (drawings per iteration over all devices).
        num_instance: K, drawings per patent in a batch.
    """
    labels = np.asarray(targets, dtype=np.int64)
    full_size = np.minimum(np.bincount(labels), num_instance)
    num_batches = len(labels) // batch_size
    is_seen = np.zeros(len(labels), dtype=bool)
    num_distinct = num_patents = num_drawings = num_paired = num_complete = num_cut = 0
    for index, batch in enumerate(islice(sampler.batches(), num_batches)):
        rows = np.asarray(batch)
        is_seen[rows] = True
        if index >= MAX_BATCHES:
            continue
        num_distinct += len(np.unique(rows))
        patents, counts = np.unique(labels[np.unique(rows)], return_counts=True)
        num_patents += len(patents)
        num_drawings += counts.sum()
        num_paired += counts[counts > 1].sum()
        num_complete += counts[counts >= num_instance].sum()
        num_cut += (counts < full_size[patents]).sum()
    num_measured = min(num_batches, MAX_BATCHES)
    return Coverage(
        num_batches=num_batches,
        distinct_ratio=float(num_distinct / (num_measured * batch_size)),
        seen_ratio=float(is_seen.mean()),
        identities_per_batch=float(num_patents / num_measured),
        paired_ratio=float(num_paired / num_drawings),
        complete_ratio=float(num_complete / num_drawings),
        cut_ratio=float(num_cut / num_patents),
        num_instance=num_instance,
    )
