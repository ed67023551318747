"""Work in several gloo processes, which one server that has imported everything makes in no time."""

import multiprocessing

import torch
import torch.distributed as dist


def on_processes(num, work, folder, *args):
    """What `work(*args)` gives in each of `num` processes of one run; `folder` is empty before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fastreid.engine.trainer"])
    processes = [context.Process(target=_take_part, args=(rank, num, folder, work, args)) for rank in range(num)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * num
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(num)]


def _take_part(rank, num, folder, work, args):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=num)
    torch.save(work(*args), folder / f"{rank}.pt")
    dist.destroy_process_group()
