"""Command-line parsers: one-line errors, help with defaults and an example, options that several commands share."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from fastreid.utils.errors import InputError, suggest_nearest
from fastreid.utils.logger import DEBUG, QUIET
from fastreid.utils.option_values import NumberParser


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of the example and append the default to the help of each option that has one."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if not action.option_strings or default in (None, argparse.SUPPRESS, [], ()) or isinstance(default, bool):
            return action.help
        text = ",".join(map(str, default)) if isinstance(default, (list, tuple)) else default
        return f"{action.help} (default: {text})"

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs == argparse.REMAINDER:
            return f"[{action.metavar} ...]"
        return super()._format_args(action, default_metavar)


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises a one-line `InputError` for anything it does not know.

    Options cannot be abbreviated, so a typing error never selects another option.

    Args:
        prog: name of the command in help and errors; None: the name of the script.
        description: one line on what the command does.
        example: a complete command line for the help.
        options: as in `argparse`.
    """

    def __init__(
        self,
        prog: str | None = None,
        *,
        description: str = "",
        example: str = "",
        **options: Any,
    ):
        settings: dict[str, Any] = {"formatter_class": HelpFormatter, "allow_abbrev": False} | options
        epilog = f"example:\n  {example}" if example else None
        super().__init__(prog=prog, description=description, epilog=epilog, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise the message with the name of the command.

        Raises:
            InputError: always.
        """
        separator = " See" if message.endswith((".", "?")) else "; see"
        raise InputError(f"{self.prog}: {message}{separator} `{self.prog} --help`")

    def parse_known_args(  # type: ignore[override]  # argparse declares overloads; sub-parsers call this form
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse like argparse, but fail on unknown arguments, so that a sub-command reports them under its own name."""
        words = sys.argv[1:] if args is None else list(args)
        if self._subparsers is None:  # before argparse complains about missing arguments
            self._reject_unknown([word for word in words if word.startswith("--") and word != "--"])
            self._check_order(words)
            words = self._move_arguments(words)
        parsed, unknown = super().parse_known_args(words, namespace or argparse.Namespace())
        self._reject_unknown(unknown)
        return parsed, unknown

    def _check_order(self, words: Sequence[str]) -> None:
        """Check that no unknown word precedes the options, if all arguments after the first word are KEY VALUE pairs.

        argparse takes such a word and all options after it as pairs, and then misses the options.
        """
        if not self._has_pairs():
            return
        missing = [action.option_strings[0] for action in self._actions if action.required and action.option_strings]
        index = 0
        while index < len(words) and words[index] != "--":
            name, has_value, _ = words[index].partition("=")
            action = self._option_string_actions.get(name)
            if action is None:
                break
            missing = [option for option in missing if option not in action.option_strings]
            index += 1 if has_value else 1 + _count_values(action, words[index + 1 :])
        else:
            return
        if _is_option(words[index]):
            self._reject_unknown(words[index : index + 1])
        late = [word.partition("=")[0] for word in words[index:] if word.startswith("--")]
        if late:
            self.error(f"{late[0]} follows {words[index]!r}; options come before other arguments")
        if missing:
            self.error(f"{missing[0]} is missing before {words[index]!r}; options come before other arguments")

    def _has_pairs(self) -> bool:
        """Return whether all arguments after the options are KEY VALUE pairs."""
        return any(action.nargs == argparse.REMAINDER for action in self._actions)

    def _move_arguments(self, words: Sequence[str]) -> list[str]:
        """Return the words with the arguments before the options.

        argparse looks for all of an argument that can be repeated at the first place where there can be one, and then
        does not expect those after an option.
        """
        if self._has_pairs() or "--" in words:
            return list(words)
        arguments: list[str] = []
        options: list[str] = []
        index = 0
        while index < len(words):
            name, has_value, _ = words[index].partition("=")
            action = self._option_string_actions.get(name)
            num = 0 if action is None or has_value else _count_values(action, words[index + 1 :])
            (options if _is_option(words[index]) else arguments).extend(words[index : index + 1 + num])
            index += 1 + num
        return arguments + options

    def _reject_unknown(self, words: Iterable[str]) -> None:
        for word in words:
            name = word.partition("=")[0]
            if not word.startswith("-"):
                order = "; options come before other arguments" if self._has_pairs() else ""
                self.error(f"unexpected argument {word!r}{order}")
            if name not in self._option_string_actions:
                hint = suggest_nearest(name, self._option_string_actions)
                self.error(f"unknown option '{name}'" + (f".{hint}" if hint else ""))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices: Iterable[Any] | None = action.choices
        if choices is None or value in choices:
            return
        known = [str(choice) for choice in choices]
        hint = f"{suggest_nearest(str(value), known)} Available: {', '.join(known)}."
        if isinstance(action, argparse._SubParsersAction):
            self.error(f"unknown command '{value}'.{hint}")
        raise argparse.ArgumentError(action, f"'{value}' is unknown.{hint}")


def _count_values(action: argparse.Action, words: Sequence[str]) -> int:
    """Return how many of the words after an option are its values."""
    if action.nargs in (argparse.ONE_OR_MORE, argparse.ZERO_OR_MORE):
        return next((index for index, word in enumerate(words) if _is_option(word)), len(words))
    if action.nargs == argparse.OPTIONAL:
        return int(bool(words) and not _is_option(words[0]))
    return 1 if action.nargs is None else 0


def _is_option(word: str) -> bool:
    """Return whether a word looks like an option; "-" and negative numbers do not."""
    return word.startswith("-") and len(word) > 1 and not word[1:2].isdigit() and word[1] != "."


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add --quiet and --debug, which `run_tool` handles before the arguments are parsed."""
    group = parser.add_argument_group("messages")
    group.add_argument(
        QUIET, action="store_true", default=argparse.SUPPRESS, help="print only warnings and results on the console"
    )
    group.add_argument(
        DEBUG, action="store_true", default=argparse.SUPPRESS, help="print all messages, and the traceback of an error"
    )


def add_config_options(
    parser: argparse.ArgumentParser,
    *,
    required: bool = True,
    metavar: str = "KEY VALUE",
    meaning: str = "settings that override the config",
) -> None:
    """Add --config-file and the arguments after all options, which are the KEY VALUE pairs that override the config.

    Args:
        parser: parser of the command.
        required: whether --config-file must be given.
        metavar: name of the last arguments in the help.
        meaning: meaning of the last arguments in the help.
    """
    parser.add_argument(
        "--config-file",
        required=required,
        metavar="FILE",
        help="YAML config: a path, or a name from `fastreid configs list` such as demo/stage1.yml",
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar=metavar, help=f"after all options: {meaning}")


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that distribute a run over several processes and machines."""
    group = parser.add_argument_group("several processes")
    count, index = NumberParser(int, 1, example="2"), NumberParser(int, 0, example="0")
    group.add_argument("--num-gpus", type=count, default=1, metavar="N", help="processes on this machine, one per GPU")
    group.add_argument("--num-machines", type=count, default=1, metavar="N", help="number of machines")
    group.add_argument("--machine-rank", type=index, default=0, metavar="N", help="index of this machine, from 0")
    group.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="address of machine 0, such as tcp://10.0.0.1:29500; auto: a free port of this machine",
    )
    group.add_argument(
        "--rendezvous-timeout",
        type=NumberParser(float, 0, example="60", exclusive=True),
        default=60,
        metavar="S",
        help="seconds until all processes have started",
    )
