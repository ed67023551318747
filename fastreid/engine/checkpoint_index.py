"""Which checkpoints of a folder a run may go on from, the newest first."""

from collections.abc import Sequence
from pathlib import Path

from fastreid.utils.checksums import SUFFIX, move_with_checksum
from fastreid.utils.files import write_text

LAST_CHECKPOINT_FILE = "last_checkpoint"
INDEX_FILE = "resume_order"


class CheckpointIndex:
    """The name in `last_checkpoint`, as fast-reid has it, and all of them in `resume_order`, one a line.

    Files that are not named here, such as those of an older run in the same folder, are never gone on from.

    Args:
        folder: the run's OUTPUT_DIR.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """All names, the newest first, whether their files are there or not."""
        return list(dict.fromkeys([*self._read(LAST_CHECKPOINT_FILE)[:1], *self._read(INDEX_FILE)]))

    def write(self, names: Sequence[str]) -> None:
        """Let these be the names. A kill between the two files leaves the newest as it was and loses none of these."""
        if self._read(INDEX_FILE) != list(names):
            write_text(self.folder / INDEX_FILE, "".join(f"{name}\n" for name in names))
        if self._read(LAST_CHECKPOINT_FILE) != [names[0]]:
            write_text(self.folder / LAST_CHECKPOINT_FILE, names[0])

    def add(self, name: str) -> None:
        """A file was written that is newer than all others."""
        self.write([name, *(other for other in self.names() if other != name)])

    def rotate_previous(self, name: str) -> None:
        """Before a file is written over: if it is the newest, keep it under another name, so that two stay."""
        newest, *others = self.names() or [""]
        if newest != name or not (self.folder / name).is_file():
            return
        previous = f"{Path(name).stem}.previous{Path(name).suffix}"
        self.write([name, previous, *(other for other in others if other != previous)])
        move_with_checksum(self.folder / name, self.folder / previous)

    def clear(self) -> None:
        """Let there be none."""
        for file in (INDEX_FILE, LAST_CHECKPOINT_FILE):
            (self.folder / file).unlink(missing_ok=True)

    def _read(self, file: str) -> list[str]:
        path = self.folder / file
        return path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []


def remove_checkpoints(folder: str | Path) -> None:
    """Remove all weights of a run that is over, and what tells of them."""
    CheckpointIndex(folder).clear()
    for path in (*Path(folder).glob("*.pth"), *Path(folder).glob(f"*.pth{SUFFIX}")):
        path.unlink(missing_ok=True)
