"""The file `collection.json`: the format of a collection, the model of its features, and its sources."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fastreid.engine.features.extract import FEATURE_IRRELEVANT_SETTINGS
from fastreid.evaluation.storage.manifest import diff_values
from fastreid.index.backends.base import IndexSettings
from fastreid.utils.errors import InputError, StorageError, WeightsError, describe_unknown
from fastreid.utils.files import read_file_bytes, write_text
from fastreid.utils.locks import exclusive_lock

MANIFEST_NAME, LOCK_NAME = "collection.json", ".lock"
CREATE_HINT = "`fastreid index add` or `fastreid index create` makes one"
FORMAT = 1
_MAX_DIFFERENCES = 3  # of settings, in a message


@dataclass(frozen=True)
class ModelIdentity:
    """The model that computed features: features of models that differ in any of this cannot be compared.

    Args:
        name: shipped model, timm network or absolute path of a model directory, for information and loading.
        weights_sha256: identifies the weights.
        settings: the settings that affect features, full name -> JSON value.
        versions: versions of fastreid and torch, for information.
    """

    name: str
    weights_sha256: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def check_equal(self, other: "ModelIdentity", *, where: str) -> None:
        """Check that another model computes the same features.

        Args:
            other: the other model.
            where: name of the collection that has the features of this model.

        Raises:
            WeightsError: it does not.
        """
        if self.weights_sha256 != other.weights_sha256:
            raise WeightsError(
                f"{where}: its features are of the model {self.name} (sha256 {self.weights_sha256[:12]}), not of "
                f"{other.name} (sha256 {other.weights_sha256[:12]}); use the same model, or create a new collection"
            )
        # Earlier versions also stored settings that affect no features.
        before, now = (
            {name: value for name, value in one.settings.items() if not name.startswith(FEATURE_IRRELEVANT_SETTINGS)}
            for one in (self, other)
        )
        changes = diff_values(before, now)
        if changes:
            more = f" and {len(changes) - _MAX_DIFFERENCES} more" if len(changes) > _MAX_DIFFERENCES else ""
            raise WeightsError(
                f"{where}: the model {other.name} has other settings than its features: "
                f"{'; '.join(changes[:_MAX_DIFFERENCES])}{more}; use the same settings, or create a new collection"
            )


@dataclass(frozen=True)
class Source:
    """Drawings that were added by path, and that an update reads again.

    Args:
        path: absolute path of a folder, an image file or a list.
        images: absolute path of the folder of a list's images; "": found from the list.
        metadata: absolute path of a table with metadata; "": none.
    """

    path: str
    images: str = ""
    metadata: str = ""

    def with_defaults(self, earlier: "Source | None", *, keep_metadata: bool = True) -> "Source":
        """Return a copy with the options of an earlier addition of the path where this one has none.

        Args:
            earlier: the earlier one.
            keep_metadata: also with its table of metadata.
        """
        if earlier is None:
            return self
        metadata = earlier.metadata if keep_metadata else ""
        return Source(self.path, self.images or earlier.images, self.metadata or metadata)


@dataclass(frozen=True)
class CollectionManifest:
    """Content of `collection.json`.

    Args:
        model: the model of all features.
        dim: number of values of a feature.
        settings: how the collection is searched.
        sources: what was added by path; the metadata of a drawing in several sources are those of the last one.
        created: time of the creation, UTC.
    """

    model: ModelIdentity
    dim: int
    settings: IndexSettings
    sources: tuple[Source, ...] = ()
    created: str = ""

    def with_source(self, source: Source) -> "CollectionManifest":
        """Return a copy with a source at the end, which replaces one of the same path."""
        others = (one for one in self.sources if one.path != source.path)
        return replace(self, sources=(*others, source))

    def check_source(self, path: str, *, where: str) -> None:
        """Check that a path is a source.

        Args:
            path: absolute path.
            where: name of the collection, for messages.

        Raises:
            InputError: it is none.
        """
        known = [source.path for source in self.sources]
        if path not in known:
            raise InputError(f"{where}: {describe_unknown('source', path, known)}")

    def without_sources(self, paths: set[str]) -> "CollectionManifest":
        """Return a copy without the sources of some paths."""
        return replace(self, sources=tuple(one for one in self.sources if one.path not in paths))


def lock_collection(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Hold the lock of a collection, which a process needs to change it."""
    return exclusive_lock(folder / LOCK_NAME, activity="changing the collection", config_key="folder")


def is_collection(folder: Path) -> bool:
    """Return whether a folder has the file of a collection."""
    return (folder / MANIFEST_NAME).is_file()


def read_manifest(folder: Path) -> CollectionManifest:
    """Read `collection.json` of a folder.

    Raises:
        InputError: the folder is no collection, or one of another format.
        StorageError: the file is damaged or cannot be read.
    """
    path = folder / MANIFEST_NAME
    try:
        return parse_manifest(read_file_bytes(path), where=str(folder), name=str(path))
    except FileNotFoundError:
        raise InputError(f"{folder}: no such collection (it has no {MANIFEST_NAME}); {CREATE_HINT}")
    except NotADirectoryError:
        raise InputError(f"{folder}: is a file, not a collection, which is a folder; {CREATE_HINT}")
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions")


def parse_manifest(text: str | bytes, *, where: str, name: str) -> CollectionManifest:
    """Return the manifest of a JSON text, which `format_manifest` made.

    Args:
        text: the text.
        where: name of the collection, for messages.
        name: name of the text, for messages.

    Raises:
        InputError: the collection has another format.
        StorageError: the text is damaged.
    """
    try:
        content = json.loads(text)
        if type(content["format"]) is int and content["format"] != FORMAT:
            raise InputError(f"{where}: a collection of format {content['format']}; this fastreid reads {FORMAT}")
        if content.pop("sha256") != _compute_digest(content):
            raise ValueError
        return CollectionManifest(
            ModelIdentity(**content["model"]),
            int(content["dim"]),
            IndexSettings(**content["settings"]),
            tuple(Source(**one) for one in content["sources"]),
            content["created"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # all that damaged bytes can cause
        raise StorageError(f"{name}: damaged; restore it, or create a new collection")


def write_manifest(folder: Path, manifest: CollectionManifest) -> None:
    """Write `collection.json`."""
    write_text(folder / MANIFEST_NAME, format_manifest(manifest))


def format_manifest(manifest: CollectionManifest) -> str:
    """Return a manifest as JSON with a sha256 of its content."""
    content = json.loads(json.dumps({"format": FORMAT, **asdict(manifest)}))
    return json.dumps({**content, "sha256": _compute_digest(content)}, indent=1) + "\n"


def _compute_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
