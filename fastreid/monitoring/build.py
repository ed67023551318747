"""Build the writers of a run from its config."""

from collections.abc import Callable

from fastreid.config import CfgNode
from fastreid.config.config import iter_settings
from fastreid.monitoring.console import ConsoleWriter
from fastreid.monitoring.tensorboard import TensorboardWriter
from fastreid.monitoring.trackers import MLflowWriter, WandbWriter
from fastreid.monitoring.writers import CSVWriter, JSONWriter, Writer
from fastreid.utils.registry import Registry

# Each is called with the run's folder and the keywords `project`, `settings` (by full name) and `iteration`, the
# iterations completed before this start.
TRACKERS: Registry[Callable[..., Writer]] = Registry("tracker", {"wandb": WandbWriter, "mlflow": MLflowWriter})


def check_tracker(cfg: CfgNode) -> None:
    """Check TRACKER.NAME and its library before any file of an earlier run is changed.

    Raises:
        InputError: TRACKER.NAME is unknown.
        EnvironmentSetupError: the tracker's library is not installed.
    """
    tracker = TRACKERS.get(cfg.TRACKER.NAME, "TRACKER.NAME") if cfg.TRACKER.NAME else None
    import_library = getattr(tracker, "import_library", None)  # optional in a user's own tracker
    if import_library is not None:
        import_library()


def build_writers(cfg: CfgNode, *, iteration: int, iters_per_epoch: int, best: float = -1.0) -> list[Writer]:
    """Build all writers of a run; for the main process only.

    Args:
        cfg: settings.
        iteration: iterations completed before this start.
        iters_per_epoch: iterations per epoch.
        best: best score of TEST.SELECT_BY before this start; below 0: there was no evaluation.

    Raises:
        InputError: TRACKER.NAME is unknown.
        EnvironmentSetupError: the tracker's library is not installed or cannot start a run.
    """
    first, *others = cfg.DATASETS.TESTS
    settings = changed_settings(cfg)
    tracker = TRACKERS.get(cfg.TRACKER.NAME, "TRACKER.NAME") if cfg.TRACKER.NAME else None
    return [
        ConsoleWriter(cfg.SOLVER.MAX_EPOCH * iters_per_epoch, iters_per_epoch),
        JSONWriter(cfg.OUTPUT_DIR, iteration=iteration),
        CSVWriter(cfg.OUTPUT_DIR),
        TensorboardWriter(
            cfg.OUTPUT_DIR,
            iteration=iteration,
            settings=settings,
            score=f"{first}/{cfg.TEST.SELECT_BY}" if others else cfg.TEST.SELECT_BY,
            best=best,
        ),
        *(
            [tracker(cfg.OUTPUT_DIR, project=cfg.TRACKER.PROJECT, settings=settings, iteration=iteration)]
            if tracker
            else []
        ),
    ]


def changed_settings(cfg: CfgNode) -> dict[str, str | int | float]:
    """Return the settings that differ from the defaults by full name; numbers as they are, all else as text."""
    return {
        key: value if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
        for key, value in iter_settings(cfg.changes())
    }
