"""Send the metrics of a run to an experiment tracker: Weights & Biases or MLflow."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from fastreid.monitoring.writers import Writer
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import write_text
from fastreid.utils.text import summarize_error

RUN_FILE = "tracker.json"

T = TypeVar("T")
Settings = Mapping[str, str | int | float]


class WandbWriter(Writer):
    """Send the metrics, images and settings of a run to Weights & Biases.

    wandb reads its own environment variables, such as WANDB_MODE and WANDB_API_KEY.

    Args:
        folder: OUTPUT_DIR of the run; its name is the name of the run, and it stores the run's id.
        project: project of the run.
        settings: settings of the run by full name.
        iteration: iterations completed before this start; above 0 the folder's run is resumed, if it has one.

    Raises:
        EnvironmentSetupError: the library is not installed or cannot start a run.
    """

    target = "wandb"
    tolerated_errors = (Exception,)  # a failing service must not end the training

    @staticmethod
    def import_library() -> Any:
        """Import and return the library.

        Raises:
            EnvironmentSetupError: the library is not installed.
        """
        with _require_library("wandb", package="wandb"):
            import wandb
        return wandb

    def __init__(self, folder: str | Path, *, project: str, settings: Settings, iteration: int = 0):
        wandb = self.import_library()
        self._image_type = wandb.Image
        run_id = _read_run_id(folder, self.target) if iteration else None
        self._run = _start_run(
            self.target,
            lambda: wandb.init(
                project=project,
                name=Path(folder).resolve().name,
                dir=str(folder),
                config=dict(settings),
                id=run_id,
                resume="allow" if run_id else None,
            ),
            "log in with `wandb login`, or set WANDB_MODE=offline",
        )
        _save_run_id(folder, self.target, self._run.id)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Log the metrics."""
        with self.tolerate_write_errors():
            self._run.log(dict(values), step=iteration)

    def add_image(self, iteration: int, name: str, image: Image.Image) -> None:
        """Log an image."""
        with self.tolerate_write_errors():
            self._run.log({name: self._image_type(image)}, step=iteration)

    def close(self, *, finished: bool) -> None:
        """End the run, with exit code 1 if training was not finished."""
        with self.tolerate_write_errors():
            self._run.finish(exit_code=0 if finished else 1)


class MLflowWriter(Writer):
    """Send the metrics, images and settings of a run to MLflow.

    MLflow reads its own environment variables, such as MLFLOW_TRACKING_URI. It does not allow @ in names, so mAP@10 is
    logged as mAP_at_10.

    Args:
        folder: see `WandbWriter`.
        project: experiment of the run.
        settings: see `WandbWriter`.
        iteration: see `WandbWriter`.

    Raises:
        EnvironmentSetupError: the library is not installed or cannot start a run.
    """

    target = "mlflow"
    tolerated_errors = (Exception,)

    @staticmethod
    def import_library() -> Any:
        """Import and return the library.

        Raises:
            EnvironmentSetupError: the library is not installed.
        """
        with _require_library("mlflow", package="mlflow-skinny"):
            import mlflow
        return mlflow

    def __init__(self, folder: str | Path, *, project: str, settings: Settings, iteration: int = 0):
        self._mlflow = mlflow = self.import_library()
        previous_id = _read_run_id(folder, self.target) if iteration else None

        def start() -> str:
            mlflow.set_experiment(project)
            run = mlflow.start_run(run_id=previous_id, run_name=Path(folder).resolve().name)
            if previous_id is None:  # MLflow rejects changed parameters of a resumed run
                mlflow.log_params(dict(settings))
            return str(run.info.run_id)

        run_id = _start_run(self.target, start, "set MLFLOW_TRACKING_URI to a reachable server or folder")
        _save_run_id(folder, self.target, run_id)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Log the metrics."""
        with self.tolerate_write_errors():
            self._mlflow.log_metrics({_metric_name(name): value for name, value in values.items()}, step=iteration)

    def add_image(self, iteration: int, name: str, image: Image.Image) -> None:
        """Log an image as an artifact."""
        with self.tolerate_write_errors():
            self._mlflow.log_image(image, artifact_file=f"{_metric_name(name)}/{iteration:07d}.png")

    def close(self, *, finished: bool) -> None:
        """End the run, with the status KILLED if training was not finished."""
        with self.tolerate_write_errors():
            self._mlflow.end_run("FINISHED" if finished else "KILLED")


@contextlib.contextmanager
def _require_library(library: str, *, package: str) -> Iterator[None]:
    """Explain how to install the library if an import in this context fails."""
    try:
        yield
    except ImportError:
        raise EnvironmentSetupError(
            f"TRACKER.NAME {library}: the library is not installed; run pip install {package}, "
            "or leave TRACKER.NAME empty"
        )


def _start_run(name: str, start: Callable[[], T], hint: str) -> T:
    try:
        return start()
    except Exception as error:
        raise EnvironmentSetupError(f"TRACKER.NAME {name}: cannot start a run ({summarize_error(error)}); {hint}")


def _read_run_id(folder: str | Path, tracker: str) -> str | None:
    """Return the id of the folder's run in a tracker; None if the tracker has no run of this folder."""
    return _read_run_ids(folder).get(tracker)


def _read_run_ids(folder: str | Path) -> dict[str, str]:
    """Return tracker -> id of the folder's run."""
    path = Path(folder) / RUN_FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError):
        raise InputError(f"{path}: damaged; remove it to start a new run in the tracker")


def _save_run_id(folder: str | Path, tracker: str, run_id: str) -> None:
    write_text(Path(folder) / RUN_FILE, json.dumps({**_read_run_ids(folder), tracker: run_id}) + "\n")


def _metric_name(name: str) -> str:
    return name.replace("@", "_at_")
