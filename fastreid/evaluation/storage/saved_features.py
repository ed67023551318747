"""Features of a set on the disk: made once, mapped again by every test of what comes after them.

    folder/
    |-- queries.npy  gallery.npy  train.npy    float32 (N, D) in C order, as numpy.load(path, mmap_mode="r") reads them
    |-- queries.csv  gallery.csv  train.csv    row,name,patent,camera,path: the drawings in the same order
    `-- manifest.json                          what the features were made from, and the sha256 of every file

The manifest is written last: a folder without one is unfinished. A file that does not have its sha256 is damaged and
is refused as damaged weights are.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastreid.evaluation.storage.manifest import (
    RERUN_HINT,
    MANIFEST_NAME,
    PARTS,
    PartEntry,
    Manifest,
    Provenance,
    read_manifest,
    write_manifest,
)
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.errors import FastreidError, InputError, StorageError, WeightsError
from fastreid.utils.files import atomic_write, read_file_bytes, remove_temporary_files, compute_sha256
from fastreid.utils.mapped_rows import MappedRows

COLUMNS = ("row", "name", "patent", "camera", "path")
_FLOATS_PER_WRITE = 1 << 20  # floats written together


@dataclass(frozen=True)
class FeaturePart:
    """One list of a set with its features, ready to be written.

    Args:
        name: one of PARTS.
        features: of the drawings.
        drawings: the list.
        stamp: of the list, as `list_fingerprint` gave it before the drawings were read.
    """

    name: str
    features: Embeddings
    drawings: Sequence[Drawing]
    fingerprint: str

    def __post_init__(self) -> None:
        if self.name not in PARTS:
            raise InputError(f"no part of a set is called {self.name!r}; there are {', '.join(PARTS)}")
        if self.features.names != tuple(drawing.name for drawing in self.drawings):
            raise InputError(f"the features of {self.name} are those of another list; give both in one order")


def list_fingerprint(drawings: Iterable[Drawing]) -> str:
    """A sha256 that tells a list of drawings and the state of its files from any other.

    Over each drawing's name, patent, camera and path, and its file's size and times of change in ns. The files are not
    read: one that was changed in any way has another time of change (st_ctime), which programs cannot set.

    Raises:
        InputError: a file is gone.
    """
    digest = hashlib.sha256()
    for drawing in drawings:
        if drawing.is_synthetic:  # its path says all that it is drawn by
            digest.update(f"{json.dumps([drawing.name, drawing.patent, drawing.camera, drawing.path])}\n".encode())
            continue
        try:
            status = os.stat(drawing.path)
        except OSError as error:
            raise InputError(f"{drawing.source}: {drawing.path} is gone ({error.strerror}); make the list anew")
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        line = json.dumps([drawing.name, drawing.patent, drawing.camera, drawing.path, *state])
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def save_features(folder: str | os.PathLike, parts: Iterable[FeaturePart], *, provenance: Provenance) -> Manifest:
    """Write parts of a set, one after the other as they come, and the manifest when all are there.

    Parts that the folder holds already stay if they have the same origin; others are removed. Features are written in
    blocks, so they need no second copy in memory.

    Raises:
        StorageError: the folder cannot be written or the disk is full; the folder then counts as unfinished.
    """
    folder = Path(folder)
    if folder.is_dir():
        remove_temporary_files(folder)
    before = _reusable_entries(folder, provenance)
    entries = dict(before)
    for part in parts:
        if not before or part.name in before:
            (folder / MANIFEST_NAME).unlink(missing_ok=True)  # from here on the folder is unfinished
        rows, width = part.features.features.shape
        entries[part.name] = PartEntry(
            rows,
            width,
            fingerprint=part.fingerprint,
            npy=_write_blocks(folder / f"{part.name}.npy", _iter_npy_blocks(part.features)),
            csv=_write_blocks(folder / f"{part.name}.csv", _iter_csv_blocks(part.drawings)),
        )
    manifest = Manifest(provenance, entries)
    write_manifest(folder, manifest)
    for name in set(PARTS) - entries.keys():
        for ending in ("npy", "csv"):
            (folder / f"{name}.{ending}").unlink(missing_ok=True)
    return manifest


def load_features(folder: str | os.PathLike, part: str) -> tuple[Embeddings, tuple[Drawing, ...]]:
    """One part of a set: its features, which stay in their file, and its list.

    Both files are read once through for their sha256, the features a second time for NaN, Inf and zeros.

    Raises:
        InputError: no finished folder of features, none of this part, or files that do not fit each other.
        WeightsError: a file is not what was written.
        StorageError: a file is lost or cannot be read.
        NumericalError: features are NaN, Inf or zero.
    """
    folder = Path(folder)
    parts = read_manifest(folder).parts
    if part not in parts:
        raise InputError(
            f"{folder}: there are features of {', '.join(parts)}, none of {part}; see --split of extract.py"
        )
    drawings = _read_list(folder / f"{part}.csv", parts[part])
    return Embeddings.from_drawings(_map_features(folder / f"{part}.npy", parts[part]), drawings), drawings


def find_feature_folders(folder: str | os.PathLike) -> dict[str, Path]:
    """The folders of sets that can be ranked, by the sets' names: the folder itself, or those in it.

    Raises:
        InputError: there are none, or one is unfinished.
    """
    folder = Path(folder)
    if not folder.is_dir() or _has_features(folder):
        return {read_manifest(folder).provenance.dataset: folder}
    below = {sub.name: sub for sub in sorted(folder.iterdir()) if sub.is_dir() and _has_features(sub)}
    found = {name: sub for name, sub in below.items() if {"queries", "gallery"} <= read_manifest(sub).parts.keys()}
    if not found:
        raise InputError(f"{folder}: no features of queries and gallery in it or in a folder of it; {RERUN_HINT}")
    return found


def stale_parts(folder: str | os.PathLike, fingerprints: Mapping[str, str], *, provenance: Provenance) -> dict[str, str]:
    """The parts that must be made, each with the reason; empty when the folder holds all of them, sound and current.

    Args:
        folder: of the set; it need not be there.
        fingerprints: part to `list_fingerprint` its list now.
        provenance: what the features would be made from now.
    """
    try:
        manifest = read_manifest(folder)
    except FastreidError:
        there = (Path(folder) / MANIFEST_NAME).exists()
        return dict.fromkeys(
            fingerprints, f"{MANIFEST_NAME} is damaged or of another format" if there else "there are no finished ones"
        )
    changes = manifest.provenance.diff(provenance)
    if changes:
        return dict.fromkeys(fingerprints, "; ".join(changes))
    reasons = {part: _stale_reason(Path(folder), part, fingerprints[part], entry=manifest.parts.get(part)) for part in fingerprints}
    return {part: reason for part, reason in reasons.items() if reason}


def _stale_reason(folder: Path, part: str, stamp: str, *, entry: PartEntry | None) -> str:
    if entry is None:
        return "there are none yet"
    if entry.fingerprint != stamp:
        return "the list or its files changed"
    for ending, wanted in (("npy", entry.npy), ("csv", entry.csv)):
        path = folder / f"{part}.{ending}"
        if not path.is_file() or compute_sha256(path) != wanted:
            return f"{path.name} is lost or damaged"
    return ""


def _reusable_entries(folder: Path, origin: Provenance) -> dict[str, PartEntry]:
    """The entries a folder's manifest has, if its features came from this origin."""
    try:
        manifest = read_manifest(folder)
    except FastreidError:
        return {}
    return {} if manifest.provenance.diff(origin) else dict(manifest.parts)


