"""A collection on a Milvus server: drawings in one collection of the server, all else in a second one."""

import contextlib
from collections.abc import Iterator
from typing import Any

from fastreid.index.backends.base import Backend, IndexSettings
from fastreid.index.backends.milvus import VERSION, MilvusBackend
from fastreid.index.backends.milvus_client import MilvusAddress, connect, read_server_version
from fastreid.index.backends.milvus_records import MilvusRecords, MilvusSideData
from fastreid.index.backends.milvus_table import MilvusTable, find_dim
from fastreid.index.manifest import CollectionManifest, format_manifest, parse_manifest
from fastreid.index.milvus_lock import MilvusLock
from fastreid.index.stores import Store
from fastreid.utils.errors import InputError, StorageError

_MANIFEST = "manifest"  # name of a text
_OLDEST = (2, 5)  # version with fields that can have no value
_NUM_READS = 3  # of a manifest that another process writes
_UNUSED = ("num_sub_vectors", "refine_factor")  # settings of an index of compressed vectors


class MilvusStore(Store):
    """A collection on a server; the connection is opened at once.

    Args:
        address: of the collection.

    Raises:
        EnvironmentSetupError: pymilvus is not installed, or the token is wrong.
        StorageError: the server is not reachable.
    """

    def __init__(self, address: MilvusAddress):
        self.address, self.uri, self.name = address, str(address), address.collection
        self._client = connect(address)
        self._records = MilvusRecords(self._client, address)
        self._lock = MilvusLock(self._records, where=self.uri)
        self.side_data = MilvusSideData(self._records)
        self._is_loaded = False

    def exists(self) -> bool:
        return self._load_records() and self._records.load_text(_MANIFEST) is not None

    def check_free(self, settings: IndexSettings) -> None:
        if self.exists():
            raise InputError(f"{self.uri}: is already a collection; open it, or choose another name")
        version = read_server_version(self._client, self.address)
        if version < _OLDEST:
            raise InputError(f"{self.uri}: a server of Milvus {version[0]}.{version[1]}; 2.5 or newer is needed")
        defaults = IndexSettings()
        for name in _UNUSED:
            if getattr(settings, name) != getattr(defaults, name):
                raise InputError(f"{name} is a setting of a folder; the index of a Milvus server does not have it")
        if not self._load_records() and MilvusTable(self._client, self.address, self.name).exists():
            raise InputError(f"{self.uri}: the server has this collection, but it is not of fastreid; choose another")

    def create(self, manifest: CollectionManifest) -> None:
        if not self._load_records():
            try:
                self._records.create()
            except StorageError:
                if not self._records.table.exists():  # otherwise another process created it
                    raise
            self._load_records()
        with self.lock():
            self.check_free(manifest.settings)  # another process may have created it since the first check
            table = MilvusTable(self._client, self.address, self.name)
            if table.exists():  # an earlier creation was killed
                table.load()
                if table.count(""):
                    raise InputError(f"{self.uri}: has drawings without a manifest; choose another name")
                if find_dim(table.describe()) != manifest.dim:
                    table.drop()
            if not table.exists():
                MilvusBackend.create_table(self._client, self.address, dim=manifest.dim)
            self.write_manifest(manifest)

    def delete(self) -> None:
        self._lock.check()
        self._records.delete_text(_MANIFEST)
        MilvusTable(self._client, self.address, self.name).drop()

    def read_manifest(self) -> CollectionManifest:
        text = self._records.load_text(_MANIFEST) if self._load_records() else None
        if text is None:
            hint = "`fastreid index add` or `fastreid index create` makes one"
            raise InputError(f"{self.uri}: no such collection on the server; {hint}")
        for _ in range(_NUM_READS - 1):
            with contextlib.suppress(StorageError):
                return parse_manifest(text, where=self.uri, name=f"{self.uri}: its manifest")
            text = self._records.load_text(_MANIFEST) or ""
        return parse_manifest(text, where=self.uri, name=f"{self.uri}: its manifest")

    def write_manifest(self, manifest: CollectionManifest) -> None:
        self._lock.check()
        self._records.store_text(_MANIFEST, format_manifest(manifest))

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return self._hold_lock()

    def open_backend(self, settings: IndexSettings) -> Backend:
        return MilvusBackend(self._client, self.address, self._records, settings=settings, check_lock=self._lock.check)

    def describe(self) -> dict[str, Any]:
        return {"bytes": None, "version": self._read_version()}

    @contextlib.contextmanager
    def _hold_lock(self) -> Iterator[None]:
        with self._lock.hold():
            self._records.store_text(VERSION, str(self._read_version() + 1))  # before the first change
            yield

    def _read_version(self) -> int:
        return int(self._records.load_text(VERSION) or 0)

    def _load_records(self) -> bool:
        """Load the records and return whether there are any."""
        if not self._is_loaded and self._records.table.exists():
            self._records.table.load()
            self._is_loaded = True
        return self._is_loaded
