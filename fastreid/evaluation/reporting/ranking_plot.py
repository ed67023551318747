"""Figure of queries and their nearest drawings."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastreid.evaluation.features import check_count
from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.structures import Drawing, Ranking
from fastreid.utils.errors import InputError
from fastreid.utils.fonts import shorten_text
from fastreid.utils.page_address import split_page_address

NUM_COLUMNS = 10
_BACKGROUND, _TEXT, _MUTED_TEXT, _BORDER = "white", "#1f2328", "#6e7781", "#d0d7de"
_CORRECT, _WRONG = "#1a7f37", "#cf222e"
_DARKENING_GAMMA = 1.6  # exponent for a gray level 0..1
_SUPERSAMPLING = 4  # marks are drawn this much larger and scaled down, for smooth edges


def plot_rankings(
    queries: Sequence[Drawing],
    gallery: Sequence[Drawing],
    ranking: Ranking,
    *,
    read_image: Callable[[str], NDArray[np.uint8]],
    num_queries: int = 12,
    cell_px: int = 160,
) -> Image.Image:
    """Return a figure with one query per row: the drawing and its ten nearest, with their patents and file names.

    If patents are known, a drawing of the query's patent has a green frame and a tick, any other a red frame and a
    cross, and the query's caption counts the drawings of its patent in its row. The query's own drawing and drawings of
    unknown patents have a gray frame and no mark. The queries are spaced evenly over the list, including the first and
    the last. Drawings that are scaled down are darkened, because thin lines would fade.

    Args:
        queries: query list.
        gallery: gallery list.
        ranking: ranking of the queries; its indices are rows of the gallery.
        read_image: returns the pixels of a drawing for its path, uint8 (H, W) or (H, W, 3).
        num_queries: maximum number of rows.
        cell_px: side of the square that a drawing is fitted into, in px; the aspect ratio is kept.

    Raises:
        InputError: the ranking belongs to other lists, num_queries is below 1 or cell_px below 32.
    """
    check_count("num_queries", num_queries)
    check_count("cell_px", cell_px, minimum=32)
    rows = ranking.indices.cpu().numpy()
    if len(rows) != len(queries) or not rows.size or rows.min() < 0 or rows.max() >= len(gallery):
        raise InputError(
            f"a ranking {rows.shape} does not match {len(queries)} queries and {len(gallery)} gallery drawings; rank "
            "these lists"
        )
    truth = GroundTruth([drawing.patent for drawing in queries], [drawing.patent for drawing in gallery])
    selected = np.unique(np.linspace(0, len(queries) - 1, min(num_queries, len(queries))).round().astype(int))
    figure = _RankingFigure(
        num_rows=len(selected), num_columns=min(NUM_COLUMNS, rows.shape[1]), cell_px=cell_px, read_image=read_image
    )
    for line, query in enumerate(selected):
        own_name = queries[query].name
        [matches] = truth.find_relevance(np.array([query])).matches
        matches = [row for row in matches if gallery[row].name != own_name]
        has_patent = bool(queries[query].patent)
        num_found = np.isin(rows[query, :NUM_COLUMNS], matches).sum()
        figure.draw_query(line, queries[query], f"{num_found} of {len(matches)} found" if has_patent else "")
        for column, row in enumerate(rows[query, :NUM_COLUMNS]):
            is_marked = has_patent and bool(gallery[row].patent) and gallery[row].name != own_name
            figure.draw_result(line, column, gallery[row], is_match=(row in matches) if is_marked else None)
    return figure.image


def format_file_name(name: str) -> str:
    """Return the caption of a drawing: its file without folder and suffix, and its page if the name has one."""
    file, page = split_page_address(name)
    stem = PurePosixPath(file).stem
    return stem if file == name else f"{stem} page {page + 1}"


class _RankingFigure:
    """Draws a grid of cells; a line separates the column of queries."""

    def __init__(
        self, *, num_rows: int, num_columns: int, cell_px: int, read_image: Callable[[str], NDArray[np.uint8]]
    ):
        self.cell_px, self.read_image = cell_px, read_image
        self.text_px, self.small_text_px = max(10, cell_px / 11), max(9, cell_px / 13)
        self.line_px = round(cell_px / 11 * 1.35)
        self.gap_px = max(6, cell_px // 12)
        self.frame_px = max(2, cell_px // 64)
        self.step_x = cell_px + self.gap_px
        self.step_y = cell_px + 3 * self.line_px + self.gap_px
        self.left, self.top = 2 * self.gap_px, self.gap_px + self.line_px + self.gap_px // 2
        self.results_left = self.left + self.step_x + 2 * self.gap_px
        width = self.results_left + num_columns * self.step_x + self.gap_px
        height = self.top + num_rows * self.step_y + self.gap_px
        self.image = Image.new("RGB", (width, height), _BACKGROUND)
        self.draw = ImageDraw.Draw(self.image)
        self._draw_text(self.left + cell_px // 2, self.gap_px, "query", size_px=self.text_px, fill=_MUTED_TEXT)
        for column in range(num_columns):
            middle = self.results_left + column * self.step_x + cell_px // 2
            self._draw_text(middle, self.gap_px, str(column + 1), size_px=self.text_px, fill=_MUTED_TEXT)
        border = self.results_left - 3 * self.gap_px // 2
        self.draw.line(
            [(border, self.top), (border, height - 2 * self.gap_px)], fill=_BORDER, width=max(1, self.frame_px // 2)
        )

    def draw_query(self, line: int, drawing: Drawing, note: str) -> None:
        y = self.top + line * self.step_y
        self._draw_drawing(self.left, y, drawing, _TEXT)
        self._draw_caption(self.left, y, drawing, color=_TEXT, note=note)

    def draw_result(self, line: int, column: int, drawing: Drawing, *, is_match: bool | None) -> None:
        """Draw a gallery drawing; is_match None: no mark."""
        x, y = self.results_left + column * self.step_x, self.top + line * self.step_y
        color = _BORDER if is_match is None else _CORRECT if is_match else _WRONG
        self._draw_drawing(x, y, drawing, color)
        if is_match is not None:
            self._draw_mark(x, y, is_match=is_match)
        self._draw_caption(x, y, drawing, color=_MUTED_TEXT if is_match is None else color)

    def _draw_caption(self, x: int, y: int, drawing: Drawing, *, color: str, note: str = "") -> None:
        """Draw one line each for the patent, the file name and a note, so that the note does not shorten the others."""
        middle, y = x + self.cell_px // 2, y + self.cell_px + self.gap_px // 3
        if drawing.patent:
            self._draw_text(middle, y, drawing.patent, size_px=self.text_px, fill=color)
            y += self.line_px
        self._draw_text(middle, y, format_file_name(drawing.name), size_px=self.small_text_px, fill=_MUTED_TEXT)
        self._draw_text(middle, y + self.line_px, note, size_px=self.small_text_px, fill=_MUTED_TEXT)

    def _draw_drawing(self, x: int, y: int, drawing: Drawing, color: str) -> None:
        image = Image.fromarray(self.read_image(drawing.path)).convert("RGB")
        scale = (self.cell_px - 4 * self.frame_px) / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
        if scale < 0.5:
            image = image.point([round(255 * (level / 255) ** _DARKENING_GAMMA) for level in range(256)] * 3)
        self.image.paste(image, (x + (self.cell_px - size[0]) // 2, y + (self.cell_px - size[1]) // 2))
        box = [x, y, x + self.cell_px - 1, y + self.cell_px - 1]
        self.draw.rounded_rectangle(box, radius=2 * self.frame_px, outline=color, width=self.frame_px)

    def _draw_mark(self, x: int, y: int, *, is_match: bool) -> None:
        """Draw a white tick or cross on a disc in the upper right corner of a cell."""
        side = self.cell_px // 6
        large_side = side * _SUPERSAMPLING
        disc = Image.new("L", (large_side, large_side), 0)
        ImageDraw.Draw(disc).ellipse([0, 0, large_side - 1, large_side - 1], fill=255)
        sign = Image.new("L", (large_side, large_side), 0)
        pen = ImageDraw.Draw(sign)
        strokes = [[(0.26, 0.54), (0.43, 0.70), (0.74, 0.33)]]
        if not is_match:
            strokes = [[(0.31, 0.31), (0.69, 0.69)], [(0.31, 0.69), (0.69, 0.31)]]
        for stroke in strokes:
            points = [(a * large_side, b * large_side) for a, b in stroke]
            pen.line(points, fill=255, width=large_side // 9, joint="curve")
        corner = (x + self.cell_px - side - 2 * self.frame_px, y + 2 * self.frame_px)
        for mask, color in ((disc, _CORRECT if is_match else _WRONG), (sign, _BACKGROUND)):
            small = mask.resize((side, side), Image.Resampling.LANCZOS)
            self.image.paste(Image.new("RGB", small.size, color), corner, small)

    def _draw_text(self, middle: int, y: int, text: str, *, size_px: float, fill: str) -> None:
        """Draw a text, shortened in the middle to fit into a cell, centered on one line."""
        font, shown = shorten_text(text, size_px=size_px, width_px=self.cell_px)
        self.draw.text((middle, y), shown, fill=fill, font=font, anchor="ma")
