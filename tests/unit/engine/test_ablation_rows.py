import pytest

from fastreid.config import get_cfg
from fastreid.engine.ablation.rows import Row, read_rows
from fastreid.utils.errors import InputError

TEXT = "turns:\n  INPUT:\n    TURN: {ENABLED: True, PROB: 0.2}\nlarge-lr:\n  SOLVER: {BASE_LR: 0.1}\n"


def rows(tmp_path, text, **choice):
    path = tmp_path / "rows.yml"
    path.write_text(text)
    return read_rows(path, **choice)


def test_the_ground_comes_first_and_rows_in_the_order_of_the_file(tmp_path):
    turns = Row("turns", ("INPUT.TURN.ENABLED", True, "INPUT.TURN.PROB", 0.2))
    assert rows(tmp_path, TEXT) == [Row("ground"), turns, Row("large-lr", ("SOLVER.BASE_LR", 0.1))]
    assert [row.name for row in rows(tmp_path, TEXT, only=["large-lr"])] == ["ground", "large-lr"]
    cfg = get_cfg()
    cfg.merge_from_list(list(turns.opts))
    assert cfg.INPUT.TURN.PROB == 0.2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SEED: 3\n", "rows.yml:1: SEED is no row; a row is a name with settings below it"),
        ("ground: {SOLVER: {BASE_LR: 1.0}}\n", "rows.yml:1: a row cannot be called 'ground'"),
        ("../out: {SEED: 1}\n", "a dot"),
        ("a/b: {SEED: 1}\n", "a row cannot be called 'a/b'"),
        ("_BASE_: other.yml\n", "_BASE_ is no row"),
        ("turns:\n", "rows.yml:1: turns is no row"),
        ("", "holds no settings"),
    ],
)
def test_a_file_of_rows_that_is_none_is_refused(text, told, tmp_path):
    with pytest.raises(InputError, match=told):
        rows(tmp_path, text)


def test_a_row_that_is_not_there_is_told_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match=r"no row is called 'turn'\. Did you mean 'turns'"):
        rows(tmp_path, TEXT, only=["turn"])
