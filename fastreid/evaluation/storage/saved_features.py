"""Features saved on disk, extracted once and memory-mapped by every later test.

    folder/
    |-- queries.npy  gallery.npy  train.npy    float32 (N, D) in C order, for numpy.load(path, mmap_mode="r")
    |-- queries.csv  gallery.csv  train.csv    row,name,patent,camera,path: the drawings in the same order
    |-- queries_local.*  gallery_local.*       the same for local features, with TEST.LOCAL.ENABLED
    `-- manifest.json                          provenance of the features, and the sha256 of every file

The manifest is written last: a folder without one is incomplete. A file with another sha256 than in the manifest is
damaged and is not read.
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
    MANIFEST_NAME,
    PARTS,
    RERUN_HINT,
    Manifest,
    PartEntry,
    Provenance,
    read_manifest,
    write_manifest,
)
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.errors import FastreidError, InputError, StorageError, WeightsError
from fastreid.utils.files import atomic_write, compute_sha256, read_file_bytes, remove_temporary_files
from fastreid.utils.mapped_rows import MappedRows

COLUMNS = ("row", "name", "patent", "camera", "path")
_FLOATS_PER_WRITE = 1 << 20


@dataclass(frozen=True)
class FeaturePart:
    """One image list of a dataset with its features, ready to be saved.

    Args:
        name: one of PARTS.
        features: features of the drawings.
        drawings: the image list, in the same order.
        fingerprint: `list_fingerprint` of the list, computed before the drawings were read.

    Raises:
        InputError: the name is unknown, or features and drawings differ in their names.
    """

    name: str
    features: Embeddings
    drawings: Sequence[Drawing]
    fingerprint: str

    def __post_init__(self) -> None:
        if self.name not in PARTS:
            raise InputError(f"unknown part {self.name!r} of a dataset; available: {', '.join(PARTS)}")
        if self.features.names != tuple(drawing.name for drawing in self.drawings):
            raise InputError(f"the features of {self.name} belong to another image list; give both in the same order")


def list_fingerprint(drawings: Iterable[Drawing]) -> str:
    """Return a sha256 that changes whenever an image list or one of its files changes.

    It covers name, patent, camera and path of each drawing, and size, modification time and change time (ns) of each
    file. Files are not read: any change of a file updates its change time (st_ctime), which programs cannot set.

    Raises:
        InputError: a file is missing.
    """
    digest = hashlib.sha256()
    for drawing in drawings:
        if drawing.is_synthetic:  # its path contains all that it is rendered from
            digest.update(f"{json.dumps([drawing.name, drawing.patent, drawing.camera, drawing.path])}\n".encode())
            continue
        try:
            status = os.stat(drawing.file)
        except OSError as error:
            raise InputError(
                f"{drawing.source}: {drawing.path} is missing ({error.strerror}); update the image list or the file"
            )
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        line = json.dumps([drawing.name, drawing.patent, drawing.camera, drawing.path, *state])
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def save_features(folder: str | os.PathLike[str], parts: Iterable[FeaturePart], *, provenance: Provenance) -> Manifest:
    """Save parts of a dataset one after the other, then the manifest.

    Parts that the folder already contains are kept if they have the same provenance, and deleted otherwise. Features
    are written in blocks, so they need no second copy in memory.

    Args:
        folder: folder of the dataset; created if missing.
        parts: the parts, consumed lazily.
        provenance: what the features were computed from.

    Raises:
        StorageError: the folder cannot be written or the disk is full; the folder is then incomplete.
    """
    folder = Path(folder)
    if folder.is_dir():
        remove_temporary_files(folder)
    kept = _reusable_entries(folder, provenance)
    entries = dict(kept)
    for part in parts:
        if not kept or part.name in kept:
            (folder / MANIFEST_NAME).unlink(missing_ok=True)  # the folder is incomplete from here on
        num_rows, dim = part.features.features.shape
        entries[part.name] = PartEntry(
            num_rows,
            dim,
            fingerprint=part.fingerprint,
            npy_sha256=_write_blocks(folder / f"{part.name}.npy", _iter_npy_blocks(part.features)),
            csv_sha256=_write_blocks(folder / f"{part.name}.csv", _iter_csv_blocks(part.drawings)),
        )
    manifest = Manifest(provenance, entries)
    write_manifest(folder, manifest)
    for name in set(PARTS) - entries.keys():
        for ending in ("npy", "csv"):
            (folder / f"{name}.{ending}").unlink(missing_ok=True)
    return manifest


def load_features(folder: str | os.PathLike[str], part: str) -> tuple[Embeddings, tuple[Drawing, ...]]:
    """Load one part of a dataset: its memory-mapped features and its image list.

    Both files are read once to verify their sha256, the features a second time to find NaN, Inf and zero rows.

    Raises:
        InputError: the folder is incomplete, lacks this part, or its files do not match.
        WeightsError: a file is damaged.
        StorageError: a file is missing or cannot be read.
        NumericalError: features are NaN, Inf or zero.
    """
    folder = Path(folder)
    parts = read_manifest(folder).parts
    if part not in parts:
        raise InputError(
            f"{folder}: contains features of {', '.join(parts)}, but not of {part}; see `fastreid extract --split`"
        )
    drawings = _read_list(folder / f"{part}.csv", parts[part])
    return Embeddings.from_drawings(_map_features(folder / f"{part}.npy", parts[part]), drawings), drawings


def find_feature_folders(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Return dataset name -> folder with features of queries and gallery: the folder itself, or its sub-folders.

    Raises:
        InputError: there are none, or one is incomplete.
    """
    folder = Path(folder)
    if not folder.is_dir() or _has_features(folder):
        return {read_manifest(folder).provenance.dataset: folder}
    candidates = {sub.name: sub for sub in sorted(folder.iterdir()) if sub.is_dir() and _has_features(sub)}
    found = {name: sub for name, sub in candidates.items() if {"queries", "gallery"} <= read_manifest(sub).parts.keys()}
    if not found:
        raise InputError(f"{folder}: no features of queries and gallery in it or in its sub-folders; {RERUN_HINT}")
    return found


