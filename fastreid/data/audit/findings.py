"""Errors and oddities in the drawings of datasets, with the lines of their lists."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastreid.data.audit.inspection import FileInfo
from fastreid.data.audit.near_duplicates import group_equal, group_near_duplicates
from fastreid.data.datasets.combined import get_file_id
from fastreid.data.datasets.folder_tree import SUFFIXES
from fastreid.data.io.image import Header, add_source
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.page_address import split_page_address
from fastreid.utils.text import escape_unprintable, format_count

BLANK_INK = 5e-4  # mean darkness; the palest of 589 real sheets has .0038
DARK_LEVEL = 128  # of the median gray level: more than half of the page is dark
TINY_PX = 64  # of the longest side
MAX_ASPECT = 8.0  # longer side / shorter side

_SUFFIXES_OF_FORMAT = dict.fromkeys(("JPEG", "MPO"), (".jpg", ".jpeg"))
_SUFFIXES_OF_FORMAT |= {"TIFF": (".tif", ".tiff"), "JPEG2000": (".jp2", ".j2k")}
_MODE_NAMES = {  # Pillow's pixel modes
    "1": "black and white",
    "L": "8-bit gray",
    "P": "palette",
    "LA": "8-bit gray, transparency",
    "PA": "palette, transparency",
    "RGB": "RGB",
    "RGBA": "RGB, transparency",
    "I": "32-bit gray",
    "F": "floating-point gray",
}
_PLAIN_MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_MAX_DRAWINGS_SHOWN = 6
_MAX_PATENTS_SHOWN = 5


@dataclass(frozen=True)
class DrawingList:
    """One list of a dataset.

    Args:
        name: such as "Patent train".
        drawings: of its valid lines.
        is_training: used for training, not for a test.
        id_space: equal ids mean equal patents only in lists with the same id_space.
    """

    name: str
    drawings: tuple[Drawing, ...]
    is_training: bool
    id_space: str


@dataclass(frozen=True)
class Finding:
    """One error or oddity.

    Args:
        kind: in one to five words; findings of a kind are reported together.
        message: one line.
        is_error: a run would fail because of it.
        paths: files that show it.
        patents: patents that show it, if the message does not name all of them.
        exit_code: of the error of a run; other than 2 if the machine is the cause, not the data.
    """

    kind: str
    message: str
    is_error: bool = False
    paths: tuple[str, ...] = ()
    patents: tuple[str, ...] = ()
    exit_code: int = InputError.exit_code


def find_file_problems(
    lists: Sequence[DrawingList], files: Mapping[str, FileInfo], *, may_skip: bool
) -> Iterator[Finding]:
    """Yield unreadable files, blank pages (no ink), dark pages (no white paper), and unusual files.

    Args:
        lists: all lists.
        files: by path.
        may_skip: unreadable training drawings are skipped (INPUT.ON_BAD_IMAGE).
    """
    tested = {drawing.path for one in lists if not one.is_training for drawing in one.drawings}
    for path, drawing in map_first_uses(lists).items():
        file = files[path]
        if file.header is None:
            fault = file.fault if escape_unprintable(path) in file.fault else f"{path}: {file.fault}"
            is_data = file.exit_code == InputError.exit_code
            yield Finding(
                "unreadable" if is_data else "read error",
                add_source(drawing, fault),
                is_error=not is_data or path in tested or not may_skip,
                exit_code=file.exit_code,
            )
            continue
        if file.ink is not None and file.ink < BLANK_INK:
            yield Finding("blank", f"{_locate(drawing)}: {100 * file.ink:.3f} % ink", paths=(path,))
        if file.median is not None and file.median < DARK_LEVEL:
            message = f"{_locate(drawing)}: median gray level {file.median:.0f}, paper should be white (255)"
            yield Finding("dark", message, paths=(path,))
        oddities = list(_find_oddities(path, file.header))
        if oddities:
            yield Finding("unusual", f"{_locate(drawing)}: {'; '.join(oddities)}", paths=(path,))


def find_patent_problems(lists: Sequence[DrawingList], *, num_instance: int) -> Iterator[Finding]:
    """Yield patents with too few training drawings, and queries without a match.

    Args:
        lists: all lists; the two of a test are its queries and its gallery, in this order.
        num_instance: drawings of a patent in a batch.
    """
    for one in lists:
        if one.is_training:
            counts = Counter(drawing.patent for drawing in one.drawings)
            single = sorted(patent for patent, num in counts.items() if num == 1)
            few = sorted(patent for patent, num in counts.items() if num < num_instance)
            if single:
                message = f"{one.name}: {_format_patents(single)} with one drawing: no positive pairs"
                yield Finding("single", message, patents=tuple(single))
            if few:
                message = f"{one.name}: {_format_patents(few)} with fewer drawings than DATALOADER.NUM_INSTANCE"
                yield Finding("few", f"{message} ({num_instance})", patents=tuple(few))
    tests = [one for one in lists if not one.is_training]
    for queries, gallery in zip(tests[::2], tests[1::2]):
        # a drawing that is in both lists does not match itself
        gallery_files = {(drawing.patent, drawing.path) for drawing in gallery.drawings}
        counts = Counter(patent for patent, _ in gallery_files)
        for query in queries.drawings:
            if query.patent and counts[query.patent] - ((query.patent, query.path) in gallery_files) == 0:
                yield Finding(
                    "no match",
                    f"{_locate(query)}: no other drawing of {query.patent} in the gallery; not scored",
                    paths=(query.path,),
                )


def find_leakage(
    lists: Sequence[DrawingList], files: Mapping[str, FileInfo], *, may_overlap: bool
) -> Iterator[Finding]:
    """Yield files that are in training and in a test, and ids that are; unreadable files are reported elsewhere.

    Args:
        lists: all lists.
        files: by path.
        may_overlap: DATASETS.ALLOW_OVERLAP.
    """
    training = [drawing for one in lists if one.is_training for drawing in one.drawings]
    by_file = {get_file_id(drawing): drawing for drawing in training if _is_readable(drawing, files)}
    training_ids = {drawing.patent for drawing in training}
    for one in lists:
        if one.is_training:
            continue
        for drawing in one.drawings:
            twin = by_file.get(get_file_id(drawing)) if _is_readable(drawing, files) else None
            if twin is not None:
                message = f"{_locate(drawing)} is also a training drawing ({twin.source})"
                yield Finding("in training and test", message, not may_overlap, (drawing.path,))
        shared = sorted({drawing.patent for drawing in one.drawings} & training_ids - {""})
        if shared:
            yield Finding(
                "ids in training and test",
                f"{one.name}: {_format_patents(shared)} are training ids too; correct only if the lists have "
                "independent ids",
                patents=tuple(shared),
            )


def find_duplicates(lists: Sequence[DrawingList], files: Mapping[str, FileInfo]) -> Iterator[Finding]:
    """Yield groups of equal files, of equal pages and of similar pages.

    Equal drawings with two ids in one dataset are a label conflict; other kinds distinguish other patents, and training
    and test.
    """
    uses = map_first_uses(lists)
    trained = {drawing.path for one in lists if one.is_training for drawing in one.drawings}
    patents = {drawing.path: (one.id_space, drawing.patent) for one in lists for drawing in one.drawings}
    paths = [path for path in uses if files[path].header]
    known: set[frozenset[str]] = set()
    equal_pages = [[paths[row] for row in rows] for rows in group_equal([files[path].pixels for path in paths])]
    equal_files = [[paths[row] for row in rows] for rows in group_equal([files[path].sha256 for path in paths])]
    group_sizes = {path: len(group) for group in equal_pages for path in group}
    for kind, groups in (("same bytes", equal_files), ("same pixels", equal_pages)):
        for group in groups:
            if frozenset(group) not in known:
                known.add(frozenset(group))
                if group_sizes.get(group[0], 0) <= len(group):  # otherwise the larger group has the same conflict
                    yield from _find_label_conflicts(kind, group, uses, patents=patents)
                yield from _describe_duplicates(kind, group, uses, trained=trained, patents=patents)
    fingerprints = {path: bits for path in paths if (bits := files[path].fingerprint) is not None}
    fingerprinted = list(fingerprints)
    similar = group_near_duplicates(np.stack(list(fingerprints.values()))) if fingerprints else []
    for rows in similar:
        group = [fingerprinted[row] for row in rows]
        if frozenset(group) not in known:
            yield from _describe_duplicates("similar pages", group, uses, trained=trained, patents=patents)


def map_first_uses(lists: Iterable[DrawingList]) -> dict[str, Drawing]:
    """Return each file with the first drawing that names it; synthetic drawings without a file are omitted."""
    uses: dict[str, Drawing] = {}
    for one in lists:
        for drawing in one.drawings:
            if not drawing.is_synthetic:
                uses.setdefault(drawing.path, drawing)
    return uses


def _find_label_conflicts(
    reason: str, group: Sequence[str], uses: Mapping[str, Drawing], *, patents: Mapping[str, tuple[str, str]]
) -> Iterator[Finding]:
    """Yield the equal drawings of each dataset that have several ids; drawings of unknown patents have none."""
    by_space: dict[str, list[str]] = {}
    for path in group:
        id_space, patent = patents[path]
        if patent:
            by_space.setdefault(id_space, []).append(path)
    for paths in by_space.values():
        ids = sorted({patents[path][1] for path in paths})
        if len(ids) > 1:
            message = f"{reason} with {len(ids)} ids: {_locate_all(paths, uses, with_ids=True)}; correct one of the ids"
            yield Finding("label conflict", message, paths=tuple(paths[:_MAX_DRAWINGS_SHOWN]), patents=tuple(ids))


def _describe_duplicates(
    kind: str,
    group: Sequence[str],
    uses: Mapping[str, Drawing],
    *,
    trained: set[str],
    patents: Mapping[str, tuple[str, str]],
) -> Iterator[Finding]:
    """Yield a group of duplicates, unless it is a label conflict as a whole, in which every drawing has an id."""
    num_trained = sum(path in trained for path in group)
    ids = {patents[path] for path in group}
    if 0 < num_trained < len(group):
        kind = f"{kind}, training and test"
    elif (
        len(ids) > 1
        and kind != "similar pages"
        and len({id_space for id_space, _ in ids}) == 1
        and all(patent for _, patent in ids)
    ):
        return
    elif len(ids) > 1:
        kind = f"{kind}, different patents"
    yield Finding(kind, _locate_all(group, uses), paths=tuple(group[:_MAX_DRAWINGS_SHOWN]))


def _locate_all(paths: Sequence[str], uses: Mapping[str, Drawing], *, with_ids: bool = False) -> str:
    """Return the lines and names of the first drawings, and the number of the others."""
    shown = [
        _locate(uses[path]) + (f" (id {uses[path].patent})" if with_ids else "") for path in paths[:_MAX_DRAWINGS_SHOWN]
    ]
    more = f" and {len(paths) - _MAX_DRAWINGS_SHOWN} more" if len(paths) > _MAX_DRAWINGS_SHOWN else ""
    return ", ".join(shown) + more


def describe_mode(mode: str) -> str:
    """Return the kind of pixels of a Pillow mode in words; color spaces such as CMYK keep their name."""
    return "16-bit gray" if mode.startswith("I;16") else _MODE_NAMES.get(mode, mode)


def _find_oddities(path: str, header: Header) -> Iterator[str]:
    is_whole_file = split_page_address(path)[0] == path
    suffix = os.path.splitext(split_page_address(path)[0])[1].lower()
    if suffix in SUFFIXES and suffix not in _SUFFIXES_OF_FORMAT.get(header.format, (f".{header.format.lower()}",)):
        yield f"a {header.format} file with the suffix {suffix}"
    if header.mode not in _PLAIN_MODES:
        yield f"{describe_mode(header.mode)}, scaled to 256 gray levels"
    if header.num_frames > 1 and header.format not in ("TIFF", "PDF"):
        yield "an animation, whose first frame is used"
    elif header.num_frames > 1 and is_whole_file:
        yield f"{header.num_frames} pages, the first is used; write #page=2 after the name for another one"
    if header.is_rotated:
        yield "rotated by its EXIF orientation"
    short, long = sorted((header.width, header.height))
    if long < TINY_PX or long > MAX_ASPECT * short:
        yield f"{header.width} x {header.height} px"


def _is_readable(drawing: Drawing, files: Mapping[str, FileInfo]) -> bool:
    return drawing.path in files and files[drawing.path].header is not None


def _locate(drawing: Drawing) -> str:
    """Return the list's line and the name of a drawing."""
    return (
        f"{drawing.source} {drawing.name}" if drawing.source and drawing.name not in drawing.source else drawing.source
    )


def _format_patents(patents: Sequence[str]) -> str:
    more = ", ..." if len(patents) > _MAX_PATENTS_SHOWN else ""
    return f"{format_count(len(patents), 'patent')} ({', '.join(patents[:_MAX_PATENTS_SHOWN])}{more})"
