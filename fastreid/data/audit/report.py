"""The result of an audit as text, JSON and contact sheet."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fastreid.data.audit.findings import DrawingList, Finding, describe_mode, map_first_uses
from fastreid.data.audit.inspection import FileInfo
from fastreid.data.io.image import Header, read_image
from fastreid.utils.errors import InputError
from fastreid.utils.fonts import choose_font, shorten_text
from fastreid.utils.text import escape_unprintable, format_count

MAX_FINDINGS_SHOWN = 20  # per kind; the JSON has all

_NUM_COLUMNS, _ROWS_PER_KIND = 8, 3
_CELL_PX, _TEXT_PX, _GAP_PX = 150, 12, 4
_TITLE_PX, _CAPTION_PX = 22, 24  # height of the lines above and below the drawings of a row
_FRAME_COLOR = "#c8c8c8"


@dataclass(frozen=True)
class AuditReport:
    """The drawings of a config and the findings about them.

    Args:
        lists: the lists of the datasets.
        files: by path.
        findings: errors and oddities.
        was_decoded: pages were decoded, not only headers read.
    """

    lists: tuple[DrawingList, ...]
    files: Mapping[str, FileInfo]
    findings: tuple[Finding, ...]
    was_decoded: bool

    @property
    def num_errors(self) -> int:
        """Number of findings that would make a run fail."""
        return sum(finding.is_error for finding in self.findings)

    @property
    def machine_errors(self) -> list[Finding]:
        """Errors whose cause is the machine, such as a disk that cannot be read, not the data."""
        return [one for one in self.findings if one.is_error and one.exit_code != InputError.exit_code]

    def format_lines(self) -> Iterator[str]:
        """Yield the lines of the report: counts, files, errors, then warnings."""
        for one in self.lists:
            yield f"{one.name}: {_format_counts(_count_drawings(one))}"
        yield from _format_files(self._summarize_files())
        for is_error in (True, False):
            kinds: dict[str, list[Finding]] = {}
            for finding in self.findings:
                if finding.is_error == is_error:
                    kinds.setdefault(finding.kind, []).append(finding)
            if kinds:
                yield ""
                yield "errors:" if is_error else "warnings:"
            for kind, findings in kinds.items():
                yield f"  {kind} ({len(findings):,})"
                yield from (f"    {escape_unprintable(finding.message)}" for finding in findings[:MAX_FINDINGS_SHOWN])
                if len(findings) > MAX_FINDINGS_SHOWN:
                    yield f"    ... and {len(findings) - MAX_FINDINGS_SHOWN:,} more"

    def to_json(self) -> str:
        """Return the report as JSON, with every finding."""
        data = {
            "was_decoded": self.was_decoded,
            "lists": {one.name: _count_drawings(one) for one in self.lists},
            "files": self._summarize_files(),
            "findings": [
                {
                    "kind": one.kind,
                    "is_error": one.is_error,
                    "message": one.message,
                    "files": one.paths,
                    "patents": one.patents,
                }
                for one in self.findings
            ],
        }
        return json.dumps(data, indent=1) + "\n"

    def plot(self, *, max_pixels: int, color: bool = False) -> Image.Image | None:
        """Return a contact sheet: an even sample of the drawings, then those of each kind of finding.

        Args:
            max_pixels: as for `read_image`.
            color: show the colors.

        Returns:
            None if no file can be read.
        """
        readable = [path for path, file in self.files.items() if file.header]
        if not readable:
            return None
        sampled = np.unique(np.linspace(0, len(readable) - 1, 2 * _NUM_COLUMNS).round().astype(int))
        rows: dict[str, list[str]] = {"sample": [readable[index] for index in sampled]}
        for finding in self.findings:
            rows.setdefault(finding.kind, []).extend(path for path in finding.paths if self.files[path].header)
        uses = map_first_uses(self.lists)
        captions = {path: f"{uses[path].patent} {uses[path].name.rpartition('/')[2]}" for path in readable}
        rows = {kind: paths for kind, paths in rows.items() if paths}
        return _plot_rows(rows, captions, max_pixels=max_pixels, color=color)

    def _summarize_files(self) -> dict[str, Any]:
        files = [(file, file.header) for file in self.files.values() if file.header]
        summary: dict[str, Any] = {"num": len(self.files), "unreadable": len(self.files) - len(files)}
        if files:
            formats = Counter(_describe_format(header) for _, header in files)
            summary["formats"] = dict(formats.most_common())
            summary["longest_px"] = _summarize([max(header.width, header.height) for _, header in files])
            summary["mib"] = round(sum(file.num_bytes for file, _ in files) / 2**20, 1)
            inks = [100 * file.ink for file, _ in files if file.ink is not None]
            if inks:
                summary["ink_percent"] = _summarize(inks)
        return summary


def _describe_format(header: Header) -> str:
    """Return the format and the pixels of a file; those of a PDF depend on how it is rendered."""
    return header.format if header.format == "PDF" else f"{header.format} ({describe_mode(header.mode)})"


def _count_drawings(one: DrawingList) -> dict[str, Any]:
    counts: dict[str, Any] = {"drawings": len(one.drawings)}
    per_patent = Counter(drawing.patent for drawing in one.drawings if drawing.patent)
    if per_patent:
        counts |= {"patents": len(per_patent), "drawings_per_patent": _summarize(list(per_patent.values()))}
    return counts


def _summarize(numbers: Sequence[float]) -> dict[str, float]:
    smallest, median, largest = np.quantile(numbers, [0, 0.5, 1]).round(2).tolist()
    return {"min": smallest, "median": median, "max": largest}


def _format_counts(counts: Mapping[str, Any]) -> str:
    text = format_count(counts["drawings"], "drawing")
    if "patents" in counts:
        text += f" of {format_count(counts['patents'], 'patent')}, {_format_range(counts['drawings_per_patent'])}"
    return text


def _format_files(files: Mapping[str, Any]) -> Iterator[str]:
    unreadable = f", {files['unreadable']:,} of which cannot be read" if files["unreadable"] else ""
    yield format_count(files["num"], "file") + unreadable
    if "formats" in files:
        yield f"  {files['mib']:,} MiB: " + ", ".join(f"{num:,} {name}" for name, num in files["formats"].items())
        yield f"  longest side {_format_range(files['longest_px'])} px"
    if "ink_percent" in files:
        yield f"  ink {_format_range(files['ink_percent'])} %"


def _format_range(summary: Mapping[str, float]) -> str:
    return f"{summary['min']:,g} to {summary['max']:,g} (median {summary['median']:,g})"


def _plot_rows(
    rows: Mapping[str, Sequence[str]], captions: Mapping[str, str], *, max_pixels: int, color: bool
) -> Image.Image:
    shown = {kind: paths[: _NUM_COLUMNS * _ROWS_PER_KIND] for kind, paths in rows.items()}
    lines = [
        (kind, paths[start : start + _NUM_COLUMNS])
        for kind, paths in shown.items()
        for start in range(0, len(paths), _NUM_COLUMNS)
    ]
    step = _TITLE_PX + _CELL_PX + _CAPTION_PX
    size = (_NUM_COLUMNS * (_CELL_PX + _GAP_PX), len(lines) * step)
    sheet = Image.new("RGB" if color else "L", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, (kind, paths) in enumerate(lines):
        top = row * step + _TITLE_PX
        font, text = choose_font(kind, _TEXT_PX)
        draw.text((2, top - _GAP_PX), text, fill="black", font=font, anchor="ld")
        for column, path in enumerate(paths):
            inner_px = _CELL_PX - 2
            page = Image.fromarray(read_image(path, color=color, max_pixels=max_pixels, longest_px=inner_px))
            left = column * (_CELL_PX + _GAP_PX)
            box = [left, top, left + _CELL_PX - 1, top + _CELL_PX - 1]
            draw.rectangle(box, outline=_FRAME_COLOR)
            sheet.paste(page, (left + (_CELL_PX - page.width) // 2, top + (_CELL_PX - page.height) // 2))
            font, caption = shorten_text(captions[path], size_px=_TEXT_PX, width_px=_CELL_PX - _GAP_PX)
            draw.text((left + 2, top + _CELL_PX + _GAP_PX), caption, fill="#5a5a5a", font=font)
    return sheet
