"""A generated patent: an object, the figures that show it, and the hand that drew them."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from fastreid.synthetic.families.registry import FIRST_TEST_PATENT, build_object, sample_family
from fastreid.synthetic.figures import (
    MAX_DRAWINGS,
    MIN_DRAWINGS,
    Figure,
    enlarge_detail,
    plan_drawings,
    plan_figures,
    sample_num_drawings,
)
from fastreid.synthetic.geometry.mesh import Mesh
from fastreid.synthetic.geometry.solid import Solid
from fastreid.synthetic.rendering.hidden_lines import FINE, MARGIN_PX, Lines, extract_visible_lines, render_depth_view
from fastreid.synthetic.rendering.shading import (
    Shading,
    compute_shading_lines,
    compute_tone,
    disable_shading,
    sample_shading,
)
from fastreid.synthetic.rendering.sheet import (
    SheetFigure,
    Style,
    available_size,
    check_size,
    render_sheet,
    sample_style,
)
from fastreid.synthetic.sampling import PartRng
from fastreid.synthetic.states import build_solid, group_by_component
from fastreid.synthetic.surface.marks import add_marks
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

VARIETY = ("siblings", "families", "styles", "shading", "marks", "states")  # what training patents can do without
SIBLING_SHARE = 0.3  # share of odd patents that differ from the even one before them in a single part


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

    def render(self, index: int, *, size_px: int, gray: bool = False) -> Image.Image:
        """Drawing `index`, from 0, its longest side `size_px`; 1-bit, or `gray` as a finer scan reduced to that size."""
        check_size(size_px)
        if not 0 <= index < MAX_DRAWINGS:
            raise InputError(f"a generated patent has drawings 0 to {MAX_DRAWINGS - 1}, not {index}")
        depth_px = min(max(round(1.5 * size_px), 360), 1000)
        shown = [self._render_figure(number, labelled=index > 0, depth_px=depth_px) for number in self.drawings[index]]
        rng = PartRng(self.seed, "generated", self.number, "place", index)
        return render_sheet(shown, self.style, rng, size_px=size_px, gray=gray)

    def build_solid(self, state: str) -> Solid:
        """The object in one of `states.STATES`; made once."""
        if state not in self._solids:
            rng = PartRng(self.seed, "generated", self.number, "surroundings")
            self._solids[state] = build_solid(state, self.parts, unclaimed=self.unclaimed, rng=rng)
        return self._solids[state]

    def _render_figure(self, number: int, *, labelled: bool, depth_px: int) -> SheetFigure:
        figure = self.figures[number]
        solid = self.build_solid(figure.state)
        sight = render_depth_view(solid, figure.view, depth_px=depth_px)
        lines = extract_visible_lines(solid, sight)
        fine = compute_shading_lines(solid, sight, self.shading, outlines=lines.segments)
        lines = Lines(
            np.concatenate([lines.segments, fine]),
            np.concatenate([lines.edges, np.full(len(fine), -1)]),
            np.concatenate([lines.line_types, np.full(len(fine), FINE)]),
        )
        label = number + 1 if labelled else 0
        if figure.detail is not None:
            return SheetFigure(enlarge_detail(lines, figure.detail), label)
        tone = compute_tone(sight, self.shading)
        corner = sight.low - MARGIN_PX / sight.scale
        box = np.stack([corner, corner + np.array(sight.depth.shape[::-1]) / sight.scale])
        return SheetFigure(lines, label, self._scale if figure.state == "closed" else 0.0, tone, box)

    @property
    def _scale(self) -> float:
        """Widths of the page to a half diagonal, so that the largest of the usual figures fits; 0: each as it fits."""
        if not self.style.has_common_scale:
            return 0.0
        views = [figure.view for figure in self.figures[:7] if figure.state == "closed"]
        sizes = [np.ptp(view.project(self.build_solid("closed").points)[:, :2], axis=0) for view in views]
        return float((available_size(self.style) / np.max(sizes, axis=0)).min())


def make_patent(seed: int, number: int, *, disjoint: bool = True, exclude: Collection[str] = ()) -> Patent:
    """The patent of that number.

    Args:
        seed: fixes the whole collection.
        number: from 500,000 on a patent to test on.
        disjoint: patents to test on are of other families than those to train on.
        exclude: words of VARIETY that training patents do without; patents to test on keep all of it, so that scores
            can be compared.
    """
    exclude = () if number >= FIRST_TEST_PATENT else exclude
    model = number if "siblings" in exclude else number - _sibling_offset(seed, number)
    family = sample_family(seed, model, disjoint=disjoint, few_families="families" in exclude)
    parts = build_object(family, seed, model)
    if model != number:
        parts = build_object(family, seed, model, sibling=number)
    if "marks" not in exclude:
        parts = add_marks(parts, PartRng(seed, "generated", model, "marks"))
    hand = PartRng(seed, "generated", model, "views")
    style = PartRng(seed, "generated", 0 if "styles" in exclude else model, "style")
    shading = sample_shading(PartRng(seed, "generated", model, "shading"))
    return Patent(
        seed=seed,
        number=number,
        parts=tuple(parts),
        unclaimed=_sample_unclaimed(PartRng(seed, "generated", model, "unclaimed"), parts),
        figures=tuple(plan_figures(hand, parts, closed_only="states" in exclude)),
        drawings=tuple(plan_drawings(PartRng(seed, "generated", number, "drawings"))),
        style=sample_style(style),
        shading=disable_shading(shading) if "shading" in exclude else shading,
    )


def _sibling_offset(seed: int, number: int) -> int:
    return number % 2 if keyed_generator(seed, "generated", number, "sibling").random() < SIBLING_SHARE else 0


def _sample_unclaimed(rng: PartRng, parts: list[Mesh]) -> tuple[str, ...]:
    """Pieces that are not claimed: of two patents in five some, never the body."""
    names = [name for name in group_by_component(parts) if name != "body"]
    if rng.random() > 0.4:
        return ()
    return tuple(name for name in names if rng.random() < 0.5)


def num_drawings(seed: int, number: int, *, min_drawings: int = MIN_DRAWINGS) -> int:
    """How many drawings a patent has: 2 to 16, as often as in DeepPatent, and at least `min_drawings`."""
    return sample_num_drawings(keyed_generator(seed, "generated", number, "count"), min_drawings=min_drawings)


def render_patent(
    seed: int,
    number: int,
    *,
    size_px: int,
    min_drawings: int = MIN_DRAWINGS,
    disjoint: bool = True,
    exclude: Collection[str] = (),
) -> list[Image.Image]:
    """All drawings of one patent: 1-bit, cut to their ink, the same for the same arguments in any process.

    Args:
        seed: fixes the whole collection.
        number: the patent's number; another number is another object.
        size_px: longest side of a drawing, 64 to 2000.
        min_drawings: the patent has at least so many drawings, 2 to 16.
        disjoint: patents to test on are of other families than those to train on.
        exclude: words of VARIETY that training patents do without.

    Raises:
        InputError: `size_px` or `min_drawings` is out of its range.
    """
    if not MIN_DRAWINGS <= min_drawings <= MAX_DRAWINGS:
        raise InputError(f"fewest is {MIN_DRAWINGS} to {MAX_DRAWINGS} drawings, not {min_drawings}")
    patent = make_patent(seed, number, disjoint=disjoint, exclude=exclude)
    return [
        patent.render(index, size_px=size_px) for index in range(num_drawings(seed, number, min_drawings=min_drawings))
    ]
