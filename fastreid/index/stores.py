"""Where the parts of a collection are kept: a folder, or a Milvus server."""

import abc
import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from fastreid.index.backends.base import Backend, IndexSettings
from fastreid.index.backends.lancedb import LanceBackend
from fastreid.index.columns import STANDARD_COLUMNS, SYSTEM_COLUMNS
from fastreid.index.manifest import (
    LOCK_NAME,
    MANIFEST_NAME,
    CollectionManifest,
    is_collection,
    lock_collection,
    read_manifest,
    write_manifest,
)
from fastreid.index.side_data import FILE_NAME as THUMBNAILS
from fastreid.index.side_data import SideData
from fastreid.index.side_storage import SideStorage
from fastreid.utils.errors import InputError

TABLE_FOLDER = "lance"


class Store(abc.ABC):
    """The place of a collection.

    Attributes:
        uri: the folder or address, as texts for people have it.
        name: the last part of it.
        side_data: thumbnails and ids of removed drawings.
    """

    uri: str
    name: str
    side_data: SideStorage

    def get_folder(self) -> Path:
        """Return the folder.

        Raises:
            InputError: the collection is on a server.
        """
        raise InputError(f"{self.uri}: is on a server and has no folder")

    @abc.abstractmethod
    def exists(self) -> bool:
        """Return whether a collection is there."""

    @abc.abstractmethod
    def check_free(self, settings: IndexSettings) -> None:
        """Check that a collection with these settings can be created.

        Raises:
            InputError: something is there already, or a setting has no meaning there.
        """

    @abc.abstractmethod
    def create(self, manifest: CollectionManifest) -> None:
        """Create an empty collection.

        Raises:
            InputError: there are drawings without a manifest.
        """

    @abc.abstractmethod
    def delete(self) -> None:
        """Delete the collection; the caller holds the lock."""

    @abc.abstractmethod
    def read_manifest(self) -> CollectionManifest:
        """Read the manifest.

        Raises:
            InputError: there is no collection, or one of another format.
            StorageError: it is damaged or cannot be read.
        """

    @abc.abstractmethod
    def write_manifest(self, manifest: CollectionManifest) -> None:
        """Replace the manifest."""

    @abc.abstractmethod
    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock, which a process needs to change the collection; wait while another has it."""

    @abc.abstractmethod
    def open_backend(self, settings: IndexSettings) -> Backend:
        """Open the table of the drawings."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return properties for people: `bytes`, None if they are unknown, and others that the back end lacks."""


class FolderStore(Store):
    """A folder.

    Args:
        folder: its path.
    """

    def __init__(self, folder: Path):
        self.folder, self.uri, self.name = folder, str(folder), folder.name
        self.side_data: SideStorage = SideData(folder)

    def get_folder(self) -> Path:
        return self.folder

    def exists(self) -> bool:
        return is_collection(self.folder)

    def check_free(self, settings: IndexSettings) -> None:
        if self.exists():
            raise InputError(f"{self.uri}: is already a collection; open it, or choose another folder")
        is_unusable = self.folder.exists() and not self.folder.is_dir()
        if is_unusable or (self.folder.exists() and {*os.listdir(self.folder)} - {LOCK_NAME, TABLE_FOLDER}):
            raise InputError(f"{self.uri}: exists and is not empty; choose another folder")

    def create(self, manifest: CollectionManifest) -> None:
        with self.lock():
            self.check_free(manifest.settings)  # another process may have created it since the first check
            columns = {**SYSTEM_COLUMNS, **STANDARD_COLUMNS}
            options: dict[str, Any] = {"dim": manifest.dim, "columns": columns, "settings": manifest.settings}
            backend = LanceBackend.create(self.folder / TABLE_FOLDER, **options)
            if backend.dim != manifest.dim or backend.count():
                raise InputError(f"{self.uri}: has a table of drawings without collection.json; choose another folder")
            self.write_manifest(manifest)

    def delete(self) -> None:
        (self.folder / MANIFEST_NAME).unlink()  # first, so that a kill leaves no half of a collection
        (self.folder / THUMBNAILS).unlink(missing_ok=True)
        shutil.rmtree(self.folder / TABLE_FOLDER)

    def read_manifest(self) -> CollectionManifest:
        return read_manifest(self.folder)

    def write_manifest(self, manifest: CollectionManifest) -> None:
        write_manifest(self.folder, manifest)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return lock_collection(self.folder)

    def open_backend(self, settings: IndexSettings) -> Backend:
        return LanceBackend(self.folder / TABLE_FOLDER, settings)

    def describe(self) -> dict[str, Any]:
        return {"bytes": sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())}
