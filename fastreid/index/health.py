"""Check the consistency of a collection, and compact it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastreid.data.io.image import read_image
from fastreid.index.backends.base import Backend
from fastreid.index.columns import SYSTEM_COLUMNS, VECTOR
from fastreid.index.manifest import CollectionManifest
from fastreid.index.side_data import encode_thumbnail
from fastreid.index.side_storage import SideStorage
from fastreid.utils.errors import InputError
from fastreid.utils.page_address import join_page_address
from fastreid.utils.text import format_count

COMPACT_HINT = "`fastreid index compact` repairs this"
_MAX_THUMBNAIL_PAGE_PX = 512


@dataclass
class CheckReport:
    """What a check found.

    Args:
        num_drawings: rows of the table.
        faults: what is inconsistent, one line each.
        notes: what differs outside of the collection, such as files that no longer exist.
    """

    num_drawings: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_collection(backend: Backend, side_data: SideStorage, *, dim: int) -> CheckReport:
    """Read all rows and compare them with each other, with the thumbnails and with the files.

    Args:
        backend: the table.
        side_data: thumbnails.
        dim: number of values of a feature by `collection.json`.
    """
    report = CheckReport()
    missing_columns = SYSTEM_COLUMNS.keys() - backend.columns().keys()
    if missing_columns or backend.dim != dim:
        what = (
            f"lacks the column {min(missing_columns)}" if missing_columns else f"has features of {backend.dim} values"
        )
        report.faults.append(f"the table {what}, which does not match collection.json; restore the folder")
        return report
    ids: set[str] = set()
    needed, missing_files = set(), 0
    for row in _iter_rows(backend, ["id", "path", "sha256", VECTOR]):
        report.num_drawings += 1
        if row["id"] in ids:
            report.faults.append(f"{row['id']}: is in the table twice; remove it and run `fastreid index update`")
        ids.add(row["id"])
        if not np.isfinite(row[VECTOR]).all() or not row[VECTOR].any():
            report.faults.append(f"{row['id']}: its feature is NaN, Inf or zero; remove it and add its file again")
        if row["sha256"]:
            needed.add(row["id"])
            missing_files += not os.path.exists(row["path"])  # or its folder cannot be read
    thumbnails = side_data.list_thumbnails()
    report.faults += [f"{name}: has no thumbnail; {COMPACT_HINT}" for name in sorted(needed - thumbnails)]
    if thumbnails - ids:
        report.notes.append(f"{len(thumbnails - ids)} thumbnails of drawings that are not in the table; {COMPACT_HINT}")
    if missing_files:
        found = f"{format_count(missing_files, 'file')} cannot be found; `fastreid index update` removes the drawings"
        report.notes.append(f"{found} of those that no longer exist, and keeps those whose folder cannot be read")
    return report


def compact_collection(backend: Backend, side_data: SideStorage) -> list[str]:
    """Merge the files of the table, build its index if it needs one, and make the thumbnails match its rows.

    Returns:
        The drawings whose thumbnail is missing and cannot be made, one line each.

    Raises:
        InputError: the number of rows changed, which is a fault of the back end.
    """
    num_before = backend.count()
    backend.maintain(thoroughly=True)
    if backend.count() != num_before:
        raise InputError(f"the table had {num_before} drawings before it was compacted and has {backend.count()} now")
    rows = {row["id"]: row for row in _iter_rows(backend, ["id", "path", "page", "sha256"])}
    thumbnails = side_data.list_thumbnails()
    side_data.delete_thumbnails(thumbnails - rows.keys())
    faults = []
    for name, row in rows.items():
        if row["sha256"] and name not in thumbnails:
            address = row["path"] if row["page"] == 1 else join_page_address(row["path"], row["page"] - 1)
            try:
                page = read_image(address, longest_px=_MAX_THUMBNAIL_PAGE_PX)
            except InputError as error:
                faults.append(f"no thumbnail: {error}")
                continue
            side_data.write_thumbnails({name: encode_thumbnail(page)})
    side_data.vacuum()
    return faults


def _iter_rows(backend: Backend, columns: list[str]) -> Iterator[dict[str, Any]]:
    for block in backend.scan(columns):
        yield from block


def describe_collection(
    uri: str, manifest: CollectionManifest, backend: Backend, place: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the properties of a collection as values of JSON.

    Args:
        uri: folder or address of the collection.
        manifest: its `collection.json`.
        backend: its table.
        place: properties of the place where it is.
    """
    return {
        "folder": uri,
        "drawings": backend.count(),
        "patents": len({row["patent"] for row in _iter_rows(backend, ["patent"])} - {None}),
        "model": manifest.model.name,
        "weights_sha256": manifest.model.weights_sha256,
        "versions": dict(manifest.model.versions),
        "dimension": manifest.dim,
        "created": manifest.created,
        **place,
        **backend.describe(),
        "settings": dict(vars(manifest.settings)),
        "sources": [dict(vars(source)) for source in manifest.sources],
        "columns": backend.columns(),
    }
