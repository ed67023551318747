import functools

import pytest

from fastreid.config import get_cfg
from fastreid.config.ranges import RULES
from fastreid.data.datasets.generated_stream import GeneratedStream
from fastreid.data.io.reader import DrawingReader
from fastreid.engine.data import build_datasets
from fastreid.synthetic import VARIETY, Collection, StreamRenderer, list_drawings, make_patent, png_bytes, render_patent
from fastreid.synthetic.families.registry import FEW_FAMILIES, FIRST_TEST_PATENT, sample_family
from fastreid.utils.errors import InputError

NUMBERS = range(12)


@functools.cache
def make_patents(*exclude, first=0):
    """Return patents, which a test must not change."""
    return [make_patent(0, first + number, exclude=exclude) for number in NUMBERS]


def vertex_bytes(patent):
    return [part.vertices.tobytes() for part in patent.parts]


def describe_by_source(patent):
    """Return for each source of variety what only that source may change."""
    return {
        "families": vertex_bytes(patent),
        "styles": patent.style,
        "shading": patent.shading.kind,
        "marks": [part.marks.tobytes() for part in patent.parts],
        "states": [(figure.state, figure.detail) for figure in patent.figures],
    }


@pytest.mark.parametrize("source", ["styles", "shading", "marks", "states"])
def test_each_source_changes_only_itself(source):
    plain, reduced = ([describe_by_source(patent) for patent in make_patents(*exclude)] for exclude in ((), (source,)))
    changed = {key for one, other in zip(plain, reduced) for key in one if one[key] != other[key]}
    assert changed == {source}


def test_excluding_siblings_removes_shared_styles():
    shared, unshared = (
        [odd.style == even.style for even, odd in zip(patents[::2], patents[1::2])]
        for patents in (make_patents(), make_patents("siblings"))
    )
    assert any(shared)
    assert not any(unshared)


def test_excluding_families_leaves_few_families():
    assert {sample_family(0, number, disjoint=True, few_families=True) for number in range(40)} == set(FEW_FAMILIES)
    assert [vertex_bytes(one) for one in make_patents("families")] != [vertex_bytes(one) for one in make_patents()]


def test_excluding_styles_leaves_one_style():
    assert len({repr(patent.style) for patent in make_patents("styles")}) == 1


def test_excluding_shading_disables_it():
    assert {patent.shading.kind for patent in make_patents("shading")} == {"none"}


def test_excluding_marks_removes_them():
    assert any(len(part.marks) for patent in make_patents() for part in patent.parts)
    assert not any(len(part.marks) for patent in make_patents("marks") for part in patent.parts)


def test_excluding_states_leaves_whole_closed_objects():
    figures = [figure for patent in make_patents("states") for figure in patent.figures]
    assert {(figure.state, figure.detail) for figure in figures} == {("closed", None)}


def test_test_patents_keep_all_variety():
    plain, reduced = (
        map(describe_by_source, make_patents(*exclude, first=FIRST_TEST_PATENT)) for exclude in ((), VARIETY)
    )
    assert list(plain) == list(reduced)


def test_empty_exclude_is_the_default():
    plain, named, reduced = (
        render_patent(0, 7, size_px=96, **options) for options in ({}, {"exclude": ()}, {"exclude": VARIETY})
    )
    assert list(map(png_bytes, plain)) == list(map(png_bytes, named))
    assert list(map(png_bytes, plain)) != list(map(png_bytes, reduced))


def test_streamed_page_respects_exclude():
    collection = Collection(0, 8, 1, size_px=96, exclude=("shading", "styles"))
    drawing = GeneratedStream(lambda: list_drawings(collection)).train()[-1]
    page = DrawingReader(None, render=StreamRenderer())(drawing)
    patent = make_patent(0, 7, exclude=("shading", "styles"))
    index = int(drawing.name[-9:-4])
    assert (page == patent.render(index, size_px=96, gray=True)).all()


@pytest.mark.parametrize(
    ("exclude", "message"),
    [(("views",), "'views' is unknown"), (("states", "shading"), "sorted"), (("states",) * 2, "without duplicates")],
)
def test_invalid_exclude(exclude, message):
    with pytest.raises(InputError, match=message):
        Collection(0, 1, 1, size_px=64, exclude=exclude)


def test_config_accepts_sources_in_any_order(tmp_path):
    assert RULES["DATASETS.GENERATED.EXCLUDE"].choices == VARIETY
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.NAMES", "GeneratedStream", "DATASETS.TESTS", "Generated",
                         "DATASETS.ROOT", str(tmp_path), "DATASETS.GENERATED.NUM_TRAIN_PATENTS", 1,
                         "DATASETS.GENERATED.NUM_TEST_PATENTS", 1, "DATASETS.GENERATED.SIZE_PX", 64,
                         "DATALOADER.NUM_WORKERS", 0, "DATASETS.GENERATED.EXCLUDE", ["styles", "shading"]])  # fmt: skip
    train, _ = build_datasets(cfg)
    assert train[0].path.endswith("shading+styles")


def test_missing_test_set_fails_before_rendering(tmp_path):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.NAMES", "Generated", "DATASETS.TESTS", "Patent", "DATASETS.ROOT", str(tmp_path)])
    with pytest.raises(InputError, match="cannot read the list"):
        build_datasets(cfg)
    assert not list(tmp_path.iterdir())
