import numpy as np
import pytest
import torch

from fastreid.evaluation import plot_rankings
from fastreid.evaluation.reporting.ranking_plot import _CORRECT, _WRONG
from fastreid.structures import Drawing, Ranking
from fastreid.utils.errors import InputError


def drawings(patents, mark):
    return [Drawing(f"/{mark}{i}", f"{mark}{i}.png", patent) for i, patent in enumerate(patents)]


def colours(image):
    return {colour for _, colour in image.getcolors(1 << 24)}


def rgb(word):
    return tuple(bytes.fromhex(word[1:]))


def sheet(query_patents=("a", "b"), gallery_patents=("a", "c", "b"), *, read=None, **options):
    queries, gallery = drawings(query_patents, "q"), drawings(gallery_patents, "g")
    rows = torch.arange(len(gallery)).repeat(len(queries), 1)
    ranking = Ranking(rows, rows.float())
    return plot_rankings(
        queries, gallery, ranking, read=read or (lambda path: np.full((30, 20), 90, np.uint8)), **options
    )


def test_right_and_wrong_drawings_are_framed_green_and_red():
    assert {rgb(_CORRECT), rgb(_WRONG)} <= colours(sheet())
    assert rgb(_WRONG) not in colours(sheet(("a",), ("a", "a")))
    assert rgb(_CORRECT) not in colours(sheet(("a",), ("b", "c")))


def test_unknown_patents_are_not_marked():
    assert not {rgb(_CORRECT), rgb(_WRONG)} & colours(sheet(("", ""), ("", "a")))


def test_the_same_lists_give_the_same_picture():
    assert sheet().tobytes() == sheet().tobytes()


def test_the_page_is_white_and_a_drawing_keeps_its_shape():
    read = {"/q0": np.zeros((10, 40), np.uint8), "/g0": np.full((9, 9), 255, np.uint8)}.get
    image = np.asarray(sheet(("a",), ("b",), read=read, cell_px=160).convert("L"))
    assert image[0, 0] == image[-1, -1] == 255
    black = np.argwhere(image[30:180, 20:190] == 0)
    height, width = np.ptp(black, axis=0) + 1
    assert width == pytest.approx(4 * height, abs=4)


def test_queries_are_read_evenly_over_the_list_and_ten_columns_at_most():
    seen = []

    def read(path):
        seen.append(path)
        return np.zeros((8, 8, 3), np.uint8)

    sheet(["a"] * 101, ["a"] * 15, read=read, num_queries=3, cell_px=32)
    assert [path for path in seen if path.startswith("/q")] == ["/q0", "/q50", "/q100"]
    assert sum(path.startswith("/g") for path in seen) == 30


def test_a_long_patent_word_is_shortened_to_its_cell():
    assert sheet(("a" * 300,), ("b" * 300,)).size == sheet(("a",), ("b",)).size


@pytest.mark.parametrize("options", [{"num_queries": 0}, {"cell_px": 10}])
def test_a_sheet_without_rows_or_room_is_refused(options):
    with pytest.raises(InputError, match="integer of at least"):
        sheet(**options)


def test_a_ranking_of_other_lists_is_refused():
    ranking = Ranking(torch.tensor([[5]]), torch.zeros(1, 1))
    with pytest.raises(InputError, match="does not fit 1 queries and 2 drawings"):
        plot_rankings(drawings("a", "q"), drawings("ab", "g"), ranking, read=lambda path: np.zeros((4, 4), np.uint8))
