"""Parsers of the commands: help, defaults, and errors for options that a command does not use."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastreid import __version__
from fastreid.cli.main import COMMANDS, build_parser, main
from fastreid.utils.arguments import CommandParser
from fastreid.utils.errors import InputError

REPOSITORY = Path(__file__).parents[3]
NAMES = [command.name for command in COMMANDS]
MESSAGES = {"-h", "--help", "--quiet", "--debug"}


def parser_of(name):
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
def test_options_of_other_commands_are_rejected(name):
    others = set().union(*map(options_of, NAMES)) - options_of(name)
    required = ["--config-file", "a.yml"] if "--config-file" in options_of(name) else []
    for option in sorted(word for word in others if word.startswith("--")):
        with pytest.raises(
            InputError, match=rf"fastreid {name}: unknown option {option}\b.*see `fastreid {name} --help`"
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
    from fastreid.engine.features import SPLITS
    from fastreid.evaluation.postprocess.tuning import Grid
    from fastreid.synthetic import VARIETY

    grid = vars(Grid())
    tuned = {action.dest: action.default for action in parser_of("tune")._actions if action.dest in grid}
    del tuned["top_n"]
    assert tuned == {name: grid[name] for name in tuned}
    assert len(tuned) == 7
    assert parser_of("extract")._option_string_actions["--split"].choices == SPLITS
    assert parser_of("data synth")._option_string_actions["--exclude"].choices == VARIETY


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
        (["train", "--resum"], "unknown option --resum. Did you mean '--resume'?"),
        (["train", "--config-file"], "argument --config-file: expected one argument"),
        (["train", "--config-file", "a.yml", "--num-gpus", "two"], "argument --num-gpus: invalid int value: 'two'"),
        (["extract", "--config-file", "a.yml", "--split", "tset"], "'tset' is not allowed. Did you mean 'test'?"),
        (["configs", "list", "demo"], "fastreid configs list: unexpected argument 'demo'"),
        (["data", "synth", "--output", "x", "--patents", "1", "-q"], "unknown option -q"),
    ],
)
def test_errors_are_one_line(arguments, message):
    with pytest.raises(InputError) as error:
        main(arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert " --help`" in str(error.value)


def test_options_cannot_be_abbreviated():
    parser = CommandParser("fastreid x")
    parser.add_argument("--output")
    with pytest.raises(InputError, match="unknown option --out"):
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
