"""A survey in words, as JSON, and as a picture."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.data.audit.findings import Finding, Part, first_uses
from fastreid.data.audit.inspection import Facts
from fastreid.data.io.image import read_image
from fastreid.data.io.messages import one_line

NUM_TOLD = 20  # findings of a kind; JSON has all

_COLUMNS, _ROWS_A_KIND = 8, 3
_CELL_PX, _TEXT_PX = 150, 12


@dataclass(frozen=True)
class Survey:
    """All that is known of the drawings a config names.

    Args:
        parts: its lists.
        facts: of every file, by path.
        findings: what is wrong or odd.
        was_decoded: whether pages were looked at, not headers alone.
    """

    parts: tuple[Part, ...]
    facts: Mapping[str, Facts]
    findings: tuple[Finding, ...]
    was_decoded: bool

    @property
    def num_faults(self) -> int:
        """Findings that a run would be refused or stopped for."""
        return sum(finding.must_mend for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """The survey for people: counts, files, then what was found, what must be mended first."""
        for part in self.parts:
            yield f"{part.name}: {_in_words(_counts(part))}"
        yield from _file_lines(self._files())
        for must_mend in (True, False):
            kinds: dict[str, list[Finding]] = {}
            for finding in self.findings:
                if finding.must_mend == must_mend:
                    kinds.setdefault(finding.kind, []).append(finding)
            if kinds:
                yield ""
                yield "to be mended:" if must_mend else "worth a look:"
            for kind, found in kinds.items():
                yield f"  {kind} ({len(found):,})"
                yield from (f"    {one_line(finding.what)}" for finding in found[:NUM_TOLD])
                if len(found) > NUM_TOLD:
                    yield f"    ... and {len(found) - NUM_TOLD:,} more"

    def as_json(self) -> str:
        """The survey for programs, with every finding."""
        data = {
            "was_decoded": self.was_decoded,
            "parts": {part.name: _counts(part) for part in self.parts},
            "files": self._files(),
            "findings": [
                {"kind": finding.kind, "must_mend": finding.must_mend, "what": finding.what, "files": finding.pictures}
                for finding in self.findings
            ],
        }
        return json.dumps(data, indent=1) + "\n"

    def sheet(self, *, max_pixels: int) -> Image.Image | None:
        """Drawings from all over the lists, then those of each kind of finding; None where no file can be read.

        Args:
            max_pixels: as for `read_image`.
        """
        sound = [path for path, facts in self.facts.items() if facts.header]
        if not sound:
            return None
        places = np.unique(np.linspace(0, len(sound) - 1, 2 * _COLUMNS).round().astype(int))
        rows: dict[str, list[str]] = {"from all over": [sound[place] for place in places]}
        for finding in self.findings:
            rows.setdefault(finding.kind, []).extend(path for path in finding.pictures if self.facts[path].header)
        uses = first_uses(self.parts)
        captions = {path: f"{uses[path].patent} {uses[path].name.rpartition('/')[2]}" for path in sound}
        return _drawn({kind: paths for kind, paths in rows.items() if paths}, captions, max_pixels=max_pixels)

    def _files(self) -> dict[str, Any]:
        facts = [one for one in self.facts.values() if one.header]
        found: dict[str, Any] = {"num": len(self.facts), "unreadable": len(self.facts) - len(facts)}
        if facts:
            kinds = Counter(f"{one.header.format} {one.header.mode}" for one in facts if one.header)
            longest = [max(one.header.width, one.header.height) for one in facts if one.header]
            found["kinds"] = dict(kinds.most_common())
            found["longest_px"] = _spread(longest)
            found["mib"] = round(sum(one.num_bytes for one in facts) / 2**20, 1)
            inks = [100 * one.ink for one in facts if one.ink is not None]
            if inks:
                found["ink_percent"] = _spread(inks)
        return found


def _counts(part: Part) -> dict[str, Any]:
    found: dict[str, Any] = {"drawings": len(part.drawings)}
    counts = Counter(drawing.patent for drawing in part.drawings if drawing.patent)
    if counts:
        found |= {"patents": len(counts), "drawings_a_patent": _spread(list(counts.values()))}
    return found


def _spread(numbers: Sequence[float]) -> dict[str, float]:
    least, middle, most = np.quantile(numbers, [0, 0.5, 1]).round(2).tolist()
    return {"least": least, "median": middle, "most": most}


def _in_words(counts: Mapping[str, Any]) -> str:
    told = f"{counts['drawings']:,} drawings"
    if "patents" in counts:
        told += f" of {counts['patents']:,} patents, {_span(counts['drawings_a_patent'])}"
    return told


def _file_lines(files: Mapping[str, Any]) -> Iterator[str]:
    unreadable = f", {files['unreadable']:,} of which cannot be read" if files["unreadable"] else ""
    yield f"{files['num']:,} files{unreadable}"
    if "kinds" in files:
        yield f"  {files['mib']:,} MiB: " + ", ".join(f"{num:,} {kind}" for kind, num in files["kinds"].items())
        yield f"  longest side {_span(files['longest_px'])} px"
    if "ink_percent" in files:
        yield f"  ink {_span(files['ink_percent'])} %"


def _span(spread: Mapping[str, float]) -> str:
    return f"{spread['least']:,g} to {spread['most']:,g} (median {spread['median']:,g})"


def _drawn(rows: Mapping[str, Sequence[str]], captions: Mapping[str, str], *, max_pixels: int) -> Image.Image:
    shown = {kind: paths[: _COLUMNS * _ROWS_A_KIND] for kind, paths in rows.items()}
    lines = [
        (kind, paths[at : at + _COLUMNS]) for kind, paths in shown.items() for at in range(0, len(paths), _COLUMNS)
    ]
    step = _CELL_PX + 2 * _TEXT_PX
    sheet = Image.new("L", (_COLUMNS * (_CELL_PX + 4), len(lines) * (step + _TEXT_PX)), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_PX)
    for row, (kind, paths) in enumerate(lines):
        top = row * (step + _TEXT_PX)
        pen.text((4, top), one_line(kind), fill=0, font=font)
        for column, path in enumerate(paths):
            picture = Image.fromarray(read_image(path, max_pixels=max_pixels, longest_px=_CELL_PX))
            left = column * (_CELL_PX + 4)
            sheet.paste(picture, (left, top + _TEXT_PX + 4))
            pen.text((left + 2, top + step - 6), one_line(captions[path])[-22:], fill=90, font=font)
    return sheet