def stale_parts(
    folder: str | os.PathLike[str], fingerprints: Mapping[str, str], *, provenance: Provenance
) -> dict[str, str]:
    """Return the parts that must be extracted (again), each with the reason; empty if all are valid and up to date.

    Args:
        folder: folder of the dataset; it may be missing.
        fingerprints: part -> current `list_fingerprint` of its list.
        provenance: what the features would be computed from now.
    """
    try:
        manifest = read_manifest(folder)
    except FastreidError:
        has_manifest = (Path(folder) / MANIFEST_NAME).exists()
        reason = f"{MANIFEST_NAME} is damaged or of another format" if has_manifest else "not extracted yet"
        return dict.fromkeys(fingerprints, reason)
    changes = manifest.provenance.diff(provenance)
    if changes:
        return dict.fromkeys(fingerprints, "; ".join(changes))
    reasons = {
        part: _stale_reason(Path(folder), part, fingerprint, entry=manifest.parts.get(part))
        for part, fingerprint in fingerprints.items()
    }
    return {part: reason for part, reason in reasons.items() if reason}


def _stale_reason(folder: Path, part: str, fingerprint: str, *, entry: PartEntry | None) -> str:
    if entry is None:
        return "not extracted yet"
    if entry.fingerprint != fingerprint:
        return (
            "the list or its files changed" if " " not in fingerprint else "the list, its files or TEST.LOCAL changed"
        )
    for ending, digest in (("npy", entry.npy_sha256), ("csv", entry.csv_sha256)):
        path = folder / f"{part}.{ending}"
        if not path.is_file() or compute_sha256(path) != digest:
            return f"{path.name} is missing or damaged"
    return ""


def _reusable_entries(folder: Path, provenance: Provenance) -> dict[str, PartEntry]:
    """Return the entries of a folder's manifest if its features have this provenance."""
    try:
        manifest = read_manifest(folder)
    except FastreidError:
        return {}
    return {} if manifest.provenance.diff(provenance) else dict(manifest.parts)


def _has_features(folder: Path) -> bool:
    """Return whether a folder contains features, even incomplete ones."""
    return (folder / MANIFEST_NAME).exists() or any(file for part in PARTS for file in folder.glob(f"{part}.npy*"))


def _write_blocks(path: Path, blocks: Iterable[bytes | memoryview]) -> str:
    """Write blocks to one file and return the sha256 of the blocks, so that wrong bytes on disk are detected later."""
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
    step = max(1, _FLOATS_PER_WRITE // features.shape[1])
    for start in range(0, len(features), step):
        yield np.ascontiguousarray(features[start : start + step].cpu().numpy(), dtype="<f4").data


def _iter_csv_blocks(drawings: Sequence[Drawing]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows((row, d.name, d.patent, d.camera, d.path) for row, d in enumerate(drawings))
    yield text.getvalue().encode("utf-8", "surrogateescape")  # file names may contain bytes that are not UTF-8


def _read_list(path: Path, entry: PartEntry) -> tuple[Drawing, ...]:
    try:
        content = read_file_bytes(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); {RERUN_HINT}")
    _verify_digest(path, hashlib.sha256(content).hexdigest(), entry.csv_sha256)
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
        raise InputError(
            f"{path}:{lines.line_num}: not row {len(drawings)} with the columns {','.join(COLUMNS)}; {RERUN_HINT}"
        )
    if len(drawings) != entry.num_rows:
        raise InputError(f"{path}: {len(drawings)} drawings, but {entry.num_rows} features; {RERUN_HINT}")
    return tuple(drawings)


def _map_features(path: Path, entry: PartEntry) -> MappedRows:
    try:
        _verify_digest(path, compute_sha256(path), entry.npy_sha256)
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):  # the version written here; later ones allow endless headers
                raise ValueError
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); {RERUN_HINT}")
    except (ValueError, OverflowError):
        raise InputError(f"{path}: not a NumPy array, or truncated; {RERUN_HINT}")
    actual, expected = f"{array.dtype} {array.shape}", f"float32 {(entry.num_rows, entry.dim)}"
    is_whole_file = array.flags.c_contiguous and array.offset + array.nbytes == path.stat().st_size
    if actual != expected or not is_whole_file:
        raise InputError(f"{path}: contains {actual}, not exactly {expected} in C order; {RERUN_HINT}")
    return MappedRows(array)


def _verify_digest(path: Path, actual: str, expected: str) -> None:
    if actual != expected:
        raise WeightsError(
            f"{path}: damaged or changed (sha256 {actual[:12]}, not {expected[:12]} as written); {RERUN_HINT}"
        )
