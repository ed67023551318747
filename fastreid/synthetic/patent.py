"""Synthetic patents: an object, its figures and its drawing style."""

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

VARIETY = ("siblings", "families", "styles", "shading", "marks", "states")  # sources of variety that can be excluded
SIBLING_SHARE = 0.3  # probability that an odd patent differs from the even one before it in a single part


@dataclass(frozen=True)
class Patent:
    """A synthetic patent, determined by its seed and number; create it with `make_patent`.

    Args:
        seed: seed of the collection.
        number: number of the patent in the collection.
        parts: parts of the object.
        unclaimed: names of the components in broken lines.
        figures: all figures, in the order of their labels.
        drawings: indices of the figures on each drawing, from D00000 on.
        style: style of its sheets.
        shading: shading style of its surfaces.
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
        """Render one drawing.

        Args:
            index: index of the drawing, 0 to 15.
            size_px: longest side, 64 to 2000.
            gray: return mode "L", like a downscaled finer scan, instead of mode "1".

        Raises:
            InputError: `index` or `size_px` is out of range.
        """
        check_size(size_px)
        if not 0 <= index < MAX_DRAWINGS:
            raise InputError(f"a synthetic patent has drawings 0 to {MAX_DRAWINGS - 1}, not {index}")
        depth_px = min(max(round(1.5 * size_px), 360), 1000)
        figures = [
            self._render_figure(number, has_label=index > 0, depth_px=depth_px) for number in self.drawings[index]
        ]
        rng = PartRng(self.seed, "generated", self.number, "place", index)
        return render_sheet(figures, self.style, rng, size_px=size_px, gray=gray)

    def get_solid(self, state: str) -> Solid:
        """Return the object in one of `states.STATES`; it is built once."""
        if state not in self._solids:
            rng = PartRng(self.seed, "generated", self.number, "surroundings")
            self._solids[state] = build_solid(state, self.parts, unclaimed=self.unclaimed, rng=rng)
        return self._solids[state]

    def _render_figure(self, number: int, *, has_label: bool, depth_px: int) -> SheetFigure:
        figure = self.figures[number]
        solid = self.get_solid(figure.state)
        depth_view = render_depth_view(solid, figure.view, depth_px=depth_px)
        lines = extract_visible_lines(solid, depth_view)
        shading = compute_shading_lines(solid, depth_view, self.shading, outlines=lines.segments)
        lines = Lines(
            np.concatenate([lines.segments, shading]),
            np.concatenate([lines.edges, np.full(len(shading), -1)]),
            np.concatenate([lines.line_types, np.full(len(shading), FINE)]),
        )
        label = number + 1 if has_label else 0
        if figure.detail is not None:
            return SheetFigure(enlarge_detail(lines, figure.detail), label)
        tone = compute_tone(depth_view, self.shading)
        corner = depth_view.low - MARGIN_PX / depth_view.scale
        box = np.stack([corner, corner + np.array(depth_view.depth.shape[::-1]) / depth_view.scale])
        return SheetFigure(lines, label, self._scale if figure.state == "closed" else 0.0, tone, box)

    @property
    def _scale(self) -> float:
        """Page widths per half diagonal with which the first figures fit; 0: each figure has its own scale."""
        if not self.style.has_common_scale:
            return 0.0
        views = [figure.view for figure in self.figures[:7] if figure.state == "closed"]
        sizes = [np.ptp(view.project(self.get_solid("closed").points)[:, :2], axis=0) for view in views]
        return float((available_size(self.style) / np.max(sizes, axis=0)).min())


def make_patent(seed: int, number: int, *, disjoint: bool = True, exclude: Collection[str] = ()) -> Patent:
    """Make the patent with the given number.

    Args:
        seed: seed of the collection.
        number: number of the patent; numbers from 500,000 on are test patents.
        disjoint: take test patents from other families than training patents.
        exclude: sources of VARIETY to exclude from training patents. Test patents keep all of them, so that scores are
            comparable.
    """
    exclude = () if number >= FIRST_TEST_PATENT else exclude
    base = number if "siblings" in exclude else number - _sibling_offset(seed, number)
    family = sample_family(seed, base, disjoint=disjoint, few_families="families" in exclude)
    parts = build_object(family, seed, base)
    if base != number:
        parts = build_object(family, seed, base, sibling_number=number)
    if "marks" not in exclude:
        parts = add_marks(parts, PartRng(seed, "generated", base, "marks"))
    view_rng = PartRng(seed, "generated", base, "views")
    style_rng = PartRng(seed, "generated", 0 if "styles" in exclude else base, "style")
    shading = sample_shading(PartRng(seed, "generated", base, "shading"))
    return Patent(
        seed=seed,
        number=number,
        parts=tuple(parts),
        unclaimed=_sample_unclaimed(PartRng(seed, "generated", base, "unclaimed"), parts),
        figures=tuple(plan_figures(view_rng, parts, closed_only="states" in exclude)),
        drawings=tuple(plan_drawings(PartRng(seed, "generated", number, "drawings"))),
        style=sample_style(style_rng),
        shading=disable_shading(shading) if "shading" in exclude else shading,
    )


def _sibling_offset(seed: int, number: int) -> int:
    """Return 1 if the patent is a sibling of the one before it, else 0."""
    return number % 2 if keyed_generator(seed, "generated", number, "sibling").random() < SIBLING_SHARE else 0


def _sample_unclaimed(rng: PartRng, parts: list[Mesh]) -> tuple[str, ...]:
    """Sample the unclaimed components: each with probability 0.5 in 40 % of the patents, never the body."""
    names = [name for name in group_by_component(parts) if name != "body"]
    if rng.random() > 0.4:
        return ()
    return tuple(name for name in names if rng.random() < 0.5)


def num_drawings(seed: int, number: int, *, min_drawings: int = MIN_DRAWINGS) -> int:
    """Return the number of drawings of a patent, 2 to 16, distributed as in DeepPatent but not below `min_drawings`.

    Args:
        seed: seed of the collection.
        number: number of the patent in the collection.
        min_drawings: minimum number of drawings, 2 to 16.
    """
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
    """Render all drawings of one patent, mode "1", cropped to their ink.

    Equal arguments give equal drawings in any process.

    Args:
        seed: seed of the collection.
        number: number of the patent in the collection.
        size_px: longest side of a drawing, 64 to 2000.
        min_drawings: minimum number of drawings, 2 to 16.
        disjoint: take test patents from other families than training patents.
        exclude: sources of VARIETY to exclude from training patents.

    Raises:
        InputError: `size_px` or `min_drawings` is out of range.
    """
    if not MIN_DRAWINGS <= min_drawings <= MAX_DRAWINGS:
        raise InputError(f"min_drawings must be from {MIN_DRAWINGS} to {MAX_DRAWINGS}, not {min_drawings}")
    patent = make_patent(seed, number, disjoint=disjoint, exclude=exclude)
    return [
        patent.render(index, size_px=size_px) for index in range(num_drawings(seed, number, min_drawings=min_drawings))
    ]
