"""Files with saved queries: a JSON or YAML list, whose queries are searched in the drawings that an addition brings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from fastreid.utils.errors import InputError, suggest_and_list
from fastreid.utils.files import expand_home, read_file_bytes
from fastreid.utils.text import format_faults

SUFFIXES = (".json", ".yml", ".yaml")
_EXAMPLE = "[{name: chair, pictures: [chair.png], min_score: 0.8}]"
_MAX_K = 10_000


@dataclass(frozen=True)
class SavedQuery:
    """A query with a name.

    Args:
        name: identifies the query; its hits are remembered under this name.
        pictures: paths of pictures of one object.
        ids: drawings of the collection that show the object too.
        filter: only drawings that fulfill it; "": all.
        group: only the best new drawing of each value of this column; None: all drawings.
        min_score: smallest score of a hit.
        min_probability: smallest probability of a hit.
        k: largest number of hits in one addition.
    """

    name: str
    pictures: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    filter: str = ""
    group: str | None = None
    min_score: float = -1.0
    min_probability: float = 0.0
    k: int = 20


_FIELDS = tuple(field.name for field in fields(SavedQuery))
_RANGES = {"min_score": (-1.0, 1.0), "min_probability": (0.0, 1.0)}


def read_queries(path: str | os.PathLike[str]) -> list[SavedQuery]:
    """Read saved queries; pictures are relative to the folder of the file.

    Raises:
        InputError: the file cannot be read, or a query is invalid; the message lists all faults.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: the name of a list of queries must end in {', '.join(SUFFIXES)}")
    try:
        content = yaml.safe_load(read_file_bytes(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path")
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: neither JSON nor YAML ({' '.join(str(error).split())[:200]})")
    if not isinstance(content, list) or not content:
        raise InputError(f"{path}: must be a list of queries, such as {_EXAMPLE}")
    queries: list[SavedQuery] = []
    faults: list[str] = []
    for number, item in enumerate(content, 1):
        found = _find_faults(item)
        faults += [f"query {number}: {fault}" for fault in found]
        if not found:
            queries.append(_convert(item, path.parent))
    names = [query.name for query in queries]
    repeated = sorted({name for name in names if names.count(name) > 1})
    faults += [f"the name {name!r} is repeated; give each query its own" for name in repeated]
    if faults:
        raise InputError(format_faults(faults, str(path)))
    return queries


def _find_faults(item: Any) -> list[str]:
    """Return what is wrong with a query."""
    if not isinstance(item, Mapping):
        return [f"must have fields, such as {_EXAMPLE}"]
    faults = [
        f"the field '{name}' is unknown.{suggest_and_list(str(name), _FIELDS)}" for name in item if name not in _FIELDS
    ]
    if not isinstance(item.get("name"), str) or not item["name"].strip():
        given = f"is {item['name']!r}" if item.get("name") is not None else "is missing"
        faults.append(f"the name {given}; give a text")
    for name in ("pictures", "ids"):
        values = item.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            faults.append(f"{name} is {values!r}; give a list of texts in quotes")
    if not item.get("pictures") and not item.get("ids"):
        faults.append("has no pictures and no ids; give one of them")
    for name in ("filter", "group"):
        if not isinstance(item.get(name, ""), str):
            faults.append(f"{name} is {item[name]!r}; give a text")
    for name, (low, high) in _RANGES.items():
        value = item.get(name, low)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            faults.append(f"{name} is {value!r}; give a number from {low:g} to {high:g}")
    if not _RANGES.keys() & item.keys():
        faults.append("has no smallest score; give min_score or min_probability, so that not every drawing is a hit")
    k = item.get("k", 1)
    if type(k) is not int or not 1 <= k <= _MAX_K:
        faults.append(f"k is {k!r}; give an integer from 1 to {_MAX_K}")
    return faults


def _convert(item: Mapping[str, Any], folder: Path) -> SavedQuery:
    pictures = tuple(str(folder / expand_home(picture)) for picture in item.get("pictures", []))
    values = {name: item[name] for name in ("filter", "min_score", "min_probability", "k") if name in item}
    ids = tuple(dict.fromkeys(item.get("ids", [])))
    return SavedQuery(item["name"].strip(), pictures, ids, group=item.get("group") or None, **values)
