"""What a sampler shows of a list: how much of it, how often twice, and how many drawings of a patent side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from fastreid.data.loading.loader import Sampler

MOST_BATCHES = 300  # of which all but the share of the list is measured


@dataclass(frozen=True)
class Coverage:
    """What the batches of a first epoch hold; shares are 0..1.

    Args:
        num_batches: batches of the epoch: drawings // batch.
        distinct: share of a batch's places that do not repeat a drawing of it.
        seen: share of the list that comes in the epoch.
        patents: patents in a batch.
        paired: share of a batch's drawings with another of their patent in it.
        complete: share with K - 1 others or more there.
        cut: share of a batch's patents that have K drawings and fewer than K there.
        num_instance: K.
    """

    num_batches: int
    distinct: float
    seen: float
    patents: float
    paired: float
    complete: float
    cut: float
    num_instance: int

    def __str__(self) -> str:
        return (
            f"{self.distinct:.0%} of a batch are distinct drawings, of {self.patents:.1f} patents; {self.paired:.0%} of them "
            f"have another of their patent beside them, {self.complete:.0%} have {self.num_instance - 1} or more; "
            f"{self.cut:.2%} of its patents are cut below {self.num_instance} drawings; "
            f"an epoch of {self.num_batches} batches shows {self.seen:.1%} of the list"
        )


def measure(sampler: Sampler, targets: Sequence[int], *, batch_size: int, num_instance: int) -> Coverage:
    """Look at the batches of a sampler's first epoch, at the first 300 of them for all but the share of the list.

    Args:
        sampler: gives the rows of the batches.
        targets: class number of each drawing.
        batch_size: drawings of a step over all devices.
        num_instance: K.
    """
    classes = np.asarray(targets, dtype=np.int64)
    whole = np.minimum(np.bincount(classes), num_instance)
    num_batches = len(classes) // batch_size
    seen = np.zeros(len(classes), dtype=bool)
    num_distinct = num_patents = num_drawings = num_paired = num_complete = num_cut = 0
    for number, batch in enumerate(islice(sampler.batches(), num_batches)):
        rows = np.asarray(batch)
        seen[rows] = True
        if number >= MOST_BATCHES:
            continue
        num_distinct += len(np.unique(rows))
        patents, counts = np.unique(classes[np.unique(rows)], return_counts=True)
        num_patents += len(patents)
        num_drawings += counts.sum()
        num_paired += counts[counts > 1].sum()
        num_complete += counts[counts >= num_instance].sum()
        num_cut += (counts < whole[patents]).sum()
    looked_at = min(num_batches, MOST_BATCHES)
    return Coverage(
        num_batches=num_batches,
        distinct=float(num_distinct / (looked_at * batch_size)),
        seen=float(seen.mean()),
        patents=float(num_patents / looked_at),
        paired=float(num_paired / num_drawings),
        complete=float(num_complete / num_drawings),
        cut=float(num_cut / num_patents),
        num_instance=num_instance,
    )
