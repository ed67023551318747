"""Parsers of the commands: help, defaults, and errors for options that a command does not use."""

import argparse
import functools
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastreid import __version__
from fastreid.cli.main import COMMANDS, build_parser, main
from fastreid.config.ranges import RULES
from fastreid.synthetic.families.registry import FIRST_TEST_PATENT
from fastreid.utils.arguments import CommandParser
from fastreid.utils.errors import InputError

REPOSITORY = Path(__file__).parents[3]
NAMES = [command.name for command in COMMANDS]
MESSAGES = {"-h", "--help", "--quiet", "--debug"}


@functools.cache
def parser_of(name):
    """Return the parser of a command, which a test must not change."""
    parser = build_parser()
    for word in name.split():
        [subparsers] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        parser = subparsers.choices[word]
    return parser


def options_of(name):
    return set(parser_of(name)._option_string_actions) - MESSAGES


def help_of(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([*name.split(), "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_options_of_other_commands_are_rejected(name, monkeypatch):
    monkeypatch.setattr("fastreid.cli.main.build_parser", functools.cache(build_parser))  # not once per option
    others = set().union(*map(options_of, NAMES)) - options_of(name)
    required = ["--config-file", "a.yml"] if "--config-file" in options_of(name) else []
    for option in sorted(word for word in others if word.startswith("--")):
        with pytest.raises(
            InputError, match=rf"fastreid {name}: unknown option '{option}'.*[Ss]ee `fastreid {name} --help`"
        ):
            main([*name.split(), *required, option])


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_help_has_description_options_and_example(command, capsys):
    text = help_of(command.name, capsys)
    assert text.startswith(f"usage: fastreid {command.name} ")
    for part in (command.help, command.example, "--quiet", "--debug", *options_of(command.name)):
        assert part in text
    assert command.example.startswith(f"fastreid {command.name}")


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_help_of_every_option_is_written(command):
    assert [action.dest for action in parser_of(command.name)._actions if not action.help] == []


@pytest.mark.parametrize("name", ["train", "tune", "data synth"])
def test_help_names_defaults(name, capsys):
    text = " ".join(help_of(name, capsys).split())
    for action in parser_of(name)._actions:
        if (
            isinstance(action.default, (int, str))
            and not isinstance(action.default, bool)
            and action.default != "==SUPPRESS=="
        ):
            assert f"(default: {action.default})" in text


def test_choices_and_defaults_equal_those_of_the_package():
    from fastreid.cli.tune import STEPS
    from fastreid.engine.features.extract import SPLITS
    from fastreid.evaluation.postprocess.tuning_grid import Grid
    from fastreid.synthetic import VARIETY

    grid = vars(Grid())
    tuned = {action.dest: action.default for action in parser_of("tune")._actions if action.dest in grid}
    assert (tuned.pop("top_n"), tuned.pop("steps")) == (None, None)
    assert tuned == {name: grid[name] for name in tuned}
    assert len(tuned) == 12
    assert grid["steps"] == STEPS
    assert parser_of("extract")._option_string_actions["--split"].choices == SPLITS
    assert parser_of("data synth")._option_string_actions["--exclude"].choices == VARIETY


def test_limits_of_options_equal_those_of_settings():
    options = {
        ("data synth", "--size-px"): "DATASETS.GENERATED.SIZE_PX",
        ("tune", "--expansion-k"): "TEST.AQE.QE_K",
        ("tune", "--expansion-alpha"): "TEST.AQE.ALPHA",
        ("tune", "--k1"): "TEST.RERANK.K1",
        ("tune", "--k2"): "TEST.RERANK.K2",
        ("tune", "--lambda"): "TEST.RERANK.LAMBDA",
        ("tune", "--top-n"): "TEST.RERANK.TOP_N",
        ("tune", "--negative-k"): "TEST.NEGATIVE.K",
        ("tune", "--negative-beta"): "TEST.NEGATIVE.BETA",
        ("tune", "--superglobal-k"): "TEST.SUPERGLOBAL.K",
        ("tune", "--superglobal-beta"): "TEST.SUPERGLOBAL.BETA",
        ("tune", "--local-weight"): "TEST.LOCAL.WEIGHT",
        ("tune", "--local-dim"): "TEST.LOCAL.DIM",
    }
    for (command, option), key in options.items():
        number = parser_of(command)._option_string_actions[option].type
        number = getattr(number, "item", number)
        assert (number.minimum, number.maximum) == (RULES[key].minimum, RULES[key].maximum), option
    assert parser_of("data synth")._option_string_actions["--patents"].type.maximum == FIRST_TEST_PATENT


def test_fastreid_alone_lists_all_commands(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert any(
            line.split(command.help)[0].strip() == command.name for line in text.splitlines() if command.help in line
        )


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"fastreid {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "fastreid: unknown command 'trian'. Did you mean 'train'? Available: train, "),
        (["data", "chek"], "fastreid data: unknown command 'chek'. Did you mean 'check'?"),
        (["configs"], "fastreid configs: the following arguments are required: COMMAND"),
        (["train", "--resum"], "fastreid train: unknown option '--resum'. Did you mean '--resume'? See `fastreid"),
        (["train", "--config-file"], "argument --config-file: expected one argument"),
        (["extract", "--config-file", "a.yml", "--split", "tset"], "--split: 'tset' is unknown. Did you mean 'test'?"),
        (["configs", "list", "demo"], "fastreid configs list: unexpected argument 'demo'"),
        (["data", "synth", "--output", "x", "--patents", "1", "-q"], "unknown option '-q'; see"),
    ],
)
def test_errors_are_one_line(arguments, message):
    with pytest.raises(InputError) as error:
        main(arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert " --help`" in str(error.value)


def test_arguments_can_follow_options():
    parser = build_parser()
    for words in (
        ["-k", "5", "c", "a.png", "b.png"],
        ["c", "-k", "5", "a.png", "b.png"],
        ["c", "a.png", "-k", "5", "b.png", "--json"],
        ["--json", "c", "a.png", "-k=5", "b.png"],
    ):
        args = parser.parse_args(["search", *words])
        assert (args.collection, args.pictures, args.k) == ("c", ["a.png", "b.png"], 5)
    args = parser.parse_args(["index", "add", "c", "--watch", "5", "a", "--no-metadata", "b", "--watch-queries", "q"])
    assert (args.paths, args.watch, str(args.watch_queries)) == (["a", "b"], 5, "q")
    args = parser.parse_args(["search", "-k", "5", "--", "c", "-x.png"])
    assert (args.collection, args.pictures, args.k) == ("c", ["-x.png"], 5)
    with pytest.raises(InputError, match="unexpected argument 'x'; see"):
        parser.parse_args(["index", "info", "c", "x"])
    with pytest.raises(InputError, match="-k: expected one argument"):
        parser.parse_args(["search", "c", "a.png", "-k"])


def test_empty_path_is_invalid():
    for option in ("--hits-html", "--hits", "--watch-queries"):
        with pytest.raises(InputError, match=f"argument {option}: '' is invalid; it must be the path of a file or"):
            build_parser().parse_args(["index", "add", "c", "a", option, ""])


CONFIG = ["--config-file", "a.yml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "stray", *CONFIG], "fastreid train: --config-file follows 'stray'; options come before"),
        (["train", "stray", "--config-file=a.yml"], "--config-file follows 'stray'"),
        (["train", "a.yml"], "fastreid train: --config-file is missing before 'a.yml'; options come before"),
        (["train", "SEED", "1"], "--config-file is missing before 'SEED'"),
        (["train", "-config-file", "a.yml"], "unknown option '-config-file'. Did you mean '--config-file'? See"),
        (["train", *CONFIG, "-resume"], "unknown option '-resume'. Did you mean '--resume'? See"),
        (["train", *CONFIG, "stray", "--resume"], "--resume follows 'stray'"),
        (["train", *CONFIG, "SEED", "1", "--num-gpus=2"], "--num-gpus follows 'SEED'"),
        (["doctor", "stray", "--json"], "fastreid doctor: --json follows 'stray'"),
        (["tune", *CONFIG, "stray"], "fastreid tune: --features is missing before 'stray'"),
        (["predict", "a.png", *CONFIG], "fastreid predict: --config-file follows 'a.png'"),
        (["train", "--config-file"], "argument --config-file: expected one argument"),
        (["train"], "the following arguments are required: --config-file"),
    ],
)
def test_word_before_the_options_is_reported(arguments, message):
    with pytest.raises(InputError) as error:
        main(arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("command", "option", "value", "message"),
    [
        ("train", "--num-gpus", "two", "'two' is invalid; it must be an integer >= 1, such as 2; see `fastreid train"),
        ("train", "--num-gpus", "0", "it must be an integer >= 1, such as 2"),
        ("train", "--num-machines", "1.5", "it must be an integer >= 1, such as 2"),
        ("test", "--machine-rank", "-1", "'-1' is invalid; it must be an integer >= 0, such as 0"),
        ("batch-size", "--steps", "0", "it must be an integer >= 1, such as 3"),
        ("batch-size", "--max-size", "many", "it must be an integer >= 1, such as 512"),
        ("batch-size", "--memory-mb", "nan", "'nan' is invalid; it must be a number > 0, such as 8000"),
        ("batch-size", "--memory-mb", "-1", "it must be a number > 0, such as 8000"),
        ("data synth", "--patents", "0", "it must be an integer from 1 to 500000, such as 200"),
        ("data synth", "--test-patents", "x", "it must be an integer from 1 to 500000, such as 200"),
        ("data synth", "--size-px", "10", "it must be an integer from 64 to 2000, such as 320"),
        ("data synth", "--workers", "-1", "it must be an integer >= 0, such as 4"),
        ("data synth", "--seed", "9" * 400, "is invalid; it must be an integer, such as 0"),
        ("data synth", "--exclude", "sibling", "'sibling' is unknown. Did you mean 'siblings'? Available: siblings, "),
        ("data synth", "--sheet", "a.jpg", "'a.jpg': the image is a PNG, so its name must end in .png"),
        ("data measure", "--plots", "a.pdf", "'a.pdf': the image is a PNG"),
        ("data show", "--samples", "0", "it must be an integer >= 1, such as 5"),
        ("predict", "-k", "0", "it must be an integer >= 1, such as 5"),
        (
            "tune",
            "--steps",
            "AQ",
            "each NEGATIVE, AQE, RERANK, SUPERGLOBAL or LOCAL, such as NEGATIVE,AQE,RERANK,SUPERGLOBAL,LOCAL. Did you "
            "mean 'AQE'? See `fastreid tune",
        ),
        ("tune", "--sides", "x", "it must be items separated by commas, each both, queries or gallery, such as both"),
        (
            "tune",
            "--k1",
            "4,x",
            "'4,x' is invalid; it must be items separated by commas, each an integer >= 1, such",
        ),
        ("tune", "--k1", "", "each an integer >= 1, such as 8,12,20"),
        ("tune", "--k2", "0", "each an integer >= 1, such as 1,3,6"),
        ("tune", "--expansion-k", "1,", "each an integer >= 1, such as 2,3,5,8"),
        ("tune", "--expansion-alpha", "-1", "each a number >= 0, such as 0.0,1.0,3.0"),
        ("tune", "--lambda", "0.3,3", "each a number from 0 to 1, such as 0.1,0.3,0.5"),
        ("tune", "--queries", "-3", "it must be an integer >= 0, such as 0 for all"),
        ("tune", "--top-n", "x", "it must be an integer >= 0, such as 0 for all"),
        ("ablate", "--seeds", "0,0", "'0,0' contains 0 twice; give each item once"),
        ("ablate", "--seeds", "a", "each an integer >= 0, such as 0,1,2"),
        ("ablate", "--only", ",", "',' is invalid; it must be items separated by commas, such as warp,elastic"),
        ("compare", "--metrics", "", "it must be items separated by commas, such as total_loss,mAP"),
        ("compare", "--metrics", "mAP,mAP", "contains mAP twice"),
    ],
)
def test_invalid_value_names_the_option_and_an_example(command, option, value, message):
    with pytest.raises(InputError) as error:
        main([*command.split(), option, value])
    assert str(error.value).startswith(f"fastreid {command}: argument {option}: ")
    assert message in str(error.value)
    assert len(str(error.value)) < 300


def test_lists_allow_spaces():
    assert parser_of("tune").parse_args(["--features", "a", *CONFIG, "--k1", "8, 12"]).k1 == [8, 12]


@pytest.mark.parametrize("name", NAMES)
def test_home_folder_in_a_path_is_expanded(name, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    for action in parser_of(name)._actions:
        if action.metavar in ("FILE", "DIR") and action.dest not in ("config_file", "variants"):  # see find_config
            assert str(action.type("~/a.png")) == "/home/somebody/a.png", action.dest


def test_options_cannot_be_abbreviated():
    parser = CommandParser("fastreid x")
    parser.add_argument("--output")
    with pytest.raises(InputError, match="unknown option '--out'"):
        parser.parse_args(["--out", "a"])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["configs", "list"], ["tune", "--help"], ["completion", "bash"]]
)
def test_light_commands_do_not_import_torch(arguments):
    lines = (
        "import sys",
        "from fastreid.cli.main import main",
        "try: main(sys.argv[1:])",
        "finally: assert 'torch' not in sys.modules",
    )
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "\n".join(lines), *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL
    )
    assert time.monotonic() - start < 10  # 0.1 s on an idle machine
