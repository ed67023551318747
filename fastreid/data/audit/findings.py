"""What is wrong or odd about the drawings of a data set, told with their lines."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastreid.data.audit.inspection import Facts
from fastreid.data.audit.near_duplicates import equal_groups, groups_alike
from fastreid.data.datasets.combined import file_of
from fastreid.data.datasets.folder import SUFFIXES
from fastreid.data.io.image import Header
from fastreid.structures import Drawing

BLANK = 5e-4  # mean darkness; the palest of 589 real sheets has .0038
TINY_PX = 64  # of the longest side
LONG = 8.0  # times as long as wide, or the other way

_ENDINGS = {"JPEG": (".jpg", ".jpeg"), "TIFF": (".tif", ".tiff")}
_PLAIN_MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


@dataclass(frozen=True)
class Part:
    """One list of a data set.

    Args:
        name: such as "Patent train".
        drawings: those of its lines that are sound.
        is_training: to learn from, not to test by.
        numbering: lists of the same word number their patents alike; others by themselves.
    """

    name: str
    drawings: tuple[Drawing, ...]
    is_training: bool
    numbering: str


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        kind: in a word or two; findings of a kind are told together.
        what: one line.
        must_mend: whether a run would be refused, or stop, for it.
        pictures: files that show it.
    """

    kind: str
    what: str
    must_mend: bool = False
    pictures: tuple[str, ...] = ()


def of_files(parts: Sequence[Part], facts: Mapping[str, Facts], *, may_skip: bool) -> Iterator[Finding]:
    """Files that cannot be read, blank pages, and whatever is unusual for a drawing.

    Args:
        parts: all lists.
        facts: by path.
        may_skip: whether a training drawing that cannot be read is passed over (INPUT.ON_BAD_IMAGE).
    """
    tested = {drawing.path for part in parts if not part.is_training for drawing in part.drawings}
    for path, drawing in first_uses(parts).items():
        one = facts[path]
        if one.header is None:
            fault = one.fault if path in one.fault else f"{path}: {one.fault}"
            yield Finding("unreadable", f"{drawing.source}: {fault}", path in tested or not may_skip)
            continue
        if one.ink is not None and one.ink < BLANK:
            yield Finding("blank", f"{_place(drawing)}: {100 * one.ink:.3f} % ink", pictures=(path,))
        odd = list(_oddities(path, one.header))
        if odd:
            yield Finding("odd", f"{_place(drawing)}: {'; '.join(odd)}", pictures=(path,))


def of_patents(parts: Sequence[Part], *, num_instance: int) -> Iterator[Finding]:
    """Patents with too few drawings to learn from, and queries nothing can be found for.

    Args:
        parts: all lists; those of a test are its queries and its database, one after the other.
        num_instance: drawings of a patent in a batch.
    """
    for part in parts:
        if part.is_training:
            counts = Counter(drawing.patent for drawing in part.drawings)
            single = sorted(word for word, num in counts.items() if num == 1)
            few = sum(num < num_instance for num in counts.values())
            if single:
                yield Finding(
                    "single", f"{part.name}: {_some(single)} with one drawing, which has no other to be near to"
                )
            if few:
                yield Finding(
                    "few",
                    f"{part.name}: {few} patents with fewer drawings than DATALOADER.NUM_INSTANCE ({num_instance})",
                )
    tests = [part for part in parts if not part.is_training]
    for queries, gallery in zip(tests[::2], tests[1::2]):
        # one that stands in both lists is no match of itself
        names = {(drawing.patent, drawing.path) for drawing in gallery.drawings}
        counts = Counter(word for word, _ in names)
        for query in queries.drawings:
            if query.patent and counts[query.patent] - ((query.patent, query.path) in names) == 0:
                yield Finding(
                    "no match",
                    f"{_place(query)}: no other drawing of {query.patent} in the database; left out of scores",
                    pictures=(query.path,),
                )


