"""A picture of queries and what was found for them: the quickest look at what a model does."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.evaluation.features import check_count
from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.structures import Drawing, Ranking
from fastreid.utils.errors import InputError

NUM_COLUMNS = 10
_BACKGROUND, _TEXT, _MUTED_TEXT, _BORDER = "white", "#1f2328", "#6e7781", "#d0d7de"
_CORRECT, _WRONG = "#1a7f37", "#cf222e"
_DARKENING_GAMMA = 1.6  # power of a grey level 0..1
_SUPERSAMPLING = 4  # marks are drawn this much larger and shrunk, for smooth edges


def plot_rankings(
    queries: Sequence[Drawing],
    gallery: Sequence[Drawing],
    ranking: Ranking,
    *,
    read: Callable[[str], np.ndarray],
    num_queries: int = 12,
    cell_px: int = 160,
) -> Image.Image:
    """Some queries, one a row: the drawing, then its first ten, nearest first, each with its patent and file name.

    Where patents are known a drawing of the query's patent has a green frame and a tick, another a red frame and a
    cross; beneath the query stands how many of its patent's drawings are among those shown. The query's own drawing
    is grey and unmarked, and so is everything where patents are unknown. The queries shown lie evenly over the list,
    the first and the last among them. Drawings that were shrunk are darkened, or their thin lines would fade.

    Args:
        queries: the query list.
        gallery: the database list.
        ranking: of all the queries; rows of the database.
        read: gives a drawing's pixels for its path, uint8 (H, W) or (H, W, 3).
        num_queries: rows of the sheet; fewer if there are fewer queries.
        cell_px: px, the square a drawing is fitted into, its shape kept.

    Raises:
        InputError: a ranking of other lists, num_queries below 1 or cell_px below 32.
    """
    check_count("num_queries", num_queries)
    check_count("cell_px", cell_px, minimum=32)
    rows = ranking.indices.cpu().numpy()
    if len(rows) != len(queries) or not rows.size or rows.min() < 0 or rows.max() >= len(gallery):
        raise InputError(
            f"a ranking {rows.shape} does not fit {len(queries)} queries and {len(gallery)} drawings; rank these lists"
        )
    truth = GroundTruth([drawing.patent for drawing in queries], [drawing.patent for drawing in gallery])
    shown = np.unique(np.linspace(0, len(queries) - 1, min(num_queries, len(queries))).round().astype(int))
    page = _RankingFigure(num_rows=len(shown), num_columns=min(NUM_COLUMNS, rows.shape[1]), cell_px=cell_px, read=read)
    for line, query in enumerate(shown):
        own_name = queries[query].name
        matches = [row for row in truth.of(query)[0] if gallery[row].name != own_name]
        known = bool(queries[query].patent)
        found = np.isin(rows[query, :NUM_COLUMNS], matches).sum()
        page.put_query(line, queries[query], f"{found} of {len(matches)} found" if known else "")
        for column, row in enumerate(rows[query, :NUM_COLUMNS]):
            marked = known and bool(gallery[row].patent) and gallery[row].name != own_name
            page.put_found(line, column, gallery[row], right=(row in matches) if marked else None)
    return page.image


class _RankingFigure:
    """The sheet while it is drawn: a grid of cells, the query's column set apart by a line."""

    def __init__(self, *, num_rows: int, num_columns: int, cell_px: int, read: Callable[[str], np.ndarray]):
        self.cell, self.read = cell_px, read
        self.font = ImageFont.load_default(size=max(10, cell_px / 11))
        self.small = ImageFont.load_default(size=max(9, cell_px / 13))
        self.line_px = round(self.cell / 11 * 1.35)
        self.gap = max(6, cell_px // 12)
        self.frame = max(2, cell_px // 64)
        self.step_x = cell_px + self.gap
        self.step_y = cell_px + 2 * self.line_px + self.gap
        self.left, self.top = 2 * self.gap, self.gap + self.line_px + self.gap // 2
        self.found_left = self.left + self.step_x + 2 * self.gap
        size = (self.found_left + num_columns * self.step_x + self.gap, self.top + num_rows * self.step_y + self.gap)
        self.image = Image.new("RGB", size, _BACKGROUND)
        self.draw = ImageDraw.Draw(self.image)
        self._text(self.left + cell_px // 2, self.gap, "query", self.font, _MUTED_TEXT)
        for column in range(num_columns):
            middle = self.found_left + column * self.step_x + cell_px // 2
            self._text(middle, self.gap, str(column + 1), self.font, _MUTED_TEXT)
        border = self.found_left - 3 * self.gap // 2
        self.draw.line(
            [(border, self.top), (border, size[1] - 2 * self.gap)], fill=_BORDER, width=max(1, self.frame // 2)
        )

    def put_query(self, line: int, drawing: Drawing, note: str) -> None:
        y = self.top + line * self.step_y
        self._picture(self.left, y, drawing, _TEXT)
        self._caption(self.left, y, ": ".join(part for part in (drawing.patent, note) if part), drawing, _TEXT)

    def put_found(self, line: int, column: int, drawing: Drawing, *, right: bool | None) -> None:
        x, y = self.found_left + column * self.step_x, self.top + line * self.step_y
        colour = _BORDER if right is None else _CORRECT if right else _WRONG
        self._picture(x, y, drawing, colour)
        if right is not None:
            self._mark(x, y, right=right)
        self._caption(x, y, drawing.patent, drawing, _MUTED_TEXT if right is None else colour)

    def _caption(self, x: int, y: int, text: str, drawing: Drawing, colour: str) -> None:
        middle, y = x + self.cell // 2, y + self.cell + self.gap // 3
        if text:
            self._text(middle, y, text, self.font, colour)
            y += self.line_px
        self._text(middle, y, PurePosixPath(drawing.name).stem, self.small, _MUTED_TEXT)

    def _picture(self, x: int, y: int, drawing: Drawing, colour: str) -> None:
        picture = Image.fromarray(self.read(drawing.path)).convert("RGB")
        room = self.cell - 4 * self.frame
        scale = room / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
        if scale < 0.5:
            picture = picture.point([round(255 * (level / 255) ** _DARKENING_GAMMA) for level in range(256)] * 3)
        self.image.paste(picture, (x + (self.cell - size[0]) // 2, y + (self.cell - size[1]) // 2))
        box = [x, y, x + self.cell - 1, y + self.cell - 1]
        self.draw.rounded_rectangle(box, radius=2 * self.frame, outline=colour, width=self.frame)

    def _mark(self, x: int, y: int, *, right: bool) -> None:
        """A white tick or cross in a disc at the upper right corner."""
        side = self.cell // 6
        fine = side * _SUPERSAMPLING
        disc = Image.new("L", (fine, fine), 0)
        ImageDraw.Draw(disc).ellipse([0, 0, fine - 1, fine - 1], fill=255)
        sign = Image.new("L", (fine, fine), 0)
        pen = ImageDraw.Draw(sign)
        strokes = [[(0.26, 0.54), (0.43, 0.70), (0.74, 0.33)]]
        if not right:
            strokes = [[(0.31, 0.31), (0.69, 0.69)], [(0.31, 0.69), (0.69, 0.31)]]
        for stroke in strokes:
            pen.line([(a * fine, b * fine) for a, b in stroke], fill=255, width=fine // 9, joint="curve")
        place = (x + self.cell - side - 2 * self.frame, y + 2 * self.frame)
        for mask, colour in ((disc, _CORRECT if right else _WRONG), (sign, _BACKGROUND)):
            small = mask.resize((side, side), Image.Resampling.LANCZOS)
            self.image.paste(Image.new("RGB", small.size, colour), place, small)

    def _text(
        self, middle: int, y: int, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, fill: str
    ) -> None:
        """One line, centred, shortened in the middle where it is wider than a cell."""
        shown, keep = text, len(text)
        while self.draw.textlength(shown, font=font) > self.cell and keep > 2:
            keep -= 1
            shown = f"{text[: (keep + 1) // 2]}..{text[len(text) - keep // 2 :]}"
        self.draw.text((middle, y), shown, fill=fill, font=font, anchor="ma")
