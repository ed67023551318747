"""The room where the siblings meet: from a config to a run that trains and resumes."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from fastreid.config import CfgNode, get_cfg
from fastreid.data.build import build_datasets, build_train_loader
from fastreid.data.datasets.base import RetrievalData
from fastreid.data.io.build import build_bad_drawings, fill_if_cached
from fastreid.data.loading.loader import TrainLoader
from fastreid.data.loading.workers import deaths_told
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine.build import build_step, check_parts
from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.evaluate import build_testers, lists_of
from fastreid.engine.features import CLASSIFIER
from fastreid.engine.hooks.basic import (
    CheckWeightsMove,
    DrawClasses,
    FreezeLayers,
    SaveCheckpoints,
    SetLearningRate,
    ShowInputs,
    StopOnSignal,
    WriteMetrics,
    write_bad_step,
)
from fastreid.engine.hooks.best_models import BestModels, EarlyStop, set_aside
from fastreid.engine.hooks.evaluation import Evaluate, PreciseBatchNorm
from fastreid.engine.hooks.hard_classes import RenewLookAlikes
from fastreid.engine.monitors import build_watch, build_writers, check_tracker
from fastreid.engine.precision import kind_for_features
from fastreid.engine.setup import resolve_device, to_device, write_config
from fastreid.engine.tester import input_sheet
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.engine.train_step import NonFiniteLossError
from fastreid.evaluation.scoring.metrics import check_score
from fastreid.modeling import build_model
from fastreid.modeling.build import load_start_weights
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.weights import load_state, model_state, read_weights
from fastreid.solver.build import build_schedule
from fastreid.structures import Batch, Drawing
from fastreid.utils import comm
from fastreid.utils.cli import one_line
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.logger import RESULT, get_logger


class DefaultTrainer:
    """A training run as a config describes it.

    Args:
        cfg: frozen settings.
        data: what `build_datasets` gives for them, where it was built before; None builds it.

    Raises:
        FastreidError: anything that can be known to be wrong before the first step.
    """

    def __init__(self, cfg: CfgNode, *, data: tuple[Sequence[Drawing], Mapping[str, RetrievalData]] | None = None):
        self.cfg = cfg
        self.device = resolve_device(cfg)
        self.progress = Progress()
        _check_look_alikes(cfg)
        _check_stop(cfg)
        check_parts(cfg)
        check_tracker(cfg)
        self.bad = build_bad_drawings(cfg)
        _check_features(cfg, self.device)
        self.drawings, tests = data or build_datasets(cfg)
        _check_selection(cfg, next(iter(tests.values())))
        self.loader = self._loader_from(0)
        self.testers = build_testers(cfg, tests, training=self.drawings, bad=self.bad)
        self.model = to_device(cfg, build_model(cfg, num_classes=num_classes_of(cfg, self.loader.num_classes)))
        self.schedule = build_schedule(cfg, self.loader.iters_per_epoch)
        self.frozen = FreezeLayers(cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS)
        self.frozen.check(self.model)
        self.step = build_step(cfg, self.model, iters_per_epoch=self.loader.iters_per_epoch)
        self.checkpointer = Checkpointer(
            cfg.OUTPUT_DIR,
            self.step,
            iters_per_epoch=self.loader.iters_per_epoch,
            config=cfg.dump(),
            defaults=get_cfg().dump(),
        )
        get_logger().info(
            f"{len(self.drawings)} drawings of {self.loader.num_classes} patents, "
            f"{self.loader.iters_per_epoch} steps an epoch, {cfg.SOLVER.MAX_EPOCH} epochs; "
            f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.2f} M weights"
        )

    def resume_or_load(self, resume: bool = False) -> None:
        """Go on from the last checkpoint in OUTPUT_DIR, or start from MODEL.WEIGHTS, or from ImageNet weights."""
        reached = self.checkpointer.resume() if resume else None
        if reached is not None:
            self.progress = reached
            return
        if resume:
            get_logger().info(f"no checkpoint in {self.cfg.OUTPUT_DIR} yet; training from the beginning")
        start_from(self.cfg, self.model)
        if comm.is_main():
            self.checkpointer.set_aside()
            set_aside(self.cfg.OUTPUT_DIR)

    def train(self) -> dict[str, float]:
        """Train to the end; returns the best score by the name of TEST.SELECT_BY."""
        finished = self._finished()
        if finished:
            get_logger().log(RESULT, f"the run is finished: {finished}")
            return {self.cfg.TEST.SELECT_BY: self.progress.best}
        self.progress.ended = False
        fill_if_cached(self.cfg, *lists_of(self.testers), training=self.drawings, bad=self.bad)
        loop = self._loop()
        if comm.is_main():  # now that nothing can be refused any more
            write_config(self.cfg)
        try:
            with deaths_told(self.loader.fault):
                loop.run()
        except NonFiniteLossError as bad:
            names = [self.drawings[row].name for row in bad.batch.rows.tolist()]
            everyone = comm.gather((names, bad.values))  # all come here at the same step, one for the fault of another
            record = write_bad_step(self.cfg.OUTPUT_DIR, loop.iteration, everyone)
            raise NonFiniteLossError(
                f"step {loop.iteration + 1}: {bad}; its drawings are in {record}", bad.batch, bad.values
            )
        except RuntimeError as error:
            if self.cfg.DETERMINISTIC and "deterministic" in str(error):
                raise EnvironmentSetupError(f"DETERMINISTIC is True: {one_line(error)[:200]}; set it to False")
            raise
        finally:
            self.loader.close()
        get_logger().log(
            RESULT,
            f"done: best {self.cfg.TEST.SELECT_BY} {self.progress.best:.2f} after epoch {self.progress.best_epoch + 1}, "
            f"in {Path(self.cfg.OUTPUT_DIR) / 'model_best.pth'}",
        )
        return {self.cfg.TEST.SELECT_BY: self.progress.best}

    def _finished(self) -> str:
        """Why there is nothing left to do; "" where there is. Asked before a log is opened, or it would stay open."""
        epochs, max_epochs = self.progress.iteration // self.loader.iters_per_epoch, self.cfg.SOLVER.MAX_EPOCH
        if epochs >= max_epochs:
            return f"all {max_epochs} epochs are done"
        if self.progress.ended and self.progress.num_worse >= self.cfg.SOLVER.EARLY_STOP_PATIENCE > 0:
            return f"SOLVER.EARLY_STOP_PATIENCE ended it after {epochs} epochs"
        return ""

    def _loop(self) -> TrainLoop:
        if self.progress.iteration:
            self._load_from(self.progress.iteration)
        return TrainLoop(
            self.step,
            self._batches(),
            hooks=self._hooks(),
            iters_per_epoch=self.loader.iters_per_epoch,
            max_epochs=self.cfg.SOLVER.MAX_EPOCH,
            iteration=self.progress.iteration,
        )

    def _hooks(self) -> list[Hook]:
        cfg, progress, checkpoints = self.cfg, self.progress, self.cfg.SOLVER.CHECKPOINT_PERIOD
        best = BestModels(self.checkpointer, progress, num=cfg.SOLVER.SAVE_TOP_K, period=checkpoints)
        where = {"iteration": progress.iteration, "iters_per_epoch": self.loader.iters_per_epoch}
        writers = build_writers(cfg, **where) if comm.is_main() else []
        metrics = WriteMetrics(writers, progress, period=cfg.SOLVER.LOG_PERIOD)
        evaluate = Evaluate(
            self.testers,
            progress,
            period=cfg.TEST.EVAL_PERIOD,
            select_by=cfg.TEST.SELECT_BY,
            checkpointer=self.checkpointer,
            metrics=metrics,
            num_points=cfg.TEST.PROJECTOR,
            best=best if cfg.SOLVER.SAVE_TOP_K else None,
        )
        heads = self.model.get_submodule("heads")
        draw, told_from = [], num_classes_of(cfg, self.loader.num_classes)
        if isinstance(heads, EmbeddingHead):
            draw = [DrawClasses(heads, cfg.SEED)]
            told_from = heads.num_taking_part(cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.GRAD_ACCUM_STEPS)
        precise = [PreciseBatchNorm(self._measuring_batches, cfg.TEST.PRECISE_BN.NUM_ITER)]
        precise = precise if cfg.TEST.PRECISE_BN.ENABLED else []
        again = [*precise, evaluate] if precise else []
        stop = EarlyStop(progress, patience=cfg.SOLVER.EARLY_STOP_PATIENCE, period=cfg.TEST.EVAL_PERIOD, again=again)
        renew = RenewLookAlikes(
            progress,
            period=cfg.TEST.EVAL_PERIOD,
            num_patents=self.loader.num_classes,
            num_drawings=len(self.drawings),
            batch_size=cfg.SOLVER.IMS_PER_BATCH,
            memory_mb=cfg.TEST.MEMORY_MB,
            load_from=self._load_from,
        )
        return [
            SetLearningRate(self.schedule),
            self.frozen,
            *draw,
            CheckWeightsMove(),
            *build_watch(cfg, num_classes=told_from),
            ShowInputs(metrics, input_sheet),
            *precise,
            evaluate,
            *([stop] if cfg.SOLVER.EARLY_STOP_PATIENCE else []),
            *([renew] if cfg.DATALOADER.HARD_IDENTITIES else []),
            metrics,
            *(writer for writer in writers if isinstance(writer, Hook)),
            SaveCheckpoints(self.checkpointer, progress, period=checkpoints),
            *([best] if cfg.SOLVER.SAVE_TOP_K else []),
            StopOnSignal(self.checkpointer, progress),
        ]

    def _measuring_batches(self, num_batches: int) -> Iterator[Batch]:
        loader = self._loader_from(self.cfg.SOLVER.MAX_EPOCH * self.loader.iters_per_epoch)
        try:
            yield from islice(loader, num_batches)
        finally:
            loader.close()

    def _batches(self) -> Iterator[Batch]:
        """From the loader that there is at each step."""
        while True:
            yield next(self.loader)

    def _load_from(self, iteration: int) -> None:
        self.loader.close()
        self.loader = self._loader_from(iteration)

    def _loader_from(self, iteration: int) -> TrainLoader:
        return build_train_loader(
            self.cfg,
            self.drawings,
            start_iteration=iteration,
            rank=comm.rank(),
            world_size=comm.world_size(),
            neighbours={made: table.numpy() for made, table in self.progress.look_alikes.items()},
            device=self.device,
            bad=self.bad,
        )


def start_from(cfg: CfgNode, model: nn.Module) -> None:
    """Fill a fresh network: MODEL.WEIGHTS, else ImageNet weights if MODEL.BACKBONE.PRETRAIN, else as it was drawn.

    Only the classifier of MODEL.WEIGHTS may differ, since it belongs to the patents it was trained on.
    """
    if cfg.MODEL.WEIGHTS:
        report = load_state(
            model, model_state(read_weights(cfg.MODEL.WEIGHTS)), may_differ=(CLASSIFIER,), source=cfg.MODEL.WEIGHTS
        )
        get_logger().info(f"{cfg.MODEL.WEIGHTS}: {report}")
    elif cfg.MODEL.BACKBONE.PRETRAIN:
        for turn in range(comm.world_size()):  # process 0 downloads, the others then find the file
            if turn == comm.rank():
                get_logger().info(f"ImageNet weights: {load_start_weights(cfg, model)}")
            comm.gather(None)


def num_classes_of(cfg: CfgNode, num_patents: int) -> int:
    """Classes of the head: one a training patent, or MODEL.HEADS.NUM_CLASSES where that is more."""
    wanted = cfg.MODEL.HEADS.NUM_CLASSES
    if 0 < wanted < num_patents:
        raise InputError(
            f"MODEL.HEADS.NUM_CLASSES is {wanted} and the training list has {num_patents} patents; set it to 0"
        )
    return wanted or num_patents


def _check_selection(cfg: CfgNode, data: RetrievalData) -> None:
    """Refuse, before the first step, a choice of the best model that no evaluation could make."""
    check_score(cfg.TEST.SELECT_BY, top_k=cfg.TEST.TOP_K, roc=cfg.TEST.ROC.ENABLED)
    if not {drawing.patent for drawing in data.queries} & {drawing.patent for drawing in data.gallery} - {""}:
        raise InputError(
            f"{data.name}, the first of DATASETS.TESTS, has no query whose patent is in its database, so it cannot choose "
            "the best model; put a set with known patents first"
        )


def _check_look_alikes(cfg: CfgNode) -> None:
    if cfg.DATALOADER.HARD_IDENTITIES and not cfg.TEST.EVAL_PERIOD:
        raise InputError(
            f"DATALOADER.HARD_IDENTITIES is {cfg.DATALOADER.HARD_IDENTITIES} and TEST.EVAL_PERIOD 0: look-alikes are found after "
            "evaluations; set EVAL_PERIOD to 1 or more, or HARD_IDENTITIES to 0"
        )


def _check_features(cfg: CfgNode, device: torch.device) -> None:
    """Refuse what the first evaluation could not make features with."""
    build_test_transforms(cfg)
    kind_for_features(cfg.TEST.NETWORK_PRECISION, device)


def _check_stop(cfg: CfgNode) -> None:
    if cfg.SOLVER.EARLY_STOP_PATIENCE and not cfg.TEST.EVAL_PERIOD:
        raise InputError(
            f"SOLVER.EARLY_STOP_PATIENCE is {cfg.SOLVER.EARLY_STOP_PATIENCE} evaluations and TEST.EVAL_PERIOD 0: there is one, at the end; "
            "set EVAL_PERIOD to 1 or more, or EARLY_STOP_PATIENCE to 0"
        )
