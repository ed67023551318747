import functools

import numpy as np
import pytest
import torch

from fastreid.evaluation import plot_rankings
from fastreid.evaluation.reporting import ranking_plot
from fastreid.evaluation.reporting.ranking_plot import _CORRECT, _WRONG, format_file_name
from fastreid.structures import Drawing, Ranking
from fastreid.utils.errors import InputError
from fastreid.utils.fonts import shorten_text


def drawings(patents, mark):
    return [Drawing(f"/{mark}{i}", f"{mark}{i}.png", patent) for i, patent in enumerate(patents)]


def colors(image):
    return {color for _, color in image.getcolors(1 << 24)}


def rgb(color):
    return tuple(bytes.fromhex(color[1:]))


def plot(query_patents=("a", "b"), gallery_patents=("a", "c", "b"), *, read_image=None, **options):
    queries, gallery = drawings(query_patents, "q"), drawings(gallery_patents, "g")
    rows = torch.arange(len(gallery)).repeat(len(queries), 1)
    ranking = Ranking(rows, rows.float())
    return plot_rankings(
        queries, gallery, ranking, read_image=read_image or (lambda path: np.full((30, 20), 90, np.uint8)), **options
    )


def test_matches_have_green_and_others_red_frames():
    assert {rgb(_CORRECT), rgb(_WRONG)} <= colors(plot())
    assert rgb(_WRONG) not in colors(plot(("a",), ("a", "a")))
    assert rgb(_CORRECT) not in colors(plot(("a",), ("b", "c")))


def test_unknown_patents_have_no_mark():
    assert not {rgb(_CORRECT), rgb(_WRONG)} & colors(plot(("", ""), ("", "a")))


def test_figure_is_deterministic():
    assert plot().tobytes() == plot().tobytes()


def test_background_is_white_and_aspect_ratio_is_kept():
    read_image = {"/q0": np.zeros((10, 40), np.uint8), "/g0": np.full((9, 9), 255, np.uint8)}.get
    image = np.asarray(plot(("a",), ("b",), read_image=read_image, cell_px=160).convert("L"))
    assert image[0, 0] == image[-1, -1] == 255
    black = np.argwhere(image[30:180, 20:190] == 0)
    height, width = np.ptp(black, axis=0) + 1
    assert width == pytest.approx(4 * height, abs=4)


def test_queries_are_evenly_spaced_with_ten_results_each():
    paths = []

    def read_image(path):
        paths.append(path)
        return np.zeros((8, 8, 3), np.uint8)

    plot(["a"] * 101, ["a"] * 15, read_image=read_image, num_queries=3, cell_px=32)
    assert [path for path in paths if path.startswith("/q")] == ["/q0", "/q50", "/q100"]
    assert sum(path.startswith("/g") for path in paths) == 30


def test_long_patent_ids_are_shortened():
    assert plot(("a" * 300,), ("b" * 300,)).size == plot(("a",), ("b",)).size


@pytest.mark.parametrize("options", [{"num_queries": 0}, {"cell_px": 10}])
def test_too_few_queries_or_pixels_raise(options):
    with pytest.raises(InputError, match="integer of at least"):
        plot(**options)


def test_ranking_of_other_lists_raises():
    ranking = Ranking(torch.tensor([[5]]), torch.zeros(1, 1))
    with pytest.raises(InputError, match="does not match 1 queries and 2 gallery drawings"):
        plot_rankings(
            drawings("a", "q"), drawings("ab", "g"), ranking, read_image=lambda path: np.zeros((4, 4), np.uint8)
        )


@pytest.mark.parametrize("name", ["q", "特許" * 60, "Патент" * 20, "a" * 120])
def test_captions_stay_inside_their_cells(name):
    cell_px = 160
    white = functools.partial(plot, read_image=lambda path: np.full((8, 8), 255, np.uint8), cell_px=cell_px)
    image = np.asarray(white((name,), (name, "b" * 99)).convert("L"))
    left = 2 * (cell_px // 12)  # of the column of queries
    step = cell_px + cell_px // 12
    gaps = [image[:, : left - 1], image[:, left + cell_px + 1 : left + step - 1]]
    assert all((gap == 255).all() for gap in gaps)


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("a/all.tif#page=1", "all page 1"),
        ("a/all.pdf#page=12", "all page 12"),
        ("a/all.tif", "all"),
        ("b.c.png", "b.c"),
    ],
)
def test_pages_are_captioned(name, caption):
    assert format_file_name(name) == caption


def test_patent_id_is_not_shortened_by_the_note(monkeypatch):
    shown = []

    def record(text, **options):
        shown.append(shorten_text(text, **options)[1])
        return shorten_text(text, **options)

    monkeypatch.setattr(ranking_plot, "shorten_text", record)
    plot(("USDxlocal-unk013",), ("USDxlocal-unk013", "b"))
    assert {"USDxlocal-unk013", "q0", "1 of 1 found"} <= set(shown)
