"""Mine hard identities from the classifier for the batches that follow."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid.data.samplers.complete import prune_tables
from fastreid.engine.checkpoint.checkpointer import Progress
from fastreid.engine.model.network import CLASSIFIER_WEIGHT
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.evaluation.search.nearest import nearest, self_first
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

NUM_NEIGHBORS = 50  # enough that one of them still has unused drawings late in an epoch


def mine_hard_identities(weight: Tensor, *, k: int = NUM_NEIGHBORS, memory_mb: int = 1024) -> Tensor:
    """Return the k classes nearest to each class by the cosine of their classifier weights, nearest first.

    Args:
        weight: rows of the classifier (C, D).
        k: number of classes, without the class itself.
        memory_mb: MiB that the search may use in addition to the weights.

    Returns:
        Class indices, int32 (C, min(k, C - 1)).

    Raises:
        NumericalError: a row is NaN, Inf or zero.
    """
    indices = nearest(weight.detach(), weight.detach(), k + 1, memory_mb=memory_mb).indices.cpu()
    return self_first(indices, torch.arange(len(weight)))[:, 1:].to(torch.int32)


class MineHardIdentities(Hook):
    """Mine the hard identities after each evaluation and restart the loader with them.

    `progress.hard_identities` maps the iteration of each mining to its table, and is part of every checkpoint. Tables
    that no future batch uses are removed.

    Args:
        progress: stores the tables.
        period: epochs between two evaluations.
        num_patents: patents of the training list; the classifier may have more rows.
        num_drawings: drawings of the training list.
        batch_size: drawings per iteration on all devices.
        memory_mb: MiB for the search.
        num_sub_centers: rows of the classifier per class; a class is then represented by their mean direction.
        restart_loader: restarts the loader at an iteration with the tables of the progress. A restart is necessary
            because the worker processes have prefetched batches that were sampled with the older tables.
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
        num_sub_centers: int,
        restart_loader: Callable[[int], None],
    ):
        self.progress = progress
        self.period = period
        self.num_patents = num_patents
        self.num_drawings = num_drawings
        self.batch_size = batch_size
        self.memory_mb = memory_mb
        self.num_sub_centers = num_sub_centers
        self.restart_loader = restart_loader

    def before_train(self, loop: TrainLoop) -> None:
        if CLASSIFIER_WEIGHT not in dict(loop.step.model.named_parameters()):
            raise InputError(
                f"DATALOADER.HARD_IDENTITIES needs the classifier {CLASSIFIER_WEIGHT}, which this model does not have; "
                "set it to 0"
            )

    def after_epoch(self, loop: TrainLoop) -> None:
        if loop.epoch % self.period:
            return
        weight = loop.step.model.get_parameter(CLASSIFIER_WEIGHT)[: self.num_patents * self.num_sub_centers]
        if self.num_sub_centers > 1:
            weight = F.normalize(weight).view(self.num_patents, self.num_sub_centers, -1).mean(dim=1)
        table = mine_hard_identities(weight, memory_mb=self.memory_mb) if comm.is_main_process() else torch.empty(0)
        tables = {**self.progress.hard_identities, loop.iteration: comm.all_gather_object(table)[0]}
        self.progress.hard_identities = prune_tables(
            tables, loop.iteration, num_drawings=self.num_drawings, batch_size=self.batch_size
        )
        self.restart_loader(loop.iteration)
        get_logger().info(f"iteration {loop.iteration}: mined the hard identities of {self.num_patents} patents")
