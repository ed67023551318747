import pytest

from fastreid.config import get_cfg
from fastreid.experiments.variants import Row, chosen, read_rows
from fastreid.utils.errors import InputError

TEXT = "turns:\n  INPUT:\n    ROT90: {ENABLED: True, PROB: 0.2}\nlarge-lr:\n  SOLVER: {BASE_LR: 0.1}\n"


def rows(tmp_path, text):
    path = tmp_path / "rows.yml"
    path.write_text(text)
    return read_rows(path)


def test_the_ground_comes_first_and_rows_in_the_order_of_the_file(tmp_path):
    turns = Row("turns", ("INPUT.ROT90.ENABLED", True, "INPUT.ROT90.PROB", 0.2))
    assert rows(tmp_path, TEXT) == [Row("ground"), turns, Row("large-lr", ("SOLVER.BASE_LR", 0.1))]
    cfg = get_cfg()
    cfg.merge_from_list(list(turns.opts))
    assert cfg.INPUT.ROT90.PROB == 0.2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SEED: 3\n", "rows.yml:1: SEED is no row; a row is a name with settings below it"),
        ("ground: {SOLVER: {BASE_LR: 1.0}}\n", "rows.yml:1: a row cannot be called 'ground'"),
        ("v1.0: {SOLVER: {BASE_LR: 1.0}}\n", "rows.yml:1: 'v1.0' has a dot; if it is the name of a row, take letters"),
        ("lr:\n  SOLVER.BASE_LR: 1.0\n", "rows.yml:2: 'SOLVER.BASE_LR' has a dot; write a section"),
        ("a/b: {INPUT: {FILL: 1}}\n", "a row cannot be called 'a/b'"),
        ("_BASE_: other.yml\n", "_BASE_ is no row"),
        ("turns:\n", "rows.yml:1: turns is no row"),
        ("", "holds no settings"),
        ("lr:\n  SEED: 3\n", "rows.yml:2: row 'lr' sets SEED, but each row is trained with every seed of --seeds"),
        ("lr: {OUTPUT_DIR: a}\n", "row 'lr' sets OUTPUT_DIR, but each run has its folder"),
        (
            "lr: {TEST: {SCORE: {PER_QUERY_FILE: a.csv}}}\n",
            r"row 'lr' sets TEST\.SCORE\.PER_QUERY_FILE, but each run leaves",
        ),
    ],
)
def test_a_file_of_rows_that_is_none_is_refused(text, told, tmp_path):
    with pytest.raises(InputError, match=told):
        rows(tmp_path, text)


def test_some_rows_are_chosen_beside_the_ground_and_one_that_is_not_there_is_told_with_the_nearest(tmp_path):
    found = rows(tmp_path, TEXT)
    assert [row.name for row in chosen(found, ["large-lr"])] == ["ground", "large-lr"]
    assert chosen(found, []) == found
    with pytest.raises(InputError, match=r"--only: no row is called 'turn'\. Did you mean 'turns'"):
        chosen(found, ["turn"])
