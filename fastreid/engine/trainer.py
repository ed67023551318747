"""Train a model as a config describes: build the parts of a run, resume it, train."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from torch import Tensor

from fastreid.config import CfgNode, get_cfg
from fastreid.data.build import build_unreadable_drawings, fill_cache_if_enabled
from fastreid.data.datasets.base import RetrievalData
from fastreid.data.loading.loader import TrainLoader
from fastreid.data.loading.workers import translate_worker_errors
from fastreid.engine.build import build_diagnostics, build_step, check_micro_batch_size
from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.checkpoint.index import BEST_FILE, archive_previous_run
from fastreid.engine.data import build_datasets, build_train_loader
from fastreid.engine.evaluate import build_testers, collect_drawing_lists
from fastreid.engine.head_only import FeatureLoader, check_head_only, freeze_backbone, prepare_head
from fastreid.engine.hooks import (
    CheckWeightUpdates,
    EarlyStopping,
    Evaluate,
    FreezeLayers,
    LogInputImages,
    MineHardIdentities,
    PreciseBatchNorm,
    RecordUnreadable,
    SampleClasses,
    SaveBestModels,
    SaveCheckpoints,
    SaveUnfinishedWork,
    SetLearningRate,
    StopOnSignal,
    WriteMetrics,
)
from fastreid.engine.model.network import build_training_model, load_initial_weights, resolve_num_classes
from fastreid.engine.run_checks import (
    check_component_names,
    check_disk_space,
    check_drawings,
    check_evaluation_period,
    check_feature_settings,
    check_model_selection,
    compute_run_fingerprint,
    describe_finished_epochs,
)
from fastreid.engine.setup import check_output_folder, resolve_device, write_config
from fastreid.engine.tester import make_input_grid
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.engine.training_errors import explain_training_errors
from fastreid.modeling.heads import EmbeddingHead
from fastreid.monitoring.build import build_writers, check_tracker
from fastreid.solver.build import build_schedule, resolve_iterations
from fastreid.structures import Batch, Drawing
from fastreid.utils import comm
from fastreid.utils.errors import StorageError
from fastreid.utils.logger import RESULT, get_logger
from fastreid.utils.text import format_count


class DefaultTrainer:
    """A training run of a config.

    Args:
        cfg: frozen settings.
        data: result of `build_datasets(cfg)`, if it has been built before; None builds it.

    Raises:
        FastreidError: any error that can be detected before the first iteration.
    """

    def __init__(self, cfg: CfgNode, *, data: tuple[Sequence[Drawing], Mapping[str, RetrievalData]] | None = None):
        self.cfg = cfg
        self.device = resolve_device(cfg)
        self.progress = Progress()
        check_component_names(cfg, training=True)
        check_evaluation_period(cfg)
        check_micro_batch_size(cfg)
        check_head_only(cfg)
        check_tracker(cfg)
        self.unreadable = build_unreadable_drawings(cfg)
        self.features: Tensor | None = None
        check_feature_settings(cfg, self.device)
        self.drawings, tests = data or build_datasets(cfg)
        self.fingerprint = compute_run_fingerprint(cfg, self.drawings, tests)
        check_model_selection(cfg, next(iter(tests.values())))
        self.loader = self._build_loader(0)
        self.testers = build_testers(cfg, tests, training=self.drawings, unreadable=self.unreadable)
        self.model = build_training_model(cfg, self.drawings)
        if cfg.SOLVER.HEAD_ONLY:
            freeze_backbone(self.model)
        self.schedule = build_schedule(cfg, self.loader.iters_per_epoch)
        self.freeze_layers = FreezeLayers(
            cfg.MODEL.FREEZE_LAYERS, resolve_iterations(cfg, "FREEZE_ITERS", self.loader.iters_per_epoch)
        )
        self.freeze_layers.check(self.model)
        self.step = build_step(cfg, self.model, iters_per_epoch=self.loader.iters_per_epoch)
        self.checkpointer = Checkpointer(
            cfg.OUTPUT_DIR,
            self.step,
            iters_per_epoch=self.loader.iters_per_epoch,
            config=cfg.dump(),
            defaults=get_cfg().dump(),
            data=self.fingerprint,
            check_folder=functools.partial(check_output_folder, cfg.OUTPUT_DIR),
        )
        get_logger().info(
            f"{format_count(len(self.drawings), 'drawing')} of {format_count(self.loader.num_classes, 'patent')}, "
            f"{format_count(self.loader.iters_per_epoch, 'iteration')} per epoch, "
            f"{format_count(cfg.SOLVER.MAX_EPOCH, 'epoch')}; "
            f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.2f} M parameters"
        )

    def resume_or_load(self, resume: bool = False) -> None:
        """Resume from the last checkpoint in OUTPUT_DIR, or load the initial weights (see `load_initial_weights`).

        Args:
            resume: resume if there is a checkpoint; otherwise an earlier run in OUTPUT_DIR is archived.

        Raises:
            FastreidError: no checkpoint can be loaded, or it or the weights do not fit the config.
        """
        progress = self.checkpointer.resume() if resume else None
        self.progress = progress or self.progress
        if progress is not None and self._finished_reason():
            return
        if progress is None:
            if resume:
                get_logger().info(f"no checkpoint in {self.cfg.OUTPUT_DIR}; starting from the beginning")
            load_initial_weights(self.cfg, self.model, self.fingerprint.state)
        check_disk_space(self.cfg, self.checkpointer, self.progress, is_new=progress is None)
        check_drawings(self.cfg, self.drawings, tests=collect_drawing_lists(self.testers))
        if progress is None and comm.is_main_process():
            archive_previous_run(self.cfg.OUTPUT_DIR)

    def train(self) -> dict[str, float]:
        """Train until the end of the run.

        Returns:
            The best score, with the name of TEST.SELECT_BY as its key.

        Raises:
            NonFiniteLossError: a loss or gradient is NaN or Inf; `bad_step.json` lists the drawings.
            EnvironmentSetupError: DETERMINISTIC is True and an operation has no deterministic implementation.
        """
        finished_reason = self._finished_reason()
        if finished_reason:
            get_logger().log(RESULT, f"the run is finished: {finished_reason}")
            return {self.cfg.TEST.SELECT_BY: self.progress.best}
        self.progress.stopped_early = False
        fill_cache_if_enabled(
            self.cfg, *collect_drawing_lists(self.testers), training=self.drawings, unreadable=self.unreadable
        )
        self.checkpointer.prepare_best_models(self.progress)
        self._prepare_head()
        loop = self._build_loop()
        if comm.is_main_process():  # all settings have been checked now
            write_config(self.cfg)
        explain_errors = explain_training_errors(
            loop, drawings=self.drawings, checkpointer=self.checkpointer, is_deterministic=self.cfg.DETERMINISTIC
        )
        try:
            with explain_errors, translate_worker_errors(self.loader.worker_error):
                loop.run()
        finally:
            self.loader.close()
        self._log_best_model()
        return {self.cfg.TEST.SELECT_BY: self.progress.best}

    def _prepare_head(self) -> None:
        """Fit the projection of a new run, and replace the drawings by their features if only the head is trained."""
        is_new = self.progress.iteration == 0
        if not self.cfg.SOLVER.HEAD_ONLY and not (self.cfg.MODEL.HEADS.PROJECTION and is_new):
            return
        features = prepare_head(self.cfg, self.model, self.drawings, is_new=is_new)
        if self.cfg.SOLVER.HEAD_ONLY:
            self.features = features
            self._restart_loader(self.progress.iteration)

    def _log_best_model(self) -> None:
        best = Path(self.cfg.OUTPUT_DIR) / BEST_FILE
        check_output_folder(self.cfg.OUTPUT_DIR)
        if comm.is_main_process() and self.progress.best_epoch >= 0 and not best.is_file():
            raise StorageError(f"{best}: saved by this run, but it no longer exists; restore it, or train again")
        get_logger().log(
            RESULT,
            f"done: best {self.cfg.TEST.SELECT_BY} {self.progress.best:.2f} after epoch "
            f"{self.progress.best_epoch + 1}, in {best}",
        )

    def _finished_reason(self) -> str:
        """Return why the run is finished, or "" if it is not; called before the writers open their files."""
        epochs, max_epochs = self.progress.iteration // self.loader.iters_per_epoch, self.cfg.SOLVER.MAX_EPOCH
        if epochs >= max_epochs and not self.progress.epoch_end_pending:
            return describe_finished_epochs(epochs, max_epochs)
        if self.progress.stopped_early and self.progress.num_bad_evaluations >= self.cfg.SOLVER.EARLY_STOP_PATIENCE > 0:
            return f"SOLVER.EARLY_STOP_PATIENCE stopped it after {format_count(epochs, 'epoch')}"
        return ""

    def _build_loop(self) -> TrainLoop:
        if self.progress.iteration:
            self._restart_loader(self.progress.iteration)
        hooks, epoch_end_pending = self.build_hooks(), self.progress.epoch_end_pending
        self.progress.epoch_end_pending = False
        return TrainLoop(
            self.step,
            self._iterate_batches(),
            hooks=hooks,
            iters_per_epoch=self.loader.iters_per_epoch,
            max_epochs=self.cfg.SOLVER.MAX_EPOCH,
            iteration=self.progress.iteration,
            epoch_end_pending=epoch_end_pending,
        )

    def build_hooks(self) -> list[Hook]:
        """Return the hooks in their order: later ones use results of earlier ones. Override it to add your own."""
        cfg, progress, checkpoint_period = self.cfg, self.progress, self.cfg.SOLVER.CHECKPOINT_PERIOD
        best_models = SaveBestModels(
            self.checkpointer, progress, num_models=cfg.SOLVER.SAVE_TOP_K, period=checkpoint_period
        )
        metrics = self._build_metrics_hook()
        evaluate = Evaluate(
            self.testers,
            progress,
            period=cfg.TEST.EVAL_PERIOD,
            select_by=cfg.TEST.SELECT_BY,
            checkpointer=self.checkpointer,
            metrics=metrics,
            num_points=cfg.TEST.PROJECTOR,
            best_models=best_models if cfg.SOLVER.SAVE_TOP_K else None,
        )
        heads = self.model.get_submodule("heads")
        sample_classes, num_classes = [], resolve_num_classes(cfg, self.loader.num_classes)
        if isinstance(heads, EmbeddingHead):
            sample_classes = [SampleClasses(heads, cfg.SEED)]
            num_classes = heads.num_sampled_classes(cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.GRAD_ACCUM_STEPS)
        enabled = int(cfg.TEST.PRECISE_BN.ENABLED)
        precise_bn = [PreciseBatchNorm(self._precise_bn_batches, cfg.TEST.PRECISE_BN.NUM_ITER)] * enabled
        early_stopping = EarlyStopping(
            progress,
            patience=cfg.SOLVER.EARLY_STOP_PATIENCE,
            period=cfg.TEST.EVAL_PERIOD,
            rerun_hooks=[*precise_bn, evaluate] if precise_bn else [],
        )
        hard_identity_mining = MineHardIdentities(
            progress,
            period=cfg.TEST.EVAL_PERIOD,
            num_patents=self.loader.num_classes,
            num_drawings=len(self.drawings),
            batch_size=cfg.SOLVER.IMS_PER_BATCH,
            memory_mb=cfg.TEST.MEMORY_MB,
            num_sub_centers=cfg.MODEL.HEADS.SUB_CENTERS,
            restart_loader=self._restart_loader,
        )
        return [
            RecordUnreadable(self.checkpointer, self.unreadable),
            SaveUnfinishedWork(self.checkpointer, progress, eval_period=cfg.TEST.EVAL_PERIOD),
            SetLearningRate(self.schedule),
            self.freeze_layers,
            *sample_classes,
            *([] if cfg.MODEL.HEADS.PROJECTION and cfg.SOLVER.BASE_LR == 0 else [CheckWeightUpdates()]),
            *build_diagnostics(cfg, num_classes=num_classes, iters_per_epoch=self.loader.iters_per_epoch),
            *([] if cfg.SOLVER.HEAD_ONLY else [LogInputImages(metrics, make_input_grid)]),
            *precise_bn,
            evaluate,
            *([early_stopping] if cfg.SOLVER.EARLY_STOP_PATIENCE else []),
            *([hard_identity_mining] if cfg.DATALOADER.HARD_IDENTITIES else []),
            metrics,
            SaveCheckpoints(self.checkpointer, progress, period=checkpoint_period),
            *([best_models] if cfg.SOLVER.SAVE_TOP_K else []),
            StopOnSignal(self.checkpointer, progress),
        ]

    def _build_metrics_hook(self) -> WriteMetrics:
        # The last line of an epoch is written with its evaluation, which may be repeated.
        written = self.progress.iteration - int(self.progress.epoch_end_pending)
        writers = []
        if comm.is_main_process():
            iters_per_epoch, best = self.loader.iters_per_epoch, self.progress.best
            writers = build_writers(self.cfg, iteration=written, iters_per_epoch=iters_per_epoch, best=best)
        return WriteMetrics(
            writers,
            self.progress,
            period=self.cfg.SOLVER.LOG_PERIOD,
            batch_size=self.cfg.SOLVER.IMS_PER_BATCH,
            check_folder=functools.partial(check_output_folder, self.cfg.OUTPUT_DIR),
        )

    def _precise_bn_batches(self, num_batches: int) -> Iterator[Batch]:
        loader = self._build_loader(self.cfg.SOLVER.MAX_EPOCH * self.loader.iters_per_epoch)
        try:
            yield from islice(loader, num_batches)
        finally:
            loader.close()

    def _iterate_batches(self) -> Iterator[Batch]:
        """Yield batches without end, always from the current loader, which may be restarted."""
        while True:
            yield next(self.loader)

    def _restart_loader(self, iteration: int) -> None:
        self.loader.close()
        self.loader = self._build_loader(iteration)

    def _build_loader(self, iteration: int) -> TrainLoader | FeatureLoader:
        if self.features is not None:
            return FeatureLoader(self.features, self.drawings, self.cfg, start_iteration=iteration, device=self.device)
        return build_train_loader(
            self.cfg,
            self.drawings,
            start_iteration=iteration,
            rank=comm.get_rank(),
            world_size=comm.get_world_size(),
            neighbors={start: table.numpy() for start, table in self.progress.hard_identities.items()},
            device=self.device,
            unreadable=self.unreadable,
        )
