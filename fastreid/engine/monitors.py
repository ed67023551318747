"""From a config to what shows a run: where its numbers go, and who looks for trouble in them."""

from collections.abc import Callable, Sequence

from fastreid.config import CfgNode, get_cfg
from fastreid.config.config import leaves
from fastreid.engine.train_loop import Hook
from fastreid.experiments.comparison import RunRecord, read_runs
from fastreid.modeling.build import build_losses
from fastreid.monitoring.console import ConsoleWriter
from fastreid.monitoring.diagnostics import WatchForTrouble
from fastreid.monitoring.tensorboard import TensorboardWriter
from fastreid.monitoring.trackers import MLflowWriter, WandbWriter
from fastreid.monitoring.writers import CSVWriter, JSONWriter, Writer
from fastreid.utils.registry import Registry

# Each is made with the run's folder, `project`, `settings` by name, and `iteration`, the steps done before.
TRACKERS: Registry[Callable[..., Writer]] = Registry("tracker", {"wandb": WandbWriter, "mlflow": MLflowWriter})


def check_tracker(cfg: CfgNode) -> None:
    """Refuse a TRACKER.NAME that cannot be followed, before anything of an earlier run is touched.

    Raises:
        InputError: an unknown name.
        EnvironmentSetupError: its library is not there.
    """
    tracker = TRACKERS.get(cfg.TRACKER.NAME) if cfg.TRACKER.NAME else None
    library = getattr(tracker, "library", None)  # a tracker of one's own may do without
    if library is not None:
        library()


def build_writers(cfg: CfgNode, *, iteration: int, iters_per_epoch: int) -> list[Writer]:
    """Where the numbers of a run go; for the process that writes.

    Args:
        cfg: settings.
        iteration: steps done before.
        iters_per_epoch: steps of an epoch.

    Raises:
        InputError: an unknown TRACKER.NAME.
        EnvironmentSetupError: its library is not there or cannot start a run.
    """
    first, *more = cfg.DATASETS.TESTS
    settings = changed_settings(cfg)
    tracker = TRACKERS.get(cfg.TRACKER.NAME) if cfg.TRACKER.NAME else None
    return [
        ConsoleWriter(cfg.SOLVER.MAX_EPOCH * iters_per_epoch, iters_per_epoch),
        JSONWriter(cfg.OUTPUT_DIR, iteration=iteration),
        CSVWriter(cfg.OUTPUT_DIR),
        TensorboardWriter(
            cfg.OUTPUT_DIR,
            iteration=iteration,
            settings=settings,
            scores=(f"{first}/{cfg.TEST.SELECT_BY}" if more else cfg.TEST.SELECT_BY, "total_loss"),
        ),
        *(
            [tracker(cfg.OUTPUT_DIR, project=cfg.TRACKER.PROJECT, settings=settings, iteration=iteration)]
            if tracker
            else []
        ),
    ]


def changed_settings(cfg: CfgNode) -> dict[str, str | int | float]:
    """The settings that are not the defaults, by their full names; what is no number as text."""
    return {
        key: value if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
        for key, value in leaves(cfg.changes())
    }


def build_runs(folders: Sequence[str]) -> list[RunRecord]:
    """Runs that were made, by their folders; a setting that one did not know yet has today's default."""
    return read_runs(folders, {k: list(v) if isinstance(v, tuple) else v for k, v in leaves(get_cfg())})


def build_watch(cfg: CfgNode, *, num_classes: int) -> list[Hook]:
    """The hook that tells of trouble, unless SOLVER.DIAGNOSTICS_PERIOD is 0."""
    if not cfg.SOLVER.DIAGNOSTICS_PERIOD:
        return []
    return [
        WatchForTrouble(
            period=cfg.SOLVER.DIAGNOSTICS_PERIOD,
            collapsed={t.key: t.scale * t.collapsed for t in build_losses(cfg) if t.collapsed is not None},
            num_classes=num_classes,
            settle_steps=max(cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.FREEZE_ITERS),
        )
    ]
