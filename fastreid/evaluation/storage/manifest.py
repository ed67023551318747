"""What a folder of saved features says of itself: where they come from and the sha256 of every file."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastreid.utils.errors import InputError, StorageError, WeightsError
from fastreid.utils.files import read_file_bytes, write_text

PARTS = ("queries", "gallery", "train")
MANIFEST_NAME = "manifest.json"
FORMAT = 1
RERUN_HINT = "run fastreid extract again"  # the mend of whatever is wrong with saved features


@dataclass(frozen=True)
class Provenance:
    """What features were made from.

    Args:
        dataset: the set's name.
        weights: the path of the weights; "" for a network that has not learnt anything.
        weights_sha256: of that file; "" without one.
        settings: those that shape features, full name to value as JSON has it (lists, no tuples).
        config: all settings of the extraction as YAML, for the reader.
        versions: of fastreid and torch.
    """

    dataset: str
    weights: str
    weights_sha256: str
    settings: Mapping[str, Any]
    config: str
    versions: Mapping[str, str]

    def diff(self, now: "Provenance") -> list[str]:
        """In words, what could give other features now; where the weights lie is not among it, nor is their name."""
        found = diff_values(self.settings, now.settings) + diff_values(self.versions, now.versions)
        if self.weights_sha256 != now.weights_sha256:
            found.insert(0, f"the weights were {self.describe_weights()} and are {now.describe_weights()}")
        return found

    def describe_weights(self) -> str:
        """The weights for a message."""
        return f"{self.weights} (sha256 {self.weights_sha256[:12]})" if self.weights else "random weights"


@dataclass(frozen=True)
class PartEntry:
    """What a manifest says of one part: its size, the stamp of its list and the sha256 of its two files."""

    rows: int
    width: int
    fingerprint: str
    npy: str
    csv: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of features says of itself."""

    provenance: Provenance
    parts: Mapping[str, PartEntry]


def diff_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`NAME was 1 and is 2` for every name whose value differs, with a word where one side does not know the name."""
    return [_describe_change(name, before, now) for name in sorted(before.keys() | now.keys()) if _differs(name, before, now)]


def _differs(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return name not in before or name not in now or before[name] != now[name]


def _describe_change(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    then, today = ("unused" if values.get(name) == "" else values.get(name) for values in (before, now))
    if name not in before:
        return f"{name}, which is {today}, is newer than the features"
    return f"{name} was {then} and is {today}" if name in now else f"{name}, which was {then}, is gone"


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """What a folder says of its features.

    Raises:
        InputError: no such folder, no manifest in it, or a manifest of another format.
        WeightsError: the manifest is damaged.
        StorageError: it cannot be read.
    """
    path = Path(folder) / MANIFEST_NAME
    if not path.parent.is_dir():
        raise InputError(f"{folder}: no such folder of features; fastreid extract makes one")
    try:
        content = json.loads(read_file_bytes(path))
        version, digest = content["format"], content.pop("sha256")
        if type(version) is int and version != FORMAT:
            raise InputError(f"{path}: features of format {version}; this fastreid reads {FORMAT}; {RERUN_HINT}")
        if digest != _digest(content):
            raise ValueError
        parts = {name: PartEntry(**content["parts"][name]) for name in PARTS if name in content["parts"]}
        return Manifest(Provenance(**content["origin"]), parts)
    except FileNotFoundError:
        raise InputError(f"{folder}: no {MANIFEST_NAME}, so the extraction into it did not finish; {RERUN_HINT}")
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); mend that, or {RERUN_HINT}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # whatever damaged bytes lead to
        raise WeightsError(f"{path}: damaged; {RERUN_HINT}")


def write_manifest(folder: str | os.PathLike, manifest: Manifest) -> None:
    """Write `manifest.json`, with a sha256 over its own content too."""
    content = {"format": FORMAT, "origin": asdict(manifest.provenance), "parts": {}}
    content["parts"] = {name: asdict(entry) for name, entry in manifest.parts.items()}
    write_text(Path(folder) / MANIFEST_NAME, json.dumps({**content, "sha256": _digest(content)}, indent=1) + "\n")


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
