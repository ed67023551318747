import time

import pytest
from invalid_inputs import CONFIGS, WORDS

from fastreid.config import get_cfg
from fastreid.utils.errors import InputError


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """Writes a config, sees it refused in one line within a second, and gives the line."""
    monkeypatch.chdir(tmp_path)

    def refuse(text, name="bad.yml"):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(data)
        start = time.process_time()
        with pytest.raises(InputError) as caught:
            get_cfg().merge_from_file(name)
        assert time.process_time() - start < 1
        line = str(caught.value)
        assert line.startswith(name)
        assert "\n" not in line
        assert len(line) < 600
        return line

    return refuse


@pytest.mark.parametrize(
    ("text", "said"),
    CONFIGS,
    ids=lambda value: repr(value[:40]),
)
def test_a_wrong_file_is_refused_with_these_words(refusal, text, said):
    assert said in refusal(text)


def test_aliases_cannot_blow_up(refusal):
    levels = "".join(f"k{n}: &k{n} {{{', '.join(f'x{i}: *k{n - 1}' for i in range(9))}}}\n" for n in range(1, 6))
    assert "no setting" in refusal(f"k0: &k0 {{{', '.join(f'y{i}: 1' for i in range(2000))}}}\n{levels}")


def test_a_circle_of_files_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, base in (("a", "sub/b"), ("sub/b", "../c"), ("c", "a")):
        path = tmp_path / f"{name}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"_BASE_: {base}.yml\n")
    with pytest.raises(InputError, match=r"a\.yml -> sub/b\.yml -> c\.yml -> a\.yml"):
        get_cfg().merge_from_file("a.yml")


def test_a_link_to_itself_is_no_file(tmp_path):
    (tmp_path / "loop.yml").symlink_to("loop.yml")
    with pytest.raises(InputError, match="no such file"):
        get_cfg().merge_from_file(tmp_path / "loop.yml")


@pytest.mark.parametrize("name", ["a\0b.yml", "a\nb.yml", "", "x" * 5000 + ".yml"])
def test_a_path_that_cannot_be_is_refused(name):
    with pytest.raises(InputError) as caught:
        get_cfg().merge_from_file(name)
    assert "\n" not in str(caught.value)


def test_a_link_does_not_lead_out_of_the_tree(tmp_path, monkeypatch):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/x.yml").write_text("SEED: 1")
    inside = tmp_path / "job/configs/mine"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    (inside / "link.yml").symlink_to(tmp_path / "secret/x.yml")
    (inside / "a.yml").write_text("_BASE_: link.yml")
    with pytest.raises(InputError, match="leads out of the tree"):
        get_cfg().merge_from_file("a.yml")


@pytest.mark.parametrize(
    ("name", "said"),
    [("mine.py", "settings are read from .yml"), ("none.yml", "no such file"), ("folder.yml", "no such file")],
)
def test_what_is_no_yaml_file_is_not_read(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("raise SystemExit('ran')")
    (tmp_path / "folder.yml").mkdir()
    with pytest.raises(InputError, match=said):
        get_cfg().merge_from_file(name)


def test_yacs_own_door_to_python_files_is_shut(tmp_path):
    with pytest.raises(InputError, match="merge_from_file"):
        get_cfg().load_cfg("SEED: 1")


@pytest.mark.parametrize(
    ("words", "said"),
    WORDS,
    ids=lambda value: repr(str(value)[:30]),
)
def test_wrong_words_on_the_command_line_are_refused(words, said):
    with pytest.raises(InputError) as caught:
        get_cfg().merge_from_list(words)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600
