"""Checkpoint files of a run: their names, the order in which `--resume` tries them, and their removal."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from fastreid.engine.resume.unreadable_record import RECORD_FILE
from fastreid.utils.checksums import SUFFIX, checksum_path, move_with_checksum
from fastreid.utils.files import write_text

BEST_FILE = "model_best.pth"
PREVIOUS_BEST_FILE = "model_best.previous.pth"
FINAL_FILE = "model_final.pth"
BEST_AVERAGE_FILE = "model_best_average.pth"
PREVIOUS_BEST_AVERAGE_FILE = "model_best_average.previous.pth"
FINAL_AVERAGE_FILE = "model_final_average.pth"
STOPPED_FILE = "model_stopped.pth"
BEFORE_EVALUATION_FILE = "model_before_evaluation.pth"
TEMPORARY_FILES = (BEFORE_EVALUATION_FILE, "model_before_evaluation.previous.pth")  # until the next checkpoint

LAST_CHECKPOINT_FILE = "last_checkpoint"
INDEX_FILE = "resume_order"
BEST_MODEL_PATTERN = re.compile(r"model_best_\d{4,}_\d+\.\d\d\.pth")  # 0-based epoch and score
PREVIOUS_SUFFIX = ".previous.pth"


class CheckpointIndex:
    """Names of the checkpoints that a run can resume from, newest first.

    The newest name is in `last_checkpoint`, as in fast-reid; all names are in `resume_order`, one per line. A run never
    resumes from other files, such as those of an earlier run in the same folder.

    Args:
        folder: OUTPUT_DIR of the run.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """Return all names, newest first, including those of missing files."""
        return list(dict.fromkeys([*self._read(LAST_CHECKPOINT_FILE)[:1], *self._read(INDEX_FILE)]))

    def write(self, names: Sequence[str]) -> None:
        """Replace all names.

        If the process is killed between the two files, the newest name is the old one and no name is lost.
        """
        if self._read(INDEX_FILE) != list(names):
            write_text(self.folder / INDEX_FILE, "".join(f"{name}\n" for name in names), make_folder=False)
        if self._read(LAST_CHECKPOINT_FILE) != [names[0]]:
            write_text(self.folder / LAST_CHECKPOINT_FILE, names[0], make_folder=False)

    def add(self, name: str) -> None:
        """Add the name of a new checkpoint as the newest."""
        self.write([name, *(other for other in self.names() if other != name)])

    def rotate_previous(self, name: str) -> None:
        """Rename the newest checkpoint if a file of this name will overwrite it, so that two checkpoints remain.

        Checkpoints before an evaluation do not count, because the one after it replaces them.
        """
        temporary = [one for one in self.names() if one in TEMPORARY_FILES and one != name]
        newest, *others = [one for one in self.names() if one not in temporary] or [""]
        if newest != name or not (self.folder / name).is_file():
            return
        previous = f"{Path(name).stem}.previous{Path(name).suffix}"
        self.write([name, *temporary, previous, *(other for other in others if other != previous)])
        move_with_checksum(self.folder / name, self.folder / previous)

    def discard(self, names: Collection[str]) -> None:
        """Remove names of checkpoints other than the newest, and delete their files."""
        kept = self.names()
        removed = [name for name in kept[1:] if name in names]
        if removed:
            self.write([name for name in kept if name not in removed])
            for name in removed:
                remove_checkpoint(self.folder / name)

    def clear(self) -> None:
        """Remove all names."""
        for file in (INDEX_FILE, LAST_CHECKPOINT_FILE):
            (self.folder / file).unlink(missing_ok=True)

    def _read(self, file: str) -> list[str]:
        path = self.folder / file
        return path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []


def archive_previous_run(folder: str | Path) -> None:
    """Prepare a used folder for a new run: clear its index and rename its best models to `*.previous.pth`.

    The archived models of the run before that are replaced or removed, as are checkpoints before an evaluation. The
    record of its unreadable training files is deleted.
    """
    folder = Path(folder)
    CheckpointIndex(folder).clear()
    (folder / RECORD_FILE).unlink(missing_ok=True)
    for name in TEMPORARY_FILES:
        remove_checkpoint(folder / name)
    archive_best_models(folder)


def archive_best_models(folder: str | Path) -> None:
    """Rename the best models of a folder to `*.previous.pth`; those of the run before that are replaced or removed."""
    folder = Path(folder)
    for name, previous in ((BEST_FILE, PREVIOUS_BEST_FILE), (BEST_AVERAGE_FILE, PREVIOUS_BEST_AVERAGE_FILE)):
        if (folder / name).is_file():
            move_with_checksum(folder / name, folder / previous)
    best_models = find_best_models(folder)
    if best_models:
        for path in folder.glob(f"model_best_[0-9]*{PREVIOUS_SUFFIX}"):
            remove_checkpoint(path)
    for path in best_models:
        move_with_checksum(path, path.with_name(path.name.removesuffix(".pth") + PREVIOUS_SUFFIX))


def find_best_models(folder: str | Path) -> list[Path]:
    """Return the paths of the best models that the current run has saved as `model_best_EPOCH_SCORE.pth`."""
    return sorted(path for path in Path(folder).glob("model_best_*") if BEST_MODEL_PATTERN.fullmatch(path.name))


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and its checksum."""
    path.unlink(missing_ok=True)
    checksum_path(path).unlink(missing_ok=True)


def remove_checkpoints(folder: str | Path) -> None:
    """Remove all checkpoints of a finished run and their index."""
    CheckpointIndex(folder).clear()
    for path in (*Path(folder).glob("*.pth"), *Path(folder).glob(f"*.pth{SUFFIX}")):
        path.unlink(missing_ok=True)
