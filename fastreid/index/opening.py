"""Open and create collections."""

import os
from pathlib import Path

from fastreid.engine.model.directory import DEFAULT_MODEL
from fastreid.index.backends.base import IndexSettings
from fastreid.index.backends.milvus_client import is_address, parse_address
from fastreid.index.collection import Collection
from fastreid.index.embedder import Embedder
from fastreid.index.manifest import CollectionManifest, ModelIdentity
from fastreid.index.milvus_store import MilvusStore
from fastreid.index.records import format_now
from fastreid.index.stores import FolderStore, Store
from fastreid.utils.errors import InputError


def open(uri: str | os.PathLike[str], *, model: str | None = None) -> Collection:
    """Open a collection.

    Args:
        uri: its folder, or an address such as http://localhost:19530/patents.
        model: model to embed with, which must compute the same features as that of the collection; None: that one.

    Raises:
        InputError: there is no collection.
        WeightsError: the model computes other features.
        StorageError: the collection is damaged, or its server is not reachable.
        EnvironmentSetupError: LanceDB or pymilvus is not installed, or the token of the server is wrong.
    """
    return Collection(_find_store(uri), model)


def exists(uri: str | os.PathLike[str]) -> bool:
    """Return whether there is a collection in a folder or at an address.

    Raises:
        InputError: the address is invalid.
        StorageError: its server is not reachable.
        EnvironmentSetupError: pymilvus is not installed, or the token of the server is wrong.
    """
    return _find_store(uri).exists()


def create(
    uri: str | os.PathLike[str],
    *,
    model: str | ModelIdentity = DEFAULT_MODEL,
    dim: int = 0,
    settings: IndexSettings | None = None,
) -> Collection:
    """Create an empty collection.

    Args:
        uri: its folder, which must be missing or empty, or its address, as for `open`.
        model: shipped model, model directory or timm network; or the identity of the model of features that you add
            yourself with `Collection.add_features`.
        dim: number of values of a feature, with an identity.
        settings: how it is searched; None: the defaults.

    Raises:
        InputError: the folder is not empty, the name on the server is used, or there is no such model.
        StorageError: the server is not reachable.
        EnvironmentSetupError: LanceDB or pymilvus is not installed, or the token of the server is wrong.
    """
    store, settings = _find_store(uri), settings or IndexSettings()
    store.check_free(settings)
    embedder = None
    if isinstance(model, ModelIdentity):
        identity = model
    else:
        embedder = Embedder(model)
        identity, dim = embedder.identity, embedder.dim
    if dim < 1:
        raise InputError(f"dim is {dim}; give the number of values of a feature")
    settings.choose_sub_vectors(dim)  # raises if they do not divide it
    store.create(CollectionManifest(identity, dim, settings, created=format_now()))
    return Collection(store, embedder)


def _find_store(uri: str | os.PathLike[str]) -> Store:
    text = os.fspath(uri)
    if is_address(text):
        return MilvusStore(parse_address(text))
    return FolderStore(Path(os.path.expanduser(text)))