def of_splits(parts: Sequence[Part], facts: Mapping[str, Facts], *, may_overlap: bool) -> Iterator[Finding]:
    """Files that stand in training and in a test, and patents that seem to; those that cannot be read are told elsewhere.

    Args:
        parts: all lists.
        facts: by path.
        may_overlap: DATASETS.ALLOW_OVERLAP.
    """
    training = [drawing for part in parts if part.is_training for drawing in part.drawings]
    trained = {file_of(drawing): drawing for drawing in training if _is_there(drawing, facts)}
    words = {drawing.patent for drawing in training}
    for part in parts:
        if part.is_training:
            continue
        for drawing in part.drawings:
            twin = trained.get(file_of(drawing)) if _is_there(drawing, facts) else None
            if twin is not None:
                what = f"{_place(drawing)} is also to be trained on ({twin.source})"
                yield Finding("in both", what, not may_overlap, (drawing.path,))
        both = sorted({drawing.patent for drawing in part.drawings} & words - {""})
        if both:
            yield Finding(
                "ids in both",
                f"{part.name}: {_some(both)} that training has as well; right only where lists number patents apart",
            )


def of_copies(parts: Sequence[Part], facts: Mapping[str, Facts]) -> Iterator[Finding]:
    """Files with the same bytes, and pages that look alike, both worst where they are of different patents or lists."""
    uses = first_uses(parts)
    trained = {drawing.path for part in parts if part.is_training for drawing in part.drawings}
    patents = {drawing.path: (part.numbering, drawing.patent) for part in parts for drawing in part.drawings}
    paths = [path for path in uses if facts[path].header]
    equal = [[paths[row] for row in group] for group in equal_groups([facts[path].sha256 for path in paths])]
    for group in equal:
        yield _copies("same bytes", group, uses, trained=trained, patents=patents)
    known = {frozenset(group) for group in equal}
    prints = {path: found for path in paths if (found := facts[path].fingerprint) is not None}
    seen = list(prints)
    for rows in groups_alike(np.stack(list(prints.values()))) if prints else ():
        group = [seen[row] for row in rows]
        if frozenset(group) not in known:
            yield _copies("alike", group, uses, trained=trained, patents=patents)


def first_uses(parts: Iterable[Part]) -> dict[str, Drawing]:
    """Each file with the first drawing that names it; drawings that are drawn have none."""
    uses: dict[str, Drawing] = {}
    for part in parts:
        for drawing in part.drawings:
            if not drawing.is_synthetic:
                uses.setdefault(drawing.path, drawing)
    return uses


def _copies(
    kind: str,
    group: Sequence[str],
    uses: Mapping[str, Drawing],
    *,
    trained: set[str],
    patents: Mapping[str, tuple[str, str]],
) -> Finding:
    in_training = [path for path in group if path in trained]
    if in_training and len(in_training) < len(group):
        kind = f"{kind}, training and test"
    elif len({patents[path] for path in group}) > 1:
        kind = f"{kind}, different patents"
    told = ", ".join(_place(uses[path]) for path in group[:6])
    return Finding(kind, told + (f" and {len(group) - 6} more" if len(group) > 6 else ""), pictures=tuple(group[:6]))


def _oddities(path: str, header: Header) -> Iterator[str]:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES and suffix not in _ENDINGS.get(header.format, (f".{header.format.lower()}",)):
        yield f"{header.format} under the name of {suffix}"
    if header.mode not in _PLAIN_MODES:
        yield f"pixels of kind {header.mode}, scaled to 256 greys"
    if header.num_pictures > 1:
        yield f"{header.num_pictures} pictures, the first counts"
    if header.is_turned:
        yield "turned by its EXIF orientation"
    short, long = sorted((header.width, header.height))
    if long < TINY_PX or long > LONG * short:
        yield f"{header.width} x {header.height} px"


def _is_there(drawing: Drawing, facts: Mapping[str, Facts]) -> bool:
    return drawing.path in facts and facts[drawing.path].header is not None


def _place(drawing: Drawing) -> str:
    return (
        f"{drawing.source} {drawing.name}" if drawing.source and drawing.name not in drawing.source else drawing.source
    )


def _some(words: Sequence[str]) -> str:
    return f"{len(words)} patents ({', '.join(words[:5])}{', ...' if len(words) > 5 else ''})"
