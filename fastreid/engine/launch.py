"""One process or many: started here, or by torchrun."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from fastreid.utils.cli import UserFacingError, explain_error
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.logger import setup_logger
from fastreid.utils.text import summarize_error

TIMEOUT = timedelta(minutes=30)  # the longest one process may wait for another, an evaluation included
PR_SET_PDEATHSIG = 1  # PR_SET_PDEATHSIG of Linux's prctl


class PeerDiedError(EnvironmentSetupError):
    """Another process of the run is gone; why, is for that one to tell."""


def launch(
    main: Callable[..., Any],
    num_gpus: int = 1,
    *,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    device: str = "cuda",
    args: tuple = (),
) -> Any:
    """Call `main(*args)` in one process per GPU (or per CPU process, when `device` is cpu) and wait for all.

    Under torchrun (RANK and WORLD_SIZE set) the processes exist already and this one joins them.

    Args:
        main: what to run; returns what a single process should give back.
        num_gpus: processes on this machine.
        num_machines: machines in all.
        machine_rank: this machine's number.
        dist_url: where process 0 listens, such as tcp://10.0.0.1:29500; "auto" finds a port on this machine.
        device: cuda or cpu.
        args: handed to `main`.

    Raises:
        EnvironmentSetupError: there are not as many GPUs.
        InputError: several machines without a common `dist_url`.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return _run_under_torchrun(main, args, device)
    _check_arguments(num_gpus, num_machines, machine_rank, dist_url, device)
    world_size = num_gpus * num_machines
    if world_size == 1:
        return main(*args)
    url = f"tcp://127.0.0.1:{_find_free_port()}" if dist_url == "auto" else dist_url
    faults = mp.get_context("spawn").SimpleQueue()
    where = (num_gpus, world_size, machine_rank, url, device)
    try:
        processes = mp.spawn(
            _run_worker, args=(main, args, faults, *where), nprocs=num_gpus, join=False, start_method="spawn"
        )
        with _forward_sigterm(processes):
            while not processes.join():
                continue
    except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
        raise _root_cause(faults, processes.processes, error)
    return 0


def _root_cause(faults: Any, processes: Sequence[Any], error: Exception) -> Exception:
    """What ended a run of several processes: what one of them told, else that one was killed, else what there is."""
    told = []
    while not faults.empty():
        told.append(faults.get())
    for is_lost, line, exit_code in told:
        if not is_lost:
            return UserFacingError(line, exit_code)
    ends = [process.exitcode or 0 for process in processes]
    killed = [
        f"process {rank} by signal {-code}" for rank, code in enumerate(ends) if code < 0 and -code != signal.SIGTERM
    ]
    what = f"killed: {', '.join(killed)}" if killed else summarize_error(error)
    return EnvironmentSetupError(f"a process of the run died ({what}); the others were stopped; go on with --resume")


def _check_arguments(num_gpus: int, num_machines: int, machine_rank: int, dist_url: str, device: str) -> None:
    if num_gpus < 1 or num_machines < 1:
        raise InputError(f"--num-gpus {num_gpus} --num-machines {num_machines}: both are at least 1")
    if not 0 <= machine_rank < num_machines:
        raise InputError(f"--machine-rank {machine_rank}: machines are counted from 0 to {num_machines - 1}")
    if num_gpus > 1 and device not in ("cuda", "cpu"):
        raise InputError(f"MODEL.DEVICE is {device}, one GPU, and --num-gpus {num_gpus}; set MODEL.DEVICE cuda")
    if num_machines > 1 and dist_url == "auto":
        raise InputError("--num-machines needs --dist-url tcp://FIRST_MACHINE:PORT, the same on every machine")
    if device.startswith("cuda") and num_gpus > 1 and torch.cuda.device_count() < num_gpus:
        raise EnvironmentSetupError(
            f"--num-gpus {num_gpus}: this machine has {torch.cuda.device_count()}; ask for fewer"
        )


def _run_worker(
    local_rank: int,
    main: Callable,
    args: tuple,
    faults: Any,
    num_local: int,
    world_size: int,
    machine: int,
    url: str,
    device: str,
) -> None:
    rank = machine * num_local + local_rank
    setup_logger(rank=rank)  # a new process has none; a run that takes an OUTPUT_DIR sets up its own
    try:
        with _process_group(device, local_rank, init_method=url, rank=rank, world_size=world_size):
            main(*args)
    except Exception as error:
        faults.put((isinstance(error, PeerDiedError), *explain_error(error)))
        raise


@contextlib.contextmanager
def _forward_sigterm(processes: Any) -> Iterator[None]:
    """Inside, SIGTERM goes on to the processes, which save and leave; Ctrl-C reaches them by itself."""

    def tell(number: int, frame: Any) -> None:
        for process in processes.processes:
            if process.is_alive():
                os.kill(process.pid, number)

    before = signal.signal(signal.SIGTERM, tell), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before):
            signal.signal(number, handler)


def _run_under_torchrun(main: Callable, args: tuple, device: str) -> Any:
    _stop_with_parent()
    store, rank, world_size = next(dist.rendezvous("env://", timeout=TIMEOUT))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun keeps one store for all its restarts, where a new process would find a dead one's address (torch
        # 2.14). Several machines do not count their restarts alike; docs/training.md tells what they set instead.
        store = dist.PrefixStore(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    with _process_group(device, int(os.environ["LOCAL_RANK"]), store=store, rank=rank, world_size=world_size):
        return main(*args)


@contextlib.contextmanager
def _process_group(device: str, local_rank: int, **where: Any) -> Iterator[None]:
    """Inside, this process is one of the run's; the loss of another one is told as such."""
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(local_rank)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=TIMEOUT, **where)
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            raise PeerDiedError(f"another process of the run was lost ({summarize_error(error)[:120]}); go on with --resume")
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _stop_with_parent() -> None:
    """Ask for SIGTERM, at which a run saves and leaves, when the process that started this one is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
