import time

import pytest

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
    [
        ("MODEL:\n  BACKBONE:\n    DEPHT: 50x", "bad.yml:3: no setting is called 'MODEL.BACKBONE.DEPHT'; did you mean"),
        ("SOLVER:\n  MAX_EPOCH: many", "bad.yml:2: SOLVER.MAX_EPOCH is 'many'; it takes a whole number of 1 or more"),
        ("SOLVER:\n  MAX_EPOCH: 1.5", "bad.yml:2: SOLVER.MAX_EPOCH is 1.5; it takes a whole number"),
        ("SOLVER:\n  MAX_EPOCH: true", "it takes a whole number"),
        ("SOLVER:\n  MAX_EPOCH:", "SOLVER.MAX_EPOCH is None; it takes"),
        ("SOLVER:\n  BASE_LR: .nan", "SOLVER.BASE_LR is nan; it takes a number of 0 or more"),
        ("SOLVER:\n  BASE_LR: .inf", "SOLVER.BASE_LR is inf; it takes"),
        ("SOLVER:\n  BASE_LR: nan", "SOLVER.BASE_LR is 'nan'; it takes"),
        ("SOLVER:\n  BASE_LR: -1", "it takes a number of 0 or more"),
        ("SOLVER:\n  BASE_LR: [1, 2]", "it takes a number of 0 or more"),
        ("INPUT:\n  FLIP:\n    PROB: 1.01", "it takes a number from 0 to 1"),
        ("INPUT:\n  FLIP:\n    ENABLED: 1", "it takes True or False"),
        ("INPUT:\n  SIZE_TRAIN: [1, 2, 3]", "it takes a list of 1 to 2 items"),
        ("INPUT:\n  CROP:\n    RATIO: [2, 1]", "in rising order"),
        ("INPUT:\n  SIZE_TRAIN: [1, [2]]", "bad.yml:2: a list within a list"),
        ("DATASETS:\n  NAMES: []", "it takes a list of 1 or more items"),
        ("DATASETS:\n  NAMES: (Patent", "it takes a list of 1 or more items"),
        ("DATASETS:\n  NAMES: 3", "it takes a list of 1 or more items"),
        ("SOLVER:\n  WARMUP_METHOD: lin", "it takes linear or constant or exp"),
        ("MODEL:\n  DEVICE: tpu", "it takes cpu, cuda or cuda:N"),
        ("MODEL:\n  WEIGHTS: null", "MODEL.WEIGHTS is None; it takes a text"),
        ("OUTPUT_DIR: 2024", "in quotes where it looks like a number"),
        ('OUTPUT_DIR: "a\\0b"', "it takes a text on one line"),
        ("MODEL: 3", "bad.yml:1: MODEL is a section, not a setting"),
        ("MODEL:", "MODEL is a section, not a setting"),
        ("SEED: {a: 1}", "no setting is called 'SEED.a'; did you mean SEED?"),
        ("SOLVER.BASE_LR: 1", "'SOLVER.BASE_LR' has a dot; write a section"),
        ("MODEL:\n  _BASE_: x.yml", "no setting is called 'MODEL._BASE_'"),
        ("MODEL:\n  QUEUE_SIZE: 3", "MODEL.QUEUE_SIZE is 3, but MoCo is not part of this project"),
        ("KD:\n  EMA:\n    ENABLED: True", "distillation is not part of this project"),
        ("SOLVER:\n  OPT_ARGS:\n    betas: [.nan, 1]", "it takes a finite number"),
        ("SOLVER:\n  OPT_ARGS:\n    a b: 1", "no setting is called 'SOLVER.OPT_ARGS.a b'"),
        ("SEED: 1\nSOLVER:\n  BASE_LR: 1\nSEED: 2", "bad.yml:4: 'SEED' stands here and on line 1; keep one"),
        ("", "bad.yml: holds no settings"),
        ("# only words\n", "bad.yml: holds no settings"),
        ("{}", "bad.yml: holds no settings"),
        ("- 1\n- 2", "bad.yml:1: a config is a mapping"),
        ("SEED: 1\n---\nSEED: 2", "not YAML: "),
        ("SEED: [1", "not YAML: "),
        ("SEED: 1\n\tX: 2", "bad.yml:2: not YAML: "),
        (b"SEED: 1\nX: \xff\xfe", "bad.yml:2: not UTF-8"),
        (b"SEED: \x00", "not YAML: "),
        ("? [a, b]\n: 1", "bad.yml:1: a list or mapping cannot be the name of a setting"),
        ("SEED: !!python/object/apply:os.getcwd []", "bad.yml:1: YAML tag 'tag:yaml.org,2002:python/object/apply"),
        ("SEED: !!int 3", "YAML tag"),
        ("<<: {SEED: 1}", "no setting is called '<<.SEED'"),
        ("SEED: 2001-99-99", "bad.yml:1: '2001-99-99' is no value"),
        ("SEED: " + "1:" * 300_000 + "1", "bad.yml:1: a value of 600001 characters"),
        ("SEED: 0x" + "f" * 90, "it takes a whole number"),
        ("OUTPUT_DIR: " + "x" * 5000, "no setting is as long"),
        ("SEED: " + "[" * 21 + "]" * 21, "nested deeper than 20"),
        ("SEED: " + "[" * 500_000, "nested deeper than 20"),
        ("SEED: " + "{a: " * 200_000, "nested deeper than 20"),
        ("MODEL: " + "{a: " * 10 + "1" + "}" * 10, "no setting lies as deep"),
        ("SEED: &a 1\nx: [" + "*a, " * 51 + "]", "more than 50 aliases"),
        ("MODEL: &a\n  KD: *a\n", "no setting lies as deep"),
        ("SEED: &a [*a]", "a list within a list"),
        ("a: [" + "1," * 400_000 + "]", "more than 20000 parts"),
        ("a: [" + "1," * 5_000 + "]", "a very long one"),
        ("#" * 1_000_001, "over 1000000 bytes"),
        ("_BASE_: [a.yml, b.yml]", "_BASE_ is ['a.yml', 'b.yml']; it takes the path of one YAML file"),
        ("_BASE_: https://example.org/a.yml", "a config is not fetched"),
        ("\n_BASE_: none.yml", "bad.yml:2: _BASE_ 'none.yml' is no file; it is looked for as 'none.yml'"),
        ("_BASE_: ''", "it takes the path of one YAML file"),
        ('_BASE_: "a\\0b.yml"', "it takes the path of one YAML file"),
        ("_BASE_: " + "x" * 3000 + ".yml", "is no file"),
        ("_BASE_: ~nobody-here/a.yml", "is no file"),
        ("_BASE_: /etc/hosts", "_BASE_ '/etc/hosts' leads out of the tree"),
        ("_BASE_: ../../../../../etc/x.yml", "leads out of the tree"),
        ("_BASE_: bad.yml", "_BASE_ runs in a circle: bad.yml -> bad.yml"),
    ],
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
    [
        (["SEED"], "command line: 'SEED' has no partner"),
        (["SEED=3", "x"], "no setting is called 'SEED=3'; write SEED and its value as two words"),
        (["--opts", "SEED"], "command line: no setting is called '--opts'"),
        ([3, "SEED"], "command line: 3 is not the name of a setting"),
        (["_BASE_", "a.yml"], "no setting is called '_BASE_'"),
        (["SOLVER.OPT_ARGS", "3"], "SOLVER.OPT_ARGS is a section, not a setting"),
        (["SOLVER.BASE_LR", "1e999"], "command line: SOLVER.BASE_LR is '1e999'; it takes a number of 0 or more"),
        (["SOLVER.BASE_LR", "__import__('os')"], "it takes a number of 0 or more"),
        (["SOLVER.BASE_LR", "(" * 3000], "it takes a number of 0 or more"),
        (["SOLVER.MAX_EPOCH", "9" * 3999], "it takes a whole number"),
        (["MODEL.WEIGHTS", "None"], "it takes a text"),
        (["MODEL.WEIGHTS", "a\udcff"], "it takes a text"),
        (["SOLVER.OPT_ARGS.x", "9" * 3999], "it takes a finite number"),
        (["SOLVER.OPT_ARGS.x", "{'a': 1}"], "it takes a finite number"),
    ],
    ids=lambda value: repr(str(value)[:30]),
)
def test_wrong_words_on_the_command_line_are_refused(words, said):
    with pytest.raises(InputError) as caught:
        get_cfg().merge_from_list(words)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600