def _has_features(folder: Path) -> bool:
    """Whether somebody wrote features here, or began to."""
    return (folder / MANIFEST_NAME).exists() or any(file for part in PARTS for file in folder.glob(f"{part}.npy*"))


def _write_blocks(path: Path, blocks: Iterable[bytes | memoryview]) -> str:
    """Write blocks as one file; the sha256 of what was given, so that a disk that keeps something else is found out."""
    digest = hashlib.sha256()
    with atomic_write(path) as file:
        for block in blocks:
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


def _iter_npy_blocks(embeddings: Embeddings) -> Iterator[bytes | memoryview]:
    features = embeddings.features
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": tuple(features.shape)}
    np.lib.format.write_array_header_1_0(header, shape)
    yield header.getvalue()
    for rows in features.split(max(1, _FLOATS_PER_WRITE // features.shape[1])):
        yield np.ascontiguousarray(rows.cpu().numpy(), dtype="<f4").data


def _iter_csv_blocks(drawings: Sequence[Drawing]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows((row, d.name, d.patent, d.camera, d.path) for row, d in enumerate(drawings))
    yield text.getvalue().encode("utf-8", "surrogateescape")  # a file's name may hold bytes that are no text


def _read_list(path: Path, entry: PartEntry) -> tuple[Drawing, ...]:
    try:
        content = read_file_bytes(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); {RERUN_HINT}")
    _verify_digest(path, hashlib.sha256(content).hexdigest(), entry.csv)
    lines = csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline=""), strict=True)
    drawings: list[Drawing] = []
    try:
        if tuple(next(lines, ())) != COLUMNS:
            raise InputError(f"{path}: the header is not {','.join(COLUMNS)}; {RERUN_HINT}")
        for fields in lines:
            row, name, patent, camera, file = fields
            if row != str(len(drawings)):
                raise ValueError
            drawings.append(Drawing(file, name, patent, int(camera), f"{path.name}:{lines.line_num}"))
    except (ValueError, csv.Error):
        raise InputError(f"{path}:{lines.line_num}: not row {len(drawings)} as {','.join(COLUMNS)}; {RERUN_HINT}")
    if len(drawings) != entry.rows:
        raise InputError(f"{path}: {len(drawings)} drawings, but features of {entry.rows}; {RERUN_HINT}")
    return tuple(drawings)


def _map_features(path: Path, entry: PartEntry) -> MappedRows:
    try:
        _verify_digest(path, compute_sha256(path), entry.npy)
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):  # as we write it; later versions may have a header without end
                raise ValueError
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); {RERUN_HINT}")
    except (ValueError, OverflowError):
        raise InputError(f"{path}: not an array of numpy, or cut short; {RERUN_HINT}")
    held, wanted = f"{array.dtype} {array.shape}", f"float32 {(entry.rows, entry.width)}"
    whole = array.flags.c_contiguous and array.offset + array.nbytes == path.stat().st_size
    if held != wanted or not whole:
        raise InputError(f"{path}: {held}, not {wanted} in C order and nothing else; {RERUN_HINT}")
    return MappedRows(array)


def _verify_digest(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise WeightsError(f"{path}: not the file that was written (sha256 {found[:12]}, not {wanted[:12]}); {RERUN_HINT}")
