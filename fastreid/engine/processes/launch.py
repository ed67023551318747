"""Run a function in one or several processes, started here or by torchrun."""

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
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from fastreid.engine.processes.rendezvous import (
    DEFAULT_TIMEOUT_S,
    check_address,
    join_processes,
    join_torchrun,
    parse_dist_url,
)
from fastreid.utils.cli import UserFacingError, explain_error
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.logger import setup_logger
from fastreid.utils.resources import explain_process_limit
from fastreid.utils.termination import TerminatedError
from fastreid.utils.text import summarize_error

TIMEOUT = timedelta(minutes=30)  # maximum wait of a process for another one, for example during an evaluation
PR_SET_PDEATHSIG = 1  # option of prctl(2)


class PeerDiedError(EnvironmentSetupError):
    """Another process of the run has died; the cause is the error of that process."""


def launch(
    main: Callable[..., Any],
    num_gpus: int = 1,
    *,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    device: str = "cuda",
    rendezvous_timeout_s: float = DEFAULT_TIMEOUT_S,
    args: tuple[Any, ...] = (),
) -> Any:
    """Call `main(*args)` in one process per GPU, or per CPU process if `device` is cpu, and wait for all.

    Under torchrun (RANK and WORLD_SIZE are set) the processes already exist, and this one joins the process group.

    Args:
        main: function to run.
        num_gpus: processes on this machine.
        num_machines: number of machines.
        machine_rank: index of this machine.
        dist_url: address of process 0, such as tcp://10.0.0.1:29500; "auto" finds a port on this machine.
        device: cuda or cpu.
        rendezvous_timeout_s: maximum wait until all processes have started.
        args: arguments of `main`.

    Returns:
        The result of `main` with a single process or under torchrun; otherwise 0.

    Raises:
        EnvironmentSetupError: this machine has fewer GPUs, the processes do not find each other, or one has died.
        InputError: an argument is invalid, or several machines have no common `dist_url`.
        UserFacingError: `main` has failed in one of several processes.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return _run_under_torchrun(main, args, device, rendezvous_timeout_s)
    _check_arguments(num_gpus, num_machines, machine_rank, dist_url, device)
    world_size = num_gpus * num_machines
    if world_size == 1:
        return main(*args)
    if dist_url != "auto":
        check_address(dist_url, is_server=machine_rank == 0)
    url = f"tcp://127.0.0.1:{_find_free_port()}" if dist_url == "auto" else dist_url
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # no C++ stacks after the one line of an error
    with explain_process_limit():
        errors = mp.get_context("spawn").SimpleQueue()  # starts the process that tracks semaphores
    group = (num_gpus, world_size, machine_rank, url, device, rendezvous_timeout_s)
    try:
        with explain_process_limit():
            processes = spawn(  # type: ignore[no-untyped-call]  # torch has no annotation
                _run_worker, args=(main, args, errors, *group), nprocs=num_gpus, join=False, start_method="spawn"
            )
        with _forward_sigterm(processes):
            while not processes.join():
                continue
    except (ProcessRaisedException, ProcessExitedException) as error:
        raise _root_cause(errors, processes.processes, error)
    return 0


def _root_cause(errors: Any, processes: Sequence[Any], spawn_error: Exception) -> Exception:
    """Return the error that ended a run of several processes.

    This is the first error of a process that did not fail because of another one; otherwise the processes that were
    killed; otherwise the error of `mp.spawn`.
    """
    reported = []
    while not errors.empty():
        reported.append(errors.get())
    for is_peer_error, line, exit_code in reported:
        if not is_peer_error:
            return UserFacingError(line, exit_code)
    exit_codes = [process.exitcode or 0 for process in processes]
    killed = [
        f"process {rank} by signal {-code}"
        for rank, code in enumerate(exit_codes)
        if code < 0 and -code != signal.SIGTERM
    ]
    cause = f"killed: {', '.join(killed)}" if killed else summarize_error(spawn_error)
    return EnvironmentSetupError(f"a process of the run died ({cause}); the others were stopped; resume with --resume")


def _check_arguments(num_gpus: int, num_machines: int, machine_rank: int, dist_url: str, device: str) -> None:
    if num_gpus < 1 or num_machines < 1:
        raise InputError(f"--num-gpus {num_gpus} --num-machines {num_machines}: both must be 1 or more")
    if not 0 <= machine_rank < num_machines:
        raise InputError(
            f"--machine-rank is {machine_rank} and --num-machines {num_machines}; the rank must be an integer from 0 "
            f"to {num_machines - 1}"
        )
    if dist_url != "auto":
        parse_dist_url(dist_url)
    if num_gpus > 1 and device not in ("cuda", "cpu"):
        raise InputError(f"MODEL.DEVICE is {device}, one device, and --num-gpus {num_gpus}; set MODEL.DEVICE cuda")
    if num_machines > 1 and dist_url == "auto":
        raise InputError("--num-machines needs --dist-url tcp://FIRST_MACHINE:PORT, the same on every machine")
    if device.startswith("cuda") and num_gpus > 1 and torch.cuda.device_count() < num_gpus:
        raise EnvironmentSetupError(
            f"--num-gpus {num_gpus}: this machine has {torch.cuda.device_count()} GPUs; use a lower number"
        )


def _run_worker(
    local_rank: int,
    main: Callable[..., Any],
    args: tuple[Any, ...],
    errors: Any,
    num_local: int,
    world_size: int,
    machine_rank: int,
    url: str,
    device: str,
    rendezvous_timeout_s: float,
) -> None:
    os.environ["LOCAL_WORLD_SIZE"] = str(num_local)  # as torchrun does; loaders share the memory of the machine
    rank = machine_rank * num_local + local_rank
    setup_logger(rank=rank)  # a new process has no logger; a run with an OUTPUT_DIR configures its own later
    try:
        store = join_processes(url, rank=rank, world_size=world_size, timeout_s=rendezvous_timeout_s)
        with _process_group(device, local_rank, store, rank=rank, world_size=world_size):
            main(*args)
    except (Exception, TerminatedError) as error:
        errors.put((isinstance(error, PeerDiedError), *explain_error(error)))
        raise


@contextlib.contextmanager
def _forward_sigterm(processes: Any) -> Iterator[None]:
    """Forward SIGTERM to the processes, which save a checkpoint and exit; a terminal sends Ctrl-C to them directly."""

    def forward(number: int, frame: Any) -> None:
        for process in processes.processes:
            if process.is_alive():
                os.kill(process.pid, number)

    previous = signal.signal(signal.SIGTERM, forward), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), previous):
            signal.signal(number, handler)


def _run_under_torchrun(main: Callable[..., Any], args: tuple[Any, ...], device: str, timeout_s: float) -> Any:
    _stop_with_parent()
    store, rank, world_size, local_rank = join_torchrun(timeout_s)
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun keeps one store across restarts, in which a new process would find the address of a dead one (torch
        # 2.14). The restart counts of several machines differ; docs/training.md describes what to set there.
        store = PrefixStore(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    with _process_group(device, local_rank, store, rank=rank, world_size=world_size):
        return main(*args)


@contextlib.contextmanager
def _process_group(device: str, local_rank: int, store: Store, *, rank: int, world_size: int) -> Iterator[None]:
    """Join the process group of the run in this context; if another process dies, raise PeerDiedError."""
    # Its functions have the group of the moment of its import as a default. Imported later, by torch itself, they would
    # keep the group and its threads; one that frees a tensor while Python exits aborts the process (torch 2.14).
    import torch.distributed.nn.functional

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(local_rank)
    try:
        store.set_timeout(TIMEOUT)
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=world_size)
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            cause = summarize_error(error)[:120]
            raise PeerDiedError(f"another process of the run died ({cause}); resume with --resume")
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _stop_with_parent() -> None:
    """Request SIGTERM, on which a run saves a checkpoint and exits, for when the parent process is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
