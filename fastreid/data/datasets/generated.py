"""Drawings made from a seed, so that a first run needs no download."""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from fastreid.data.datasets.deeppatent import Patent
from fastreid.synthetic import RULES_VERSION, Collection, write_patents
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.locks import alone

LOCK_NAME = ".generated.lock"  # held by the one run that draws
UNFINISHED = re.compile(r"generated-[0-9a-f]{8}\.unfinished-\w{8}")


class Generated:
    """Patents drawn once into `root/generated-<digest of the settings>/` in the DeepPatent layout, then read from there.

    The digest is of the settings and of the rules of drawing, so other rules are another folder. It appears under its
    name only when it is whole; one run draws while others wait and then read the same bytes, and what a killed run left
    is removed.

    Args:
        root: the folder of all data.
        collection: what fixes every drawing.
        num_workers: processes that draw; the drawings do not depend on it.
    """

    def __init__(self, root: Path, collection: Collection, *, num_workers: int):
        self.collection = collection
        self.num_workers = num_workers
        digest = hashlib.blake2b(repr((RULES_VERSION, collection)).encode(), digest_size=4).hexdigest()
        self.folder = root / f"generated-{digest}"

    def train(self) -> tuple[Drawing, ...]:
        return self._patents().train()

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        return self._patents().test()

    def _patents(self) -> Patent:
        if not self.folder.exists():
            self._draw()
        if not (self.folder / "train_data").is_dir():
            raise InputError(f"{self.folder}: holds no train_data; remove the folder and its drawings are made anew")
        return Patent(self.folder)

    def _draw(self) -> None:
        root = self.folder.parent
        with alone(root / LOCK_NAME, doing="draws", setting="DATASETS.ROOT"):
            if self.folder.exists():  # drawn while this run waited
                return
            for left in root.iterdir():
                if UNFINISHED.fullmatch(left.name):  # of a run that was killed: nobody else draws here now
                    shutil.rmtree(left, ignore_errors=True)
            unfinished = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}.unfinished-", dir=root))
            try:
                write_patents(unfinished, self.collection, num_workers=self.num_workers)
                unfinished.chmod(0o755)
                os.rename(unfinished, self.folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
