"""Which patents a network takes for one another, found from its classifier, and batches made of them."""

from collections.abc import Callable

import torch
from torch import Tensor

from fastreid.data.samplers.complete import still_used
from fastreid.engine.checkpoint import Progress
from fastreid.engine.features import CLASSIFIER
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.evaluation.search.nearest import nearest, own_first
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

NUM_NEIGHBOURS = 50  # many, so that a patent finds one with drawings to give when little of a round is left


def find_look_alikes(weight: Tensor, *, k: int = NUM_NEIGHBOURS, memory_mb: int = 1024) -> Tensor:
    """Each class's nearest others by the cosine of their weights, the nearest first: int32 (C, min(k, C - 1)).

    Args:
        weight: the classifier's rows (C, D).
        k: how many others.
        memory_mb: MiB the search may hold beside the weights.

    Raises:
        NumericalError: a row is NaN, Inf or zero.
    """
    found = nearest(weight.detach(), weight.detach(), k + 1, memory_mb=memory_mb).indices.cpu()
    return own_first(found, torch.arange(len(weight)))[:, 1:].to(torch.int32)


class RenewLookAlikes(Hook):
    """After each evaluation finds the patents' look-alikes anew and lets the batches be made with them.

    The tables are part of the progress, and so of every checkpoint, by the number of steps that were done when they
    were made. Those stay that batches to come depend on.

    Args:
        progress: gets the tables.
        period: epochs from one evaluation to the next.
        num_patents: patents of the training list; the classifier may have more rows.
        num_drawings: drawings of the training list.
        batch_size: drawings of a step over all devices.
        memory_mb: MiB for the search.
        load_from: makes the batches from an iteration on anew, with the tables of the progress. What the workers of a
            loader have read ahead was chosen without the newest, so a loader cannot take it up by itself.
    """

    def __init__(
        self,
        progress: Progress,
        *,
        period: int,
        num_patents: int,
        num_drawings: int,
        batch_size: int,
        memory_mb: int,
        load_from: Callable[[int], None],
    ):
        self.progress = progress
        self.period = period
        self.num_patents = num_patents
        self.num_drawings = num_drawings
        self.batch_size = batch_size
        self.memory_mb = memory_mb
        self.load_from = load_from

    def before_train(self, loop: TrainLoop) -> None:
        if CLASSIFIER not in dict(loop.step.model.named_parameters()):
            raise InputError(
                f"DATALOADER.HARD_IDENTITIES looks at the classifier {CLASSIFIER}, and this model has none; set it to 0"
            )

    def after_epoch(self, loop: TrainLoop) -> None:
        if loop.epoch % self.period:
            return
        weight = loop.step.model.get_parameter(CLASSIFIER)[: self.num_patents]
        table = find_look_alikes(weight, memory_mb=self.memory_mb) if comm.is_main() else torch.empty(0)
        tables = {**self.progress.look_alikes, loop.iteration: comm.gather(table)[0]}
        self.progress.look_alikes = still_used(
            tables, loop.iteration, num_drawings=self.num_drawings, batch_size=self.batch_size
        )
        self.load_from(loop.iteration)
        get_logger().info(f"step {loop.iteration}: look-alikes of {self.num_patents} patents found anew")
