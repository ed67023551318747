"""The `fastreid` command: find the sub-command, parse its options, run it."""

import gc
from collections.abc import Sequence

from fastreid import __version__
from fastreid.cli import (
    ablate,
    average,
    batch_size,
    compare,
    completion,
    configs_copy,
    configs_list,
    data_cache,
    data_check,
    data_measure,
    data_show,
    data_synth,
    doctor,
    export,
    extract,
    index_add,
    index_check,
    index_compact,
    index_create,
    index_export,
    index_info,
    index_remove,
    index_update,
    models_calibrate,
    models_download,
    models_list,
    models_save,
    models_show,
    predict,
    search,
    serve,
    test,
    train,
    tune,
)
from fastreid.cli.command import Command
from fastreid.utils.arguments import CommandParser, add_output_options
from fastreid.utils.cli import run_tool

COMMANDS: tuple[Command, ...] = (
    train.COMMAND,
    test.COMMAND,
    extract.COMMAND,
    predict.COMMAND,
    export.COMMAND,
    search.COMMAND,
    serve.COMMAND,
    index_create.COMMAND,
    index_add.COMMAND,
    index_update.COMMAND,
    index_remove.COMMAND,
    index_info.COMMAND,
    index_check.COMMAND,
    index_compact.COMMAND,
    index_export.COMMAND,
    data_check.COMMAND,
    data_cache.COMMAND,
    data_synth.COMMAND,
    data_show.COMMAND,
    data_measure.COMMAND,
    tune.COMMAND,
    ablate.COMMAND,
    compare.COMMAND,
    average.COMMAND,
    batch_size.COMMAND,
    configs_list.COMMAND,
    configs_copy.COMMAND,
    models_list.COMMAND,
    models_show.COMMAND,
    models_download.COMMAND,
    models_save.COMMAND,
    models_calibrate.COMMAND,
    doctor.COMMAND,
    completion.COMMAND,
)
GROUPS = {
    "data": "Check, cache, render, show and measure drawings.",
    "configs": "List and copy the shipped configs.",
    "index": "Create, fill and maintain searchable collections of drawings.",
    "models": "List, show, download, save and calibrate networks with weights.",
}


class RootParser(CommandParser):
    """The parser of `fastreid` itself; its help lists all sub-commands, also those of groups."""

    def format_help(self) -> str:
        """Return the usage, one line per sub-command, and an example."""
        width = max(len(command.name) for command in COMMANDS) + 2
        lines = [f"  {command.name:{width}}{command.help}" for command in COMMANDS]
        return "\n".join(
            [
                "usage: fastreid COMMAND [OPTIONS]\n",
                f"{self.description}\n",
                "commands:",
                *lines,
                "\noptions:",
                f"  {'--help':{width}}print this help, or that of a command: fastreid train --help",
                f"  {'--version':{width}}print the version\n",
                "Every command accepts --quiet (only warnings and results) and --debug (all messages, tracebacks).\n",
            ]
        )


def build_parser() -> CommandParser:
    """Return the parser of `fastreid` with all sub-commands."""
    parser = RootParser("fastreid", description="Find the drawings of the same patent: train, test and search.")
    parser.add_argument("--version", action="version", version=f"fastreid {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", prog="fastreid", parser_class=CommandParser)
    groups = {}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group and group not in groups:
            child = subparsers.add_parser(group, help=GROUPS[group], description=GROUPS[group])
            groups[group] = child.add_subparsers(
                metavar="COMMAND", prog=f"fastreid {group}", required=True, parser_class=CommandParser
            )
        parent = groups[group] if group else subparsers
        child = parent.add_parser(name, help=command.help, description=command.help, example=command.example)
        command.add_options(child)
        add_output_options(child)
        child.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code.

    Args:
        argv: the words after `fastreid`; None: those of the shell.

    Raises:
        InputError: the command, an option or a value is invalid.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    run = vars(args).pop("run", None)
    if run is None:
        parser.print_help()
        return 0
    exit_code: int = run(args)
    return exit_code


def main_entry() -> int:
    """Run the command line of the shell; errors are one line on stderr."""
    try:
        return run_tool(main)
    finally:
        gc.freeze()  # Python's last garbage collection would visit all objects of torch for half a second
