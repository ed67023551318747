import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastreid.config import get_cfg
from fastreid.config.config import _defaults
from fastreid.config.ranges import NOT_HERE
from fastreid.utils.errors import InputError

KEYS = sorted(set(_defaults()) - set(NOT_HERE))
CONFIGS = Path(__file__).parents[2] / "configs"
FILES = [path.read_bytes() for path in sorted(CONFIGS.rglob("*.yml"))]
WORDS = [
    b"&a ",
    b"*a",
    b"!!int ",
    b"[",
    b"]",
    b"{",
    b"}",
    b": ",
    b"- ",
    b"\n",
    b"\t",
    b"'",
    b"\xff",
    b"\x00",
    b"1e9",
    b"~",
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def is_taken(cfg, key, value) -> bool:
    """Whether a value is taken; anything but a refusal in one line fails the test."""
    try:
        cfg.merge_from_list([key, value])
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 (the words of a refusal are what is tested)
        return False
    return True


def survives(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    start = time.process_time()
    try:
        get_cfg().merge_from_file(path)
    except InputError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    assert time.process_time() - start < 2


def beside_the_bases(folder: Path) -> Path:
    """Where a patent file would lie, so that a chain that is whole is followed to its end."""
    (folder / "configs/patent").mkdir(parents=True, exist_ok=True)
    for base in CONFIGS.glob("*.yml"):
        (folder / "configs" / base.name).write_bytes(base.read_bytes())
    return folder / "configs/patent/damaged.yml"


def mutations(original: bytes):
    piece = st.sampled_from(WORDS) | st.binary(max_size=4)
    cut = st.tuples(st.integers(0, len(original)), st.integers(0, 20), piece)
    return st.lists(cut, min_size=1, max_size=6).map(lambda cuts: mutated(original, cuts))


def mutated(data: bytes, cuts) -> bytes:
    for start, length, piece in cuts:
        data = data[:start] + piece + data[start + length :]
    return data


@given(st.sampled_from(KEYS), ANYTHING)
def test_any_value_is_taken_or_refused_in_one_line(key, value):
    cfg = get_cfg()
    if not is_taken(cfg, key, value):
        assert cfg == get_cfg()


@shared_folder
@given(st.lists(st.tuples(st.sampled_from(KEYS), ANYTHING), max_size=8))
def test_whatever_was_taken_comes_back_from_a_dump(tmp_path, pairs):
    cfg, again = get_cfg(), get_cfg()
    for key, value in pairs:
        is_taken(cfg, key, value)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again.merge_from_file(tmp_path / "config.yaml")
    assert again == cfg


@given(st.sampled_from(KEYS), ANYTHING)
def test_a_value_taken_twice_is_the_same_as_once(key, value):
    once = get_cfg()
    if is_taken(once, key, value):
        twice = once.clone()
        twice.merge_from_other_cfg(once)
        assert twice == once


@shared_folder
@given(data=st.sampled_from(FILES).flatmap(mutations))
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, data):
    survives(data, beside_the_bases(tmp_path))


@pytest.mark.slow
@settings(parent=shared_folder, max_examples=20_000)
@given(data=st.sampled_from(FILES).flatmap(mutations))
def test_many_damaged_files_are_read_or_refused_in_one_line(tmp_path, data):
    survives(data, beside_the_bases(tmp_path))
