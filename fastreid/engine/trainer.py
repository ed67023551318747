"""The room where the siblings meet: from a config to a run that trains and resumes."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from fastreid.config import CfgNode, get_cfg
from fastreid.data.build import build_unreadable_drawings, fill_cache_if_enabled
from fastreid.data.datasets.base import RetrievalData
from fastreid.data.loading.loader import TrainLoader
from fastreid.data.loading.workers import translate_worker_errors
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine.build import build_diagnostics, build_step, check_micro_batch_size
from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.data import build_datasets, build_train_loader
from fastreid.engine.evaluate import build_testers, collect_drawing_lists
from fastreid.engine.features import CLASSIFIER_WEIGHT
from fastreid.engine.hooks.basic import (
    CheckWeightUpdates,
    SampleClasses,
    FreezeLayers,
    SaveCheckpoints,
    SetLearningRate,
    LogInputImages,
    StopOnSignal,
    WriteMetrics,
    write_bad_step_record,
)
from fastreid.engine.hooks.best_models import SaveBestModels, EarlyStopping, set_aside
from fastreid.engine.hooks.evaluation import Evaluate, PreciseBatchNorm
from fastreid.engine.hooks.hard_classes import HardClassMiningHook
from fastreid.engine.precision import inference_dtype
from fastreid.engine.setup import resolve_device, to_device, write_config
from fastreid.engine.tester import make_input_grid
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.engine.train_step import NonFiniteLossError
from fastreid.evaluation.scoring.metrics import check_score_name
from fastreid.modeling import build_model
from fastreid.modeling.build import load_pretrained_backbone
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.weights import extract_model_state, load_state, read_weights
from fastreid.monitoring.build import build_writers, check_tracker
from fastreid.solver.build import build_schedule
from fastreid.structures import Batch, Drawing
from fastreid.utils import comm
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.logger import RESULT, get_logger
from fastreid.utils.text import summarize_error


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
        _check_hard_identities(cfg)
        _check_early_stopping(cfg)
        check_micro_batch_size(cfg)
        check_tracker(cfg)
        self.unreadable = build_unreadable_drawings(cfg)
        _check_feature_settings(cfg, self.device)
        self.drawings, tests = data or build_datasets(cfg)
        _check_model_selection(cfg, next(iter(tests.values())))
        self.loader = self._build_loader(0)
        self.testers = build_testers(cfg, tests, training=self.drawings, unreadable=self.unreadable)
        self.model = to_device(cfg, build_model(cfg, num_classes=resolve_num_classes(cfg, self.loader.num_classes)))
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
        load_initial_weights(self.cfg, self.model)
        if comm.is_main_process():
            self.checkpointer.set_aside()
            set_aside(self.cfg.OUTPUT_DIR)

    def train(self) -> dict[str, float]:
        """Train to the end; returns the best score by the name of TEST.SELECT_BY."""
        finished = self._finished_reason()
        if finished:
            get_logger().log(RESULT, f"the run is finished: {finished}")
            return {self.cfg.TEST.SELECT_BY: self.progress.best}
        self.progress.stopped_early = False
        fill_cache_if_enabled(self.cfg, *collect_drawing_lists(self.testers), training=self.drawings, unreadable=self.unreadable)
        loop = self._build_loop()
        if comm.is_main_process():  # now that nothing can be refused any more
            write_config(self.cfg)
        try:
            with translate_worker_errors(self.loader.worker_error):
                loop.run()
        except NonFiniteLossError as bad:
            names = [self.drawings[row].name for row in bad.batch.rows.tolist()]
            everyone = comm.all_gather_object((names, bad.values))  # all come here at the same step, one for the fault of another
            record = write_bad_step_record(self.cfg.OUTPUT_DIR, loop.iteration, everyone)
            raise NonFiniteLossError(
                f"step {loop.iteration + 1}: {bad}; its drawings are in {record}", bad.batch, bad.values
            )
        except RuntimeError as error:
            if self.cfg.DETERMINISTIC and "deterministic" in str(error):
                raise EnvironmentSetupError(f"DETERMINISTIC is True: {summarize_error(error)[:200]}; set it to False")
            raise
        finally:
            self.loader.close()
        get_logger().log(
            RESULT,
            f"done: best {self.cfg.TEST.SELECT_BY} {self.progress.best:.2f} after epoch {self.progress.best_epoch + 1}, "
            f"in {Path(self.cfg.OUTPUT_DIR) / 'model_best.pth'}",
        )
        return {self.cfg.TEST.SELECT_BY: self.progress.best}

    def _finished_reason(self) -> str:
        """Why there is nothing left to do; "" where there is. Asked before a log is opened, or it would stay open."""
        epochs, max_epochs = self.progress.iteration // self.loader.iters_per_epoch, self.cfg.SOLVER.MAX_EPOCH
        if epochs >= max_epochs:
            return f"all {max_epochs} epochs are done"
        if self.progress.stopped_early and self.progress.num_bad_evaluations >= self.cfg.SOLVER.EARLY_STOP_PATIENCE > 0:
            return f"SOLVER.EARLY_STOP_PATIENCE ended it after {epochs} epochs"
        return ""

    def _build_loop(self) -> TrainLoop:
        if self.progress.iteration:
            self._restart_loader(self.progress.iteration)
        return TrainLoop(
            self.step,
            self._iterate_batches(),
            hooks=self._build_hooks(),
            iters_per_epoch=self.loader.iters_per_epoch,
            max_epochs=self.cfg.SOLVER.MAX_EPOCH,
            iteration=self.progress.iteration,
        )

    def _build_hooks(self) -> list[Hook]:
        cfg, progress, checkpoints = self.cfg, self.progress, self.cfg.SOLVER.CHECKPOINT_PERIOD
        best = SaveBestModels(self.checkpointer, progress, num=cfg.SOLVER.SAVE_TOP_K, period=checkpoints)
        where = {"iteration": progress.iteration, "iters_per_epoch": self.loader.iters_per_epoch}
        writers = build_writers(cfg, **where) if comm.is_main_process() else []
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
        draw, told_from = [], resolve_num_classes(cfg, self.loader.num_classes)
        if isinstance(heads, EmbeddingHead):
            draw = [SampleClasses(heads, cfg.SEED)]
            told_from = heads.num_sampled_classes(cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.GRAD_ACCUM_STEPS)
        precise = [PreciseBatchNorm(self._precise_bn_batches, cfg.TEST.PRECISE_BN.NUM_ITER)]
        precise = precise if cfg.TEST.PRECISE_BN.ENABLED else []
        again = [*precise, evaluate] if precise else []
        stop = EarlyStopping(progress, patience=cfg.SOLVER.EARLY_STOP_PATIENCE, period=cfg.TEST.EVAL_PERIOD, again=again)
        renew = HardClassMiningHook(
            progress,
            period=cfg.TEST.EVAL_PERIOD,
            num_patents=self.loader.num_classes,
            num_drawings=len(self.drawings),
            batch_size=cfg.SOLVER.IMS_PER_BATCH,
            memory_mb=cfg.TEST.MEMORY_MB,
            restart_loader=self._restart_loader,
        )
        return [
            SetLearningRate(self.schedule),
            self.frozen,
            *draw,
            CheckWeightUpdates(),
            *build_diagnostics(cfg, num_classes=told_from, iters_per_epoch=self.loader.iters_per_epoch),
            LogInputImages(metrics, make_input_grid),
            *precise,
            evaluate,
            *([stop] if cfg.SOLVER.EARLY_STOP_PATIENCE else []),
            *([renew] if cfg.DATALOADER.HARD_IDENTITIES else []),
            metrics,
            SaveCheckpoints(self.checkpointer, progress, period=checkpoints),
            *([best] if cfg.SOLVER.SAVE_TOP_K else []),
            StopOnSignal(self.checkpointer, progress),
        ]

    def _precise_bn_batches(self, num_batches: int) -> Iterator[Batch]:
        loader = self._build_loader(self.cfg.SOLVER.MAX_EPOCH * self.loader.iters_per_epoch)
        try:
            yield from islice(loader, num_batches)
        finally:
            loader.close()

    def _iterate_batches(self) -> Iterator[Batch]:
        """From the loader that there is at each step."""
        while True:
            yield next(self.loader)

    def _restart_loader(self, iteration: int) -> None:
        self.loader.close()
        self.loader = self._build_loader(iteration)

    def _build_loader(self, iteration: int) -> TrainLoader:
        return build_train_loader(
            self.cfg,
            self.drawings,
            start_iteration=iteration,
            rank=comm.get_rank(),
            world_size=comm.get_world_size(),
            neighbors={made: table.numpy() for made, table in self.progress.hard_identities.items()},
            device=self.device,
            unreadable=self.unreadable,
        )


def load_initial_weights(cfg: CfgNode, model: nn.Module) -> None:
    """Fill a fresh network: MODEL.WEIGHTS, else ImageNet weights if MODEL.BACKBONE.PRETRAIN, else as it was drawn.

    Only the classifier of MODEL.WEIGHTS may differ, since it belongs to the patents it was trained on.
    """
    if cfg.MODEL.WEIGHTS:
        report = load_state(
            model, extract_model_state(read_weights(cfg.MODEL.WEIGHTS)), may_differ=(CLASSIFIER_WEIGHT,), source=cfg.MODEL.WEIGHTS
        )
        get_logger().info(f"{cfg.MODEL.WEIGHTS}: {report}")
    elif cfg.MODEL.BACKBONE.PRETRAIN:
        for turn in range(comm.get_world_size()):  # process 0 downloads, the others then find the file
            if turn == comm.get_rank():
                get_logger().info(f"ImageNet weights: {load_pretrained_backbone(cfg, model)}")
            comm.all_gather_object(None)


def resolve_num_classes(cfg: CfgNode, num_patents: int) -> int:
    """Classes of the head: one a training patent, or MODEL.HEADS.NUM_CLASSES where that is more."""
    wanted = cfg.MODEL.HEADS.NUM_CLASSES
    if 0 < wanted < num_patents:
        raise InputError(
            f"MODEL.HEADS.NUM_CLASSES is {wanted} and the training list has {num_patents} patents; set it to 0"
        )
    return wanted or num_patents


def _check_model_selection(cfg: CfgNode, data: RetrievalData) -> None:
    """Refuse, before the first step, a choice of the best model that no evaluation could make."""
    check_score_name(cfg.TEST.SELECT_BY, top_k=cfg.TEST.TOP_K, roc=cfg.TEST.ROC.ENABLED)
    if not {drawing.patent for drawing in data.queries} & {drawing.patent for drawing in data.gallery} - {""}:
        raise InputError(
            f"{data.name}, the first of DATASETS.TESTS, has no query whose patent is in its database, so it cannot choose "
            "the best model; put a set with known patents first"
        )


def _check_hard_identities(cfg: CfgNode) -> None:
    if cfg.DATALOADER.HARD_IDENTITIES and not cfg.TEST.EVAL_PERIOD:
        raise InputError(
            f"DATALOADER.HARD_IDENTITIES is {cfg.DATALOADER.HARD_IDENTITIES} and TEST.EVAL_PERIOD 0: look-alikes are found after "
            "evaluations; set EVAL_PERIOD to 1 or more, or HARD_IDENTITIES to 0"
        )


def _check_feature_settings(cfg: CfgNode, device: torch.device) -> None:
    """Refuse what the first evaluation could not make features with."""
    build_test_transforms(cfg)
    inference_dtype(cfg.TEST.NETWORK_PRECISION, device)


def _check_early_stopping(cfg: CfgNode) -> None:
    if cfg.SOLVER.EARLY_STOP_PATIENCE and not cfg.TEST.EVAL_PERIOD:
        raise InputError(
            f"SOLVER.EARLY_STOP_PATIENCE is {cfg.SOLVER.EARLY_STOP_PATIENCE} evaluations and TEST.EVAL_PERIOD 0: there is one, at the end; "
            "set EVAL_PERIOD to 1 or more, or EARLY_STOP_PATIENCE to 0"
        )
