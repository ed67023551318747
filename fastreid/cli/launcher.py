"""Run the function of a command in every process of a run."""

import argparse
from collections.abc import Callable


def launch_command(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Call `run(args)` in every process and return the exit code 0.

    The config is checked before any process starts.

    Args:
        run: a module-level function; what each process does.
        args: parsed arguments with `config_file`, `opts` and the options of `add_process_options`.

    Raises:
        InputError: the config is invalid.
        UserFacingError: a process failed; with its message and exit code.
    """
    from fastreid.engine.processes.launch import launch
    from fastreid.engine.setup import load_config

    launch(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        rendezvous_timeout_s=args.rendezvous_timeout,
        device=load_config(args.config_file, args.opts).MODEL.DEVICE,
        args=(args,),
    )
    return 0
