"""A generated patent: an object, the figures that show it, and the hand that drew them."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from fastreid.synthetic.families.registry import FIRST_TEST_PATENT, build_object, family_of
from fastreid.synthetic.families.states import pieces_of, solid_in
from fastreid.synthetic.figures import (
    FEWEST_DRAWINGS,
    MOST_DRAWINGS,
    Figure,
    draw_count,
    enlarged,
    plan_drawings,
    plan_figures,
)
from fastreid.synthetic.geometry.mesh import Mesh
from fastreid.synthetic.geometry.solid import Solid
from fastreid.synthetic.part_rng import Draws
from fastreid.synthetic.rendering.hidden_lines import FINE, MARGIN_PX, Lines, lines_in_sight, look
from fastreid.synthetic.rendering.shading import Shading, draw_shading, shading_lines, tone_of, unshaded
from fastreid.synthetic.rendering.sheet import Shown, Style, check_size, draw_sheet, draw_style, room_of
from fastreid.synthetic.surface.marks import marked
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

VARIETY = ("siblings", "families", "styles", "shading", "marks", "states")  # what training patents can do without
SIBLINGS = 0.3  # share of odd patents that differ from the even one before them in a single part


@dataclass(frozen=True)
class Patent:
    """What all drawings of one generated patent come from; a pure function of seed and number.

    Args:
        seed: the seed of the whole collection.
        number: the patent's number in it.
        parts: the object.
        unclaimed: its pieces in broken lines.
        figures: all it could show, in the order of their numbers.
        drawings: the figures on each drawing, from D00000 on.
        style: what its sheets have in common.
        shading: how its surfaces are shaded.
    """

    seed: int
    number: int
    parts: tuple[Mesh, ...]
    unclaimed: tuple[str, ...]
    figures: tuple[Figure, ...]
    drawings: tuple[tuple[int, ...], ...]
    style: Style
    shading: Shading
    _solids: dict[str, Solid] = field(default_factory=dict, compare=False, repr=False)

    def draw(self, index: int, *, size_px: int, grey: bool = False) -> Image.Image:
        """Drawing `index`, from 0, its longest side `size_px`; 1-bit, or `grey` as a finer scan reduced to that size."""
        check_size(size_px)
        if not 0 <= index < MOST_DRAWINGS:
            raise InputError(f"a generated patent has drawings 0 to {MOST_DRAWINGS - 1}, not {index}")
        depth_px = min(max(round(1.5 * size_px), 360), 1000)
        shown = [self._shown(number, labelled=index > 0, depth_px=depth_px) for number in self.drawings[index]]
        rng = Draws(self.seed, "generated", self.number, "place", index)
        return draw_sheet(shown, self.style, rng, size_px=size_px, grey=grey)

    def solid(self, state: str) -> Solid:
        """The object in one of `states.STATES`; made once."""
        if state not in self._solids:
            rng = Draws(self.seed, "generated", self.number, "surroundings")
            self._solids[state] = solid_in(state, self.parts, unclaimed=self.unclaimed, rng=rng)
        return self._solids[state]

    def _shown(self, number: int, *, labelled: bool, depth_px: int) -> Shown:
        figure = self.figures[number]
        solid = self.solid(figure.state)
        sight = look(solid, figure.view, depth_px=depth_px)
        lines = lines_in_sight(solid, sight)
        fine = shading_lines(solid, sight, self.shading, outlines=lines.segments)
        lines = Lines(
            np.concatenate([lines.segments, fine]),
            np.concatenate([lines.edges, np.full(len(fine), -1)]),
            np.concatenate([lines.pens, np.full(len(fine), FINE)]),
        )
        label = number + 1 if labelled else 0
        if figure.detail is not None:
            return Shown(enlarged(lines, figure.detail), label)
        tone = tone_of(sight, self.shading)
        corner = sight.low - MARGIN_PX / sight.scale
        box = np.stack([corner, corner + np.array(sight.depth.shape[::-1]) / sight.scale])
        return Shown(lines, label, self._scale if figure.state == "closed" else 0.0, tone, box)

    @property
    def _scale(self) -> float:
        """Widths of the page to a half diagonal, so that the largest of the usual figures fits; 0: each as it fits."""
        if not self.style.one_scale:
            return 0.0
        views = [figure.view for figure in self.figures[:7] if figure.state == "closed"]
        sizes = [np.ptp(view.project(self.solid("closed").points)[:, :2], axis=0) for view in views]
        return float((room_of(self.style) / np.max(sizes, axis=0)).min())


def make_patent(seed: int, number: int, *, disjoint: bool = True, without: Collection[str] = ()) -> Patent:
    """The patent of that number.

    Args:
        seed: fixes the whole collection.
        number: from 500,000 on a patent to test on.
        disjoint: patents to test on are of other families than those to train on.
        without: words of VARIETY that training patents do without; patents to test on keep all of it, so that scores
            can be compared.
    """
    without = () if number >= FIRST_TEST_PATENT else without
    model = number if "siblings" in without else number - _is_sibling(seed, number)
    family = family_of(seed, model, disjoint=disjoint, few="families" in without)
    parts = build_object(family, seed, model)
    if model != number:
        parts = build_object(family, seed, model, sibling=number)
    if "marks" not in without:
        parts = marked(parts, Draws(seed, "generated", model, "marks"))
    hand = Draws(seed, "generated", model, "views")
    style = Draws(seed, "generated", 0 if "styles" in without else model, "style")
    shading = draw_shading(Draws(seed, "generated", model, "shading"))
    return Patent(
        seed=seed,
        number=number,
        parts=tuple(parts),
        unclaimed=_draw_unclaimed(Draws(seed, "generated", model, "unclaimed"), parts),
        figures=tuple(plan_figures(hand, parts, closed_only="states" in without)),
        drawings=tuple(plan_drawings(Draws(seed, "generated", number, "drawings"))),
        style=draw_style(style),
        shading=unshaded(shading) if "shading" in without else shading,
    )


def _is_sibling(seed: int, number: int) -> int:
    return number % 2 if keyed_generator(seed, "generated", number, "sibling").random() < SIBLINGS else 0


def _draw_unclaimed(rng: Draws, parts: list[Mesh]) -> tuple[str, ...]:
    """Pieces that are not claimed: of two patents in five some, never the body."""
    names = [name for name in pieces_of(parts) if name != "body"]
    if rng.random() > 0.4:
        return ()
    return tuple(name for name in names if rng.random() < 0.5)


def num_drawings(seed: int, number: int, *, fewest: int = FEWEST_DRAWINGS) -> int:
    """How many drawings a patent has: 2 to 16, as often as in DeepPatent, and at least `fewest`."""
    return draw_count(keyed_generator(seed, "generated", number, "count"), fewest=fewest)


def draw_patent(
    seed: int,
    number: int,
    *,
    size_px: int,
    fewest: int = FEWEST_DRAWINGS,
    disjoint: bool = True,
    without: Collection[str] = (),
) -> list[Image.Image]:
    """All drawings of one patent: 1-bit, cut to their ink, the same for the same arguments in any process.

    Args:
        seed: fixes the whole collection.
        number: the patent's number; another number is another object.
        size_px: longest side of a drawing, 64 to 2000.
        fewest: the patent has at least so many drawings, 2 to 16.
        disjoint: patents to test on are of other families than those to train on.
        without: words of VARIETY that training patents do without.

    Raises:
        InputError: `size_px` or `fewest` is out of its range.
    """
    if not FEWEST_DRAWINGS <= fewest <= MOST_DRAWINGS:
        raise InputError(f"fewest is {FEWEST_DRAWINGS} to {MOST_DRAWINGS} drawings, not {fewest}")
    patent = make_patent(seed, number, disjoint=disjoint, without=without)
    return [patent.draw(index, size_px=size_px) for index in range(num_drawings(seed, number, fewest=fewest))]
