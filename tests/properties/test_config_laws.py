import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastreid.config import get_cfg
from fastreid.config.config import flat_defaults
from fastreid.config.legacy import LEGACY_KEYS
from fastreid.utils.errors import InputError

KEYS = sorted([*flat_defaults(), *LEGACY_KEYS])
CONFIGS = Path(__file__).parents[2] / "configs"
FILES = [path.read_bytes() for path in sorted(CONFIGS.rglob("*.yml"))]
FRAGMENTS = [
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
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def try_to_set(cfg, key, value) -> bool:
    """Return whether a value is valid; any error other than a one-line InputError fails the test."""
    try:
        cfg.merge_from_list([key, value])
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 (the message is tested)
        return False
    return True


def load_or_fail_cleanly(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    start = time.process_time()
    try:
        get_cfg().merge_from_file(path)
    except InputError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    assert time.process_time() - start < 2


def path_with_base_files(folder: Path) -> Path:
    """Return the path of a patent config with its base files in place, so that intact chains are followed."""
    (folder / "configs/patent").mkdir(parents=True, exist_ok=True)
    for base in CONFIGS.glob("*.yml"):
        (folder / "configs" / base.name).write_bytes(base.read_bytes())
    return folder / "configs/patent/damaged.yml"


def mutations(original: bytes):
    fragment = st.sampled_from(FRAGMENTS) | st.binary(max_size=4)
    cut = st.tuples(st.integers(0, len(original)), st.integers(0, 20), fragment)
    return st.lists(cut, min_size=1, max_size=6).map(lambda cuts: apply_cuts(original, cuts))


def apply_cuts(data: bytes, cuts) -> bytes:
    for start, length, fragment in cuts:
        data = data[:start] + fragment + data[start + length :]
    return data


@given(st.sampled_from(KEYS), ANY_VALUE)
def test_any_value_is_set_or_fails_in_one_line(key, value):
    cfg = get_cfg()
    if not try_to_set(cfg, key, value):
        assert cfg == get_cfg()


@shared_folder
@given(st.lists(st.tuples(st.sampled_from(KEYS), ANY_VALUE), max_size=8))
def test_dump_restores_all_settings(tmp_path, pairs):
    cfg, again = get_cfg(), get_cfg()
    for key, value in pairs:
        try_to_set(cfg, key, value)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again.merge_from_file(tmp_path / "config.yaml")
    assert again == cfg


@given(st.sampled_from(KEYS), ANY_VALUE)
def test_setting_a_value_twice_changes_nothing(key, value):
    once = get_cfg()
    if try_to_set(once, key, value):
        twice = once.clone()
        twice.merge_from_other_cfg(once)
        assert twice == once


@shared_folder
@given(data=st.sampled_from(FILES).flatmap(mutations))
def test_damaged_file_loads_or_fails_in_one_line(tmp_path, data):
    load_or_fail_cleanly(data, path_with_base_files(tmp_path))


@pytest.mark.slow
@settings(parent=shared_folder, max_examples=20_000)
@given(data=st.sampled_from(FILES).flatmap(mutations))
def test_many_damaged_files_load_or_fail_in_one_line(tmp_path, data):
    load_or_fail_cleanly(data, path_with_base_files(tmp_path))
