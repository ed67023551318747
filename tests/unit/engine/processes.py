"""Run a function in several gloo processes, forked from a server that has already imported the package."""

import multiprocessing

import torch
import torch.distributed as dist


def run_in_processes(num, function, folder, *args):
    """Return the result of `function(*args)` in each of `num` processes of one run; `folder` must be empty."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fastreid.engine.trainer"])
    processes = [context.Process(target=_run_rank, args=(rank, num, folder, function, args)) for rank in range(num)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * num
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(num)]


def _run_rank(rank, num, folder, function, args):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=num)
    torch.save(function(*args), folder / f"{rank}.pt")
    dist.destroy_process_group()
