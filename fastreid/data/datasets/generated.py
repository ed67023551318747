"""A dataset that is generated on first use, so that a first run needs no download."""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from fastreid.data.datasets.deeppatent import Patent
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.locks import exclusive_lock
from fastreid.utils.logger import get_logger
from fastreid.utils.termination import raise_on_sigterm

LOCK_NAME = ".generated.lock"  # held by the run that generates
UNFINISHED = re.compile(r"generated-[0-9a-f]{8}\.unfinished-\w{8}")


class Generated:
    """Patents that are generated once into `root/generated-<digest>/` in the DeepPatent layout, then read from there.

    The folder appears under its name only when it is complete. One run generates while others wait, and all read the
    same bytes; the leftovers of killed runs are removed.

    Args:
        root: the data folder.
        identity: a text that determines every byte of the collection; the digest is computed from it.
        write: writes the collection into a folder.
    """

    def __init__(self, root: Path, *, identity: str, write: Callable[[Path], object]):
        self.write = write
        self.folder = root / f"generated-{hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()}"

    def train(self) -> tuple[Drawing, ...]:
        """Return the training drawings; generate the collection if it is missing."""
        return self._open().train()

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery; generate the collection if it is missing."""
        return self._open().test()

    def _open(self) -> Patent:
        if not self.folder.exists():
            self._generate()
        if not (self.folder / "train_data").is_dir():
            raise InputError(f"{self.folder}: contains no train_data; remove the folder to generate it again")
        return Patent(self.folder)

    def _generate(self) -> None:
        root = self.folder.parent
        lock = exclusive_lock(root / LOCK_NAME, activity="rendering drawings", config_key="DATASETS.ROOT")
        with lock, raise_on_sigterm():
            if self.folder.exists():  # generated while this run waited
                return
            for entry in root.iterdir():
                if UNFINISHED.fullmatch(entry.name):  # from a killed run: this one holds the lock
                    shutil.rmtree(entry, ignore_errors=True)
            get_logger().info(f"{self.folder}: rendering its drawings; later runs read them from there")
            unfinished = root / f"{self.folder.name}.unfinished-{secrets.token_hex(4)}"
            unfinished.mkdir()  # with the permissions of the umask
            try:
                self.write(unfinished)
                os.rename(unfinished, self.folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
