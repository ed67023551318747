"""Open and create collections."""

import os
from pathlib import Path

from fastreid.engine.model_directory import DEFAULT_MODEL
from fastreid.index.backends.base import IndexSettings
from fastreid.index.backends.lancedb import LanceBackend
from fastreid.index.collection import TABLE_FOLDER, Collection
from fastreid.index.columns import STANDARD_COLUMNS, SYSTEM_COLUMNS
from fastreid.index.embedder import Embedder
from fastreid.index.manifest import (
    LOCK_NAME,
    CollectionManifest,
    ModelIdentity,
    is_collection,
    lock_collection,
    write_manifest,
)
from fastreid.index.records import format_now
from fastreid.utils.errors import InputError


def open(uri: str | os.PathLike[str], *, model: str | None = None) -> Collection:
    """Open a collection.

    Args:
        uri: its folder.
        model: model to embed with, which must compute the same features as that of the collection; None: that one.

    Raises:
        InputError: the folder is no collection.
        WeightsError: the model computes other features.
        StorageError: the collection is damaged.
        EnvironmentSetupError: LanceDB is not installed.
    """
    return Collection(_parse_uri(uri), model)


def create(
    uri: str | os.PathLike[str],
    *,
    model: str | ModelIdentity = DEFAULT_MODEL,
    dim: int = 0,
    settings: IndexSettings | None = None,
) -> Collection:
    """Create an empty collection.

    Args:
        uri: its folder; it must be missing or empty.
        model: shipped model, model directory or timm network; or the identity of the model of features that you add
            yourself with `Collection.add_features`.
        dim: number of values of a feature, with an identity.
        settings: how it is searched; None: the defaults.

    Raises:
        InputError: the folder is not empty, or there is no such model.
        EnvironmentSetupError: LanceDB is not installed.
    """
    folder, settings = _parse_uri(uri), settings or IndexSettings()
    if is_collection(folder):
        raise InputError(f"{folder}: is already a collection; open it, or choose another folder")
    if folder.exists() and (not folder.is_dir() or {*os.listdir(folder)} - {LOCK_NAME, TABLE_FOLDER}):
        raise InputError(f"{folder}: exists and is not empty; choose another folder")
    embedder = None
    if isinstance(model, ModelIdentity):
        identity = model
    else:
        embedder = Embedder(model)
        identity, dim = embedder.identity, embedder.dim
    if dim < 1:
        raise InputError(f"dim is {dim}; give the number of values of a feature")
    settings.choose_sub_vectors(dim)  # raises if they do not divide it
    with lock_collection(folder):
        columns = {**SYSTEM_COLUMNS, **STANDARD_COLUMNS}
        backend = LanceBackend.create(folder / TABLE_FOLDER, dim=dim, columns=columns, settings=settings)
        if backend.dim != dim or backend.count():
            raise InputError(f"{folder}: has a table of drawings without collection.json; choose another folder")
        write_manifest(folder, CollectionManifest(identity, dim, settings, created=format_now()))
    return Collection(folder, embedder)


def _parse_uri(uri: str | os.PathLike[str]) -> Path:
    text = os.fspath(uri)
    if "://" in text:
        raise InputError(f"{text}: is an address, but a collection is a folder; give the path of a folder")
    return Path(os.path.expanduser(text))
