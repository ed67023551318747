"""A generated patent: an object, the views its figures show, and the hand that drew them."""

from dataclasses import dataclass

from PIL import Image

from fastreid.data.generated.families import build_object
from fastreid.data.generated.lines import visible_lines
from fastreid.data.generated.sheet import Style, draw_place, draw_sheet, draw_style, page_size
from fastreid.data.generated.solid import Solid, assemble
from fastreid.data.generated.views import MOST_DRAWINGS, View, plan_views
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

FEWEST_DRAWINGS = 3


@dataclass(frozen=True)
class Patent:
    """What all drawings of one generated patent come from; a pure function of seed and number.

    Args:
        seed: the seed of the whole collection.
        number: the patent's number in it.
        solid: the object.
        views: twelve views, in the order of the figures.
        style: what its sheets have in common.
    """

    seed: int
    number: int
    solid: Solid
    views: tuple[View, ...]
    style: Style

    def draw(self, index: int, *, size_px: int) -> Image.Image:
        """Drawing `index`, from 0, as a 1-bit sheet whose longest side is `size_px`."""
        page_size(size_px)
        if not 0 <= index < MOST_DRAWINGS:
            raise InputError(f"a generated patent has drawings 0 to {MOST_DRAWINGS - 1}, not {index}")
        depth_px = min(max(round(1.5 * size_px), 360), 1000)
        lines = visible_lines(self.solid, self.views[index], depth_px=depth_px)
        place = draw_place(keyed_generator(self.seed, "generated", self.number, "place", index))
        return draw_sheet(lines, index + 1, style=self.style, place=place, size_px=size_px)


def make_patent(seed: int, number: int) -> Patent:
    """The patent of that number."""
    return Patent(
        seed=seed,
        number=number,
        solid=assemble(build_object(keyed_generator(seed, "generated", number, "object"))),
        views=tuple(plan_views(keyed_generator(seed, "generated", number, "views"))),
        style=draw_style(keyed_generator(seed, "generated", number, "style")),
    )


def num_drawings(seed: int, number: int, *, fewest: int = FEWEST_DRAWINGS) -> int:
    """How many drawings a patent has: 3 to 12, mostly 6 to 8 as in DeepPatent, and at least `fewest`."""
    rng = keyed_generator(seed, "generated", number, "count")
    return max(fewest, FEWEST_DRAWINGS + int(rng.binomial(MOST_DRAWINGS - FEWEST_DRAWINGS, 0.45)))


def draw_patent(seed: int, number: int, *, size_px: int, fewest: int = FEWEST_DRAWINGS) -> list[Image.Image]:
    """All drawings of one patent: 1-bit upright sheets, the same for the same arguments in any process.

    Args:
        seed: fixes the whole collection.
        number: the patent's number; another number is another object.
        size_px: longest side of a sheet, 64 to 2000.
        fewest: the patent has at least so many drawings, 3 to 12.

    Raises:
        InputError: `size_px` or `fewest` is out of its range.
    """
    if not FEWEST_DRAWINGS <= fewest <= MOST_DRAWINGS:
        raise InputError(f"fewest is {FEWEST_DRAWINGS} to {MOST_DRAWINGS} drawings, not {fewest}")
    patent = make_patent(seed, number)
    return [patent.draw(index, size_px=size_px) for index in range(num_drawings(seed, number, fewest=fewest))]
