"""What happens when a run is scored: batch norm measured afresh, the tests, the best weights kept."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import nn

from fastreid.engine.checkpoint import BEST, BEST_AVERAGE, Checkpointer, Progress
from fastreid.engine.hooks.basic import WriteMetrics
from fastreid.engine.hooks.best_models import BestModels
from fastreid.engine.tester import Tester
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.monitoring.projector import points_of
from fastreid.structures import Embeddings
from fastreid.utils import comm
from fastreid.utils.logger import RESULT, get_logger


class PreciseBatchNorm(Hook):
    """After the last epoch measures the batch-norm statistics afresh as plain means over `num_batches` batches.

    Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, section 3.
    """

    def __init__(self, batches: Callable[[int], Iterable], num_batches: int):
        self.batches = batches
        self.num_batches = num_batches

    def after_epoch(self, loop: TrainLoop) -> None:
        if loop.epoch != loop.max_epochs:
            return
        average = loop.step.average
        for model in (loop.step.model, *([average.model] if average is not None and average.num_counted else [])):
            self._measure(model, loop.step.device)
        get_logger().info(f"batch-norm statistics measured afresh over {self.num_batches} batches")

    def _measure(self, model: nn.Module, device: torch.device) -> None:
        model.train()
        norms = [
            module
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training  # FrozenBN never is
        ]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch then keeps the plain mean of all batches
        with torch.no_grad():
            for batch in self.batches(self.num_batches):
                batch = batch.to(device)
                model(batch.images, batch.targets)
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum


class Evaluate(Hook):
    """Scores the model every `period` epochs and at the end, and keeps the weights that scored best.

    `model_best.pth` is written at once, so the weights in it are those that earned the score. Of each set's database
    up to `num_points` features go to the writers, to be looked at.

    Args:
        testers: one a set; the first chooses the best.
        progress: gets the scores.
        period: epochs between evaluations; 0: only at the end.
        select_by: the score that chooses.
        checkpointer: writes the best.
        metrics: gets all scores and pictures.
        num_points: features of each set's database for the projector.
        best: keeps further models that scored well.
    """

    def __init__(
        self,
        testers: Sequence[Tester],
        progress: Progress,
        *,
        period: int,
        select_by: str,
        checkpointer: Checkpointer,
        metrics: WriteMetrics,
        num_points: int = 0,
        best: BestModels | None = None,
    ):
        self.testers = tuple(testers)
        self.progress = progress
        self.period = period
        self.select_by = select_by
        self.checkpointer = checkpointer
        self.metrics = metrics
        self.num_points = num_points
        self.best = best

    def after_epoch(self, loop: TrainLoop) -> None:
        is_last = loop.epoch == loop.max_epochs
        if not is_last and (self.period == 0 or loop.epoch % self.period):
            return
        before = self.progress.best, self.progress.best_average
        average = loop.step.average
        if average is not None and average.num_counted:
            get_logger().log(RESULT, f"the mean of the weights ({average.num_counted} counted):")
            scores = self._test(average.model, loop, prefix="average/")
            if scores[self.select_by] > self.progress.best_average:
                self.progress.best_average = scores[self.select_by]
                self.progress.iteration = loop.iteration
                if comm.is_main():
                    self.checkpointer.save_average(BEST_AVERAGE, self.progress)
            get_logger().log(RESULT, "the weights themselves:")
        self._select(self._test(loop.step.model, loop), loop)
        is_better = (self.progress.best, self.progress.best_average) != before
        self.progress.num_worse = 0 if is_better else self.progress.num_worse + 1

    def _test(self, model: nn.Module, loop: TrainLoop, *, prefix: str = "") -> Mapping[str, float]:
        """Test on all sets and hand the scores to the metrics; gives those of the first set."""
        first: Mapping[str, float] = {}
        for tester in self.testers:
            if self.num_points and comm.is_main():
                show = functools.partial(self._show, tester, loop, f"{prefix}{tester.name}")
                tester = dataclasses.replace(tester, on_gallery=show)
            evaluation = tester.test(model)
            first = first or evaluation.scores
            if comm.is_main():
                tester.tell(evaluation)
                start = prefix if len(self.testers) == 1 else f"{prefix}{tester.name}/"
                self.metrics.scores |= {f"{start}{name}": value for name, value in evaluation.scores.items()}
                sheet = tester.sheet(evaluation)
                if sheet is not None:
                    self.metrics.picture(loop, f"{start}ranks", sheet)
        return first

    def _show(self, tester: Tester, loop: TrainLoop, name: str, gallery: Embeddings) -> None:
        points = points_of(gallery, tester.gallery, read=tester.read, num=self.num_points)
        self.metrics.points(loop, name, points)

    def _select(self, scores: Mapping[str, float], loop: TrainLoop) -> None:
        self.progress.metric = scores[self.select_by]
        if self.progress.metric > self.progress.best:
            self.progress.best = self.progress.metric
            self.progress.best_epoch = loop.epoch - 1
            self.progress.iteration = loop.iteration
            if comm.is_main():
                self.checkpointer.save(BEST, self.progress, is_last=False)
                get_logger().info(f"best so far: {self.select_by} {self.progress.best:.2f}, kept as {BEST}")
        if self.best is not None:
            self.best.take(self.progress.metric, loop)
