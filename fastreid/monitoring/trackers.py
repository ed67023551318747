"""Services that keep runs of many people in one place: Weights & Biases and MLflow, each through its own library."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from fastreid.monitoring.writers import Writer
from fastreid.utils.cli import one_line
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import write_text

RUN_FILE = "tracker.json"

Answer = TypeVar("Answer")
Settings = Mapping[str, str | int | float]


class WandbWriter(Writer):
    """Numbers, pictures and settings of a run for Weights & Biases; WANDB_MODE, WANDB_API_KEY and such are its own.

    Args:
        folder: the run's OUTPUT_DIR, which names the run and keeps its id.
        project: that runs are put under.
        settings: by their full names.
        iteration: steps done before; above 0 the run of the folder goes on, if there was one.

    Raises:
        EnvironmentSetupError: the library is not there or cannot start a run.
    """

    place = "wandb"
    faults = (Exception,)  # a service that fails must not take the run along

    @staticmethod
    def library() -> Any:
        """The module of the service; refuses where it is not there."""
        with _needed("wandb"):
            import wandb
        return wandb

    def __init__(self, folder: str | Path, *, project: str, settings: Settings, iteration: int = 0):
        wandb = self.library()
        self._picture = wandb.Image
        before = _run_of(folder, self.place) if iteration else None
        self._run = _started(
            self.place,
            lambda: wandb.init(
                project=project,
                name=Path(folder).resolve().name,
                dir=str(folder),
                config=dict(settings),
                id=before,
                resume="allow" if before else None,
            ),
            "log in with `wandb login`, or set WANDB_MODE=offline",
        )
        _keep_run(folder, self.place, self._run.id)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        with self.writing():
            self._run.log(dict(values), step=iteration)

    def picture(self, iteration: int, name: str, image: Image.Image) -> None:
        with self.writing():
            self._run.log({name: self._picture(image)}, step=iteration)

    def close(self, *, finished: bool) -> None:
        with self.writing():
            self._run.finish(exit_code=0 if finished else 1)


class MLflowWriter(Writer):
    """Numbers, pictures and settings of a run for MLflow; MLFLOW_TRACKING_URI and such are its own.

    MLflow takes no @ in names: mAP@10 is mAP_at_10 there. Arguments and errors are those of `WandbWriter`.
    """

    place = "mlflow"
    faults = (Exception,)

    @staticmethod
    def library() -> Any:
        """The module of the service; refuses where it is not there."""
        with _needed("mlflow"):
            import mlflow
        return mlflow

    def __init__(self, folder: str | Path, *, project: str, settings: Settings, iteration: int = 0):
        self._mlflow = mlflow = self.library()
        before = _run_of(folder, self.place) if iteration else None

        def begin() -> str:
            mlflow.set_experiment(project)
            run = mlflow.start_run(run_id=before, run_name=Path(folder).resolve().name)
            if before is None:  # they cannot be changed later
                mlflow.log_params(dict(settings))
            return run.info.run_id

        run_id = _started(self.place, begin, "set MLFLOW_TRACKING_URI to a server or a folder that can be reached")
        _keep_run(folder, self.place, run_id)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        with self.writing():
            self._mlflow.log_metrics({_name(name): value for name, value in values.items()}, step=iteration)

    def picture(self, iteration: int, name: str, image: Image.Image) -> None:
        with self.writing():
            self._mlflow.log_image(image, artifact_file=f"{_name(name)}/{iteration:07d}.png")

    def close(self, *, finished: bool) -> None:
        with self.writing():
            self._mlflow.end_run("FINISHED" if finished else "KILLED")


@contextlib.contextmanager
def _needed(library: str) -> Iterator[None]:
    """Inside, a library that is not there is told with how to get it."""
    try:
        yield
    except ImportError:
        raise EnvironmentSetupError(
            f'TRACKER.NAME {library} needs its library: pip install "fastreid[{library}]", or leave TRACKER.NAME empty'
        )


def _started(name: str, start: Callable[[], Answer], mend: str) -> Answer:
    try:
        return start()
    except Exception as error:
        raise EnvironmentSetupError(f"TRACKER.NAME {name}: no run could be started ({one_line(error)}); {mend}")


def _run_of(folder: str | Path, tracker: str) -> str | None:
    """The id of the run that the folder's run goes by in a service; None if it was not followed there."""
    return _runs(folder).get(tracker)


def _runs(folder: str | Path) -> dict[str, str]:
    """Service -> the id of the folder's run there."""
    path = Path(folder) / RUN_FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError):
        raise InputError(f"{path}: damaged; remove it, and the service gets a new run")


def _keep_run(folder: str | Path, tracker: str, run_id: str) -> None:
    write_text(Path(folder) / RUN_FILE, json.dumps({**_runs(folder), tracker: run_id}) + "\n")


def _name(name: str) -> str:
    return name.replace("@", "_at_")
