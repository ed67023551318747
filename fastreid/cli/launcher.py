"""What the commands that take a config file share: read the arguments, start the processes."""

import argparse
from collections.abc import Callable, Sequence

from fastreid.engine.launch import launch
from fastreid.engine.setup import default_argument_parser, load_config


def launch_command(
    run: Callable[[argparse.Namespace], None],
    description: str,
    *,
    argv: Sequence[str] | None,
    options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> int:
    """Call `run(args)` in every process the command line asks for; the config is checked before any starts.

    Args:
        run: what each process does.
        description: what the command is for, for --help.
        argv: the words after the command; those of the shell when None.
        options: adds the command's own options to those all commands have.
    """
    parser = default_argument_parser(description)
    if options is not None:
        options(parser)
    args = parser.parse_args(argv)
    device = load_config(args.config_file, args.opts).MODEL.DEVICE
    launch(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        device=device,
        args=(args,),
    )
    return 0
