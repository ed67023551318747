"""Manifest of a folder of saved features: their provenance, and the sha256 of every file."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastreid.utils.errors import InputError, StorageError, WeightsError
from fastreid.utils.files import read_file_bytes, write_text

LOCAL_SUFFIX = "_local"  # of the parts with local features
PARTS = ("queries", "gallery", "train", f"queries{LOCAL_SUFFIX}", f"gallery{LOCAL_SUFFIX}")
MANIFEST_NAME = "manifest.json"
FORMAT = 1
RERUN_HINT = "run `fastreid extract` again"  # fixes any fault of saved features

_JSON_KEYS = {  # field of `PartEntry` -> key in the file
    "num_rows": "rows",
    "dim": "width",
    "fingerprint": "stamp",
    "npy_sha256": "npy",
    "csv_sha256": "csv",
}


@dataclass(frozen=True)
class Provenance:
    """What features were computed from.

    Args:
        dataset: name of the dataset.
        weights: path of the weights; "" for an untrained network.
        weights_sha256: sha256 of that file; "" without one.
        settings: the settings that affect features, full name -> JSON value (lists instead of tuples).
        config: all settings of the extraction as YAML, for information.
        versions: versions of fastreid and torch.
    """

    dataset: str
    weights: str
    weights_sha256: str
    settings: Mapping[str, Any]
    config: str
    versions: Mapping[str, str]

    def diff(self, current: "Provenance") -> list[str]:
        """Return one description per difference that may change features; path and name of the weights do not."""
        changes = diff_values(self.settings, current.settings) + diff_values(self.versions, current.versions)
        if self.weights_sha256 != current.weights_sha256:
            changes.insert(0, f"the weights were {self.describe_weights()} and are {current.describe_weights()}")
        return changes

    def describe_weights(self) -> str:
        """Return the path and the digest of the weights, for messages."""
        return f"{self.weights} (sha256 {self.weights_sha256[:12]})" if self.weights else "random weights"


@dataclass(frozen=True)
class PartEntry:
    """Manifest entry of one part.

    Args:
        num_rows: number of drawings.
        dim: number of features per drawing.
        fingerprint: `list_fingerprint` of the image list; of local features, followed by their own settings.
        npy_sha256, csv_sha256: sha256 of the two files.
    """

    num_rows: int
    dim: int
    fingerprint: str
    npy_sha256: str
    csv_sha256: str


@dataclass(frozen=True)
class Manifest:
    """Manifest of a folder of features: their provenance and an entry per part."""

    provenance: Provenance
    parts: Mapping[str, PartEntry]


def diff_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a description such as "NAME was 1 and is 2" for each name with another value or on one side only."""
    return [
        _describe_change(name, before, now)
        for name in sorted(before.keys() | now.keys())
        if _differs(name, before, now)
    ]


def _differs(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return name not in before or name not in now or before[name] != now[name]


def _describe_change(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    old, new = ("unused" if values.get(name) == "" else values.get(name) for values in (before, now))
    if name not in before:
        return f"{name} is {new} but did not exist when the features were extracted"
    return f"{name} was {old} and is {new}" if name in now else f"{name} was {old} and no longer exists"


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of a folder of features.

    Raises:
        InputError: the folder does not exist, or has no manifest or one of another format.
        WeightsError: the manifest is damaged.
        StorageError: the manifest cannot be read.
    """
    path = Path(folder) / MANIFEST_NAME
    if not path.parent.is_dir():
        raise InputError(f"{folder}: no such folder of features; `fastreid extract` creates one")
    try:
        content = json.loads(read_file_bytes(path))
        version, digest = content["format"], content.pop("sha256")
        if type(version) is int and version != FORMAT:
            raise InputError(f"{path}: features of format {version}; this fastreid reads {FORMAT}; {RERUN_HINT}")
        if digest != _compute_digest(content):
            raise ValueError
        parts = {name: _decode_entry(content["parts"][name]) for name in PARTS if name in content["parts"]}
        return Manifest(Provenance(**content["origin"]), parts)
    except FileNotFoundError:
        raise InputError(f"{folder}: no {MANIFEST_NAME}, so the extraction into it did not finish; {RERUN_HINT}")
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); fix that, or {RERUN_HINT}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # all that damaged bytes can cause
        raise WeightsError(f"{path}: damaged; {RERUN_HINT}")


def write_manifest(folder: str | os.PathLike[str], manifest: Manifest) -> None:
    """Write `manifest.json`, including a sha256 of its content."""
    parts = {name: _encode_entry(entry) for name, entry in manifest.parts.items()}
    content = {"format": FORMAT, "origin": asdict(manifest.provenance), "parts": parts}
    text = json.dumps({**content, "sha256": _compute_digest(content)}, indent=1)
    write_text(Path(folder) / MANIFEST_NAME, text + "\n")


def _encode_entry(entry: PartEntry) -> dict[str, Any]:
    return {key: getattr(entry, field) for field, key in _JSON_KEYS.items()}


def _decode_entry(values: Mapping[str, Any]) -> PartEntry:
    return PartEntry(**{field: values[key] for field, key in _JSON_KEYS.items()})


def _compute_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
