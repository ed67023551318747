"""Training patents without one source of variety: each word takes out what it says, and nothing else."""

import pytest

from fastreid.config import get_cfg
from fastreid.config.ranges import RULES
from fastreid.data.datasets.generated_stream import DrawingReader, GeneratedStream
from fastreid.engine.data import build_datasets
from fastreid.synthetic import VARIETY, Collection, make_patent, png_bytes, render_patent
from fastreid.synthetic.families.registry import FEW_FAMILIES, FIRST_TEST_PATENT, sample_family
from fastreid.utils.errors import InputError

NUMBERS = range(40)


def made(*without, first=0):
    return [make_patent(0, first + number, exclude=without) for number in NUMBERS]


def shape_of(patent):
    return [part.vertices.tobytes() for part in patent.parts]


def rest_of(patent):
    """What no word but its own may change."""
    return {
        "families": shape_of(patent),
        "styles": patent.style,
        "shading": patent.shading.kind,
        "marks": [part.marks.tobytes() for part in patent.parts],
        "states": [(figure.state, figure.detail) for figure in patent.figures],
    }


@pytest.mark.parametrize("word", ["styles", "shading", "marks", "states"])
def test_a_word_changes_nothing_but_what_it_names(word):
    plain, less = ([rest_of(patent) for patent in made(*words)] for words in ((), (word,)))
    changed = {key for one, other in zip(plain, less) for key in one if one[key] != other[key]}
    assert changed == {word}


def test_without_siblings_no_patent_shares_the_hand_of_the_one_before():
    siblings = [[two.style == one.style for one, two in zip(m[::2], m[1::2])] for m in (made(), made("siblings"))]
    assert any(siblings[0])
    assert not any(siblings[1])


def test_without_families_training_patents_are_of_a_few_kinds():
    assert {sample_family(0, number, disjoint=True, few_families=True) for number in NUMBERS} == set(FEW_FAMILIES)
    assert [shape_of(one) for one in made("families")] != [shape_of(one) for one in made()]


def test_without_styles_all_are_drawn_in_one_hand():
    assert len({repr(patent.style) for patent in made("styles")}) == 1


def test_without_shading_no_surface_is_shaded():
    assert {patent.shading.kind for patent in made("shading")} == {"none"}


def test_without_marks_nothing_lies_on_surfaces():
    assert any(len(part.marks) for patent in made() for part in patent.parts)
    assert not any(len(part.marks) for patent in made("marks") for part in patent.parts)


def test_without_states_only_the_whole_object_as_it_is_is_shown():
    figures = [figure for patent in made("states") for figure in patent.figures]
    assert {(figure.state, figure.detail) for figure in figures} == {("closed", None)}


def test_patents_to_test_on_keep_all_variety():
    plain, less = (map(rest_of, made(*words, first=FIRST_TEST_PATENT)) for words in ((), VARIETY))
    assert list(plain) == list(less)


def test_all_variety_is_left_where_nothing_is_named():
    plain, named, less = (
        render_patent(0, 7, size_px=96, **other) for other in ({}, {"without": ()}, {"without": VARIETY})
    )
    assert list(map(png_bytes, plain)) == list(map(png_bytes, named))
    assert list(map(png_bytes, plain)) != list(map(png_bytes, less))


def test_a_drawn_page_is_without_what_its_collection_leaves_out():
    drawing = GeneratedStream(Collection(0, 8, 1, size_px=96, without=("shading", "styles"))).train()[-1]
    page = DrawingReader(None)(drawing)
    patent = make_patent(0, 7, exclude=("shading", "styles"))
    index = int(drawing.name[-9:-4])
    assert (page == patent.render(index, size_px=96, gray=True)).all()


@pytest.mark.parametrize(
    ("without", "words"), [(("views",), "not 'views'"), (("states", "shading"), "rising"), (("states",) * 2, "once")]
)
def test_other_words_are_refused(without, words):
    with pytest.raises(InputError, match=words):
        Collection(0, 1, 1, size_px=64, without=without)


def test_the_config_takes_the_words_in_any_order(tmp_path):
    assert RULES["DATASETS.GENERATED.EXCLUDE"].choices == VARIETY
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.NAMES", "GeneratedStream", "DATASETS.TESTS", "Generated",
                         "DATASETS.ROOT", str(tmp_path), "DATASETS.GENERATED.NUM_TRAIN_PATENTS", 1,
                         "DATASETS.GENERATED.NUM_TEST_PATENTS", 1, "DATASETS.GENERATED.SIZE_PX", 64,
                         "DATALOADER.NUM_WORKERS", 0, "DATASETS.GENERATED.EXCLUDE", ["styles", "shading"]])  # fmt: skip
    train, _ = build_datasets(cfg)
    assert train[0].path.endswith("shading+styles")


def test_a_test_that_is_not_there_is_told_before_anything_is_drawn(tmp_path):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.NAMES", "Generated", "DATASETS.TESTS", "Patent", "DATASETS.ROOT", str(tmp_path)])
    with pytest.raises(InputError, match="cannot read the list"):
        build_datasets(cfg)
    assert not list(tmp_path.iterdir())
