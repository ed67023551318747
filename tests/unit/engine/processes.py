"""Run a function in several gloo processes, forked from a server that has already imported the package."""

import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from fork_server import fork_processes_of_runs, get_server

from fastreid.engine.processes.launch import _process_group, launch
from fastreid.utils.cli import run_tool


def run_in_processes(num, function, folder, *args):
    """Return the result of `function(*args)` in each of `num` processes of one run; `folder` must be empty."""
    (folder / "call.pickle").write_bytes(pickle.dumps((function, args)))
    start = get_server().start
    processes = [start("processes:run_rank", rank, num, sys.path, folder=folder) for rank in range(num)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * num, outputs
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(num)]


def run_rank(rank, num, path):
    """Run the function of `call.pickle` in the working folder as one process of a run."""
    sys.path[:] = path  # those of the test, so that its module can be imported
    function, args = pickle.loads(Path("call.pickle").read_bytes())
    torch.set_num_threads(1)
    store = dist.FileStore("rendezvous", num)
    with _process_group("cpu", 0, store, rank=rank, world_size=num):
        torch.save(function(*args), f"{rank}.pt")


def launch_as_command(options):
    """Launch forked processes that print a line, as a command does; return its exit code."""
    fork_processes_of_runs()
    sys.argv = ["fastreid"]
    return run_tool(lambda arguments: launch(print, device="cpu", **options) or 0)
