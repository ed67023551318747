"""Evaluate a model during training and save the best weights."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.checkpoint.index import BEST_AVERAGE_FILE, BEST_FILE, FINAL_FILE
from fastreid.engine.hooks.best_models import SaveBestModels
from fastreid.engine.hooks.checkpoints import is_evaluation_due
from fastreid.engine.hooks.metrics import WriteMetrics
from fastreid.engine.tester import Tester
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.evaluation.reporting.results import SCORES_NAME
from fastreid.monitoring.projector import build_projector_data
from fastreid.structures import Embeddings
from fastreid.utils import comm
from fastreid.utils.logger import RESULT, get_logger


class Evaluate(Hook):
    """Evaluate the model every `period` epochs and at the end, and save the weights with the best score.

    `model_best.pth` is saved right after the evaluation, so it contains the weights that were evaluated. The scores of
    the last evaluation, which are those of `model_final.pth`, are in `scores.json`.

    Args:
        testers: one per test dataset; the first one selects the best model.
        progress: stores the scores.
        period: epochs between two evaluations; 0: only at the end.
        select_by: score that selects the best model.
        checkpointer: writes the best model.
        metrics: receives all scores and images.
        num_points: gallery features of each dataset for the projector.
        best_models: keeps further models with good scores; None: only the best one is kept.
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
        best_models: SaveBestModels | None = None,
    ):
        self.testers = tuple(testers)
        self.progress = progress
        self.period = period
        self.select_by = select_by
        self.checkpointer = checkpointer
        self.metrics = metrics
        self.num_points = num_points
        self.best_models = best_models

    def before_train(self, loop: TrainLoop) -> None:
        if loop.iteration == 0 and comm.is_main_process():
            for folder in self._score_folders().values():
                (folder / SCORES_NAME).unlink(missing_ok=True)  # of an earlier run

    def after_epoch(self, loop: TrainLoop) -> None:
        if not is_evaluation_due(loop, self.period):
            return
        before = self.progress.best, self.progress.best_average
        average = loop.step.average
        if average is not None and average.num_averaged:
            get_logger().log(RESULT, f"average of the weights ({average.num_averaged} averaged):")
            scores = self._test(average.model, loop, prefix="average/")
            if scores[self.select_by] > self.progress.best_average:
                self.progress.best_average = scores[self.select_by]
                self.progress.iteration = loop.iteration
                if comm.is_main_process():
                    self.checkpointer.save_average(BEST_AVERAGE_FILE, self.progress)
            get_logger().log(RESULT, "current weights:")
        self._save_if_best(self._test(loop.step.model, loop), loop)
        is_better = (self.progress.best, self.progress.best_average) != before
        self.progress.num_bad_evaluations = 0 if is_better else self.progress.num_bad_evaluations + 1

    def _test(self, model: nn.Module, loop: TrainLoop, *, prefix: str = "") -> Mapping[str, float]:
        """Test on all datasets, pass the scores to the metrics, and return those of the first dataset."""
        first_scores: Mapping[str, float] = {}
        for tester in self.testers:
            if self.num_points and comm.is_main_process():
                add_points = functools.partial(self._add_points, tester, loop, f"{prefix}{tester.name}")
                tester = dataclasses.replace(tester, on_gallery=add_points)
            evaluation = tester.test(model)
            first_scores = first_scores or evaluation.scores
            if comm.is_main_process():
                if loop.epoch == loop.max_epochs and not prefix:
                    self.checkpointer.check_folder()
                    folder = self._score_folders()[tester.name]
                    tester.write_scores(evaluation, folder, weights=FINAL_FILE, epoch=loop.epoch)
                tester.log_scores(evaluation)
                name_prefix = prefix if len(self.testers) == 1 else f"{prefix}{tester.name}/"
                self.metrics.scores |= {f"{name_prefix}{name}": value for name, value in evaluation.scores.items()}
                plot = tester.plot_rankings(evaluation)
                if plot is not None:
                    self.metrics.add_image(loop, f"{name_prefix}ranks", plot)
        return first_scores

    def _score_folders(self) -> dict[str, Path]:
        """Return the folder for the final scores of each dataset, as in a test."""
        folder = self.checkpointer.folder
        return {one.name: folder / one.name if number else folder for number, one in enumerate(self.testers)}

    def _add_points(self, tester: Tester, loop: TrainLoop, name: str, gallery: Embeddings) -> None:
        points = build_projector_data(gallery, tester.gallery, read=tester.read, max_points=self.num_points)
        self.metrics.add_embedding(loop, name, points)

    def _save_if_best(self, scores: Mapping[str, float], loop: TrainLoop) -> None:
        self.progress.metric = scores[self.select_by]
        if self.progress.metric > self.progress.best:
            self.progress.best = self.progress.metric
            self.progress.best_epoch = loop.epoch - 1
            self.progress.iteration = loop.iteration
            if comm.is_main_process():
                self.checkpointer.save(BEST_FILE, self.progress, is_last=False)
                get_logger().info(f"best {self.select_by} so far: {self.progress.best:.2f}, saved as {BEST_FILE}")
        if self.best_models is not None:
            self.best_models.update(self.progress.metric, loop)
