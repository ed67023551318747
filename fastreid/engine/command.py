"""What the commands that take a config file share: read the arguments, start the processes."""

import argparse
from collections.abc import Callable, Sequence

from fastreid.engine.launch import launch
from fastreid.engine.setup import default_argument_parser, load_config


def start(run: Callable[[argparse.Namespace], None], description: str, *, argv: Sequence[str] | None) -> int:
    """Call `run(args)` in every process the command line asks for; the config is checked before any starts."""
    args = default_argument_parser(description).parse_args(argv)
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
