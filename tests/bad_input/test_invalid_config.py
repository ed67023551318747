import sys
import time

import pytest
from invalid_inputs import COMMAND_LINES, CONFIGS

from fastreid.config import get_cfg
from fastreid.utils.errors import InputError


@pytest.fixture
def load_error(tmp_path, monkeypatch):
    """Return a function that writes and loads a config and returns the one-line error, which takes little work.

    The work is counted in calls of Python functions, which do not depend on the speed of the machine.
    """
    monkeypatch.chdir(tmp_path)

    def count(frame, event, argument):
        nonlocal num_calls
        num_calls += event == "call"

    num_calls = 0

    def load(text, name="bad.yml"):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(data)
        start, calls_before = time.process_time(), num_calls
        sys.setprofile(count)
        try:
            with pytest.raises(InputError) as caught:
                get_cfg().merge_from_file(name)
        finally:
            sys.setprofile(None)
        assert num_calls - calls_before < 500_000
        assert time.process_time() - start < 10  # in functions that are not written in Python; mostly 0.1 s
        message = str(caught.value)
        assert message.startswith(name)
        assert "\n" not in message
        assert len(message) < 600
        return message

    return load


@pytest.mark.parametrize(
    ("text", "message"),
    CONFIGS,
    ids=lambda value: repr(value[:40]),
)
def test_invalid_file_fails_with_this_message(load_error, text, message):
    assert message in load_error(text)


def test_nested_aliases_fail_quickly(load_error):
    levels = "".join(f"k{n}: &k{n} {{{', '.join(f'x{i}: *k{n - 1}' for i in range(9))}}}\n" for n in range(1, 6))
    assert "unknown setting" in load_error(f"k0: &k0 {{{', '.join(f'y{i}: 1' for i in range(2000))}}}\n{levels}")


def test_circular_base_files_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, base in (("a", "sub/b"), ("sub/b", "../c"), ("c", "a")):
        path = tmp_path / f"{name}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"_BASE_: {base}.yml\n")
    with pytest.raises(InputError, match=r"a\.yml -> sub/b\.yml -> c\.yml -> a\.yml"):
        get_cfg().merge_from_file("a.yml")


def test_link_to_itself_is_an_error(tmp_path):
    (tmp_path / "loop.yml").symlink_to("loop.yml")
    with pytest.raises(InputError, match="no such file"):
        get_cfg().merge_from_file(tmp_path / "loop.yml")


@pytest.mark.parametrize("name", ["a\0b.yml", "a\nb.yml", "", "x" * 5000 + ".yml"])
def test_impossible_path_is_an_error(name):
    with pytest.raises(InputError) as caught:
        get_cfg().merge_from_file(name)
    assert "\n" not in str(caught.value)


def test_link_to_a_base_outside_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/x.yml").write_text("SEED: 1")
    inside = tmp_path / "job/configs/mine"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    (inside / "link.yml").symlink_to(tmp_path / "secret/x.yml")
    (inside / "a.yml").write_text("_BASE_: link.yml")
    with pytest.raises(InputError, match="is outside the allowed folders"):
        get_cfg().merge_from_file("a.yml")


@pytest.mark.parametrize(
    ("name", "message"),
    [("mine.py", "a config is a .yml or .yaml file"), ("none.yml", "no such file"), ("folder.yml", "no such file")],
)
def test_other_files_are_not_read(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("raise SystemExit('ran')")
    (tmp_path / "folder.yml").mkdir()
    with pytest.raises(InputError, match=message):
        get_cfg().merge_from_file(name)


def test_load_cfg_of_yacs_is_disabled(tmp_path):
    with pytest.raises(InputError, match="merge_from_file"):
        get_cfg().load_cfg("SEED: 1")


@pytest.mark.parametrize(
    ("words", "message"),
    COMMAND_LINES,
    ids=lambda value: repr(str(value)[:30]),
)
def test_invalid_command_line_fails_with_this_message(words, message):
    with pytest.raises(InputError) as caught:
        get_cfg().merge_from_list(words)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600
