"""Let the processes of a run find each other: check the address, wait for all processes, explain faults."""

import errno
import os
import socket
import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.text import escape_unprintable, summarize_error

DEFAULT_TIMEOUT_S = 60  # for all processes to arrive
_POLL_S = 0.1
_LAST_READ_S = 1.0  # the store ends with process 0; the others read the fault before
_MAX_RANKS_SHOWN = 8
_TIMEOUT_HINT = "raise --rendezvous-timeout"


def parse_dist_url(url: str) -> tuple[str, int]:
    """Return the host and port of an address such as tcp://10.0.0.1:29500.

    Raises:
        InputError: the address has another form.
    """
    shown = escape_unprintable(url) or "''"
    if url and "://" not in url:
        raise InputError(f"--dist-url is {shown}, without a scheme; write tcp://{shown}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # the port is not a number from 0 to 65535
        host = port = None
    if not host or not port or parts.scheme != "tcp" or parts.path.strip("/") or parts.query:
        raise InputError(f"--dist-url is {shown}; it must be tcp://HOST:PORT with a port from 1 to 65535")
    return host, port


def check_address(url: str, *, is_server: bool) -> None:
    """Check at once what would otherwise be a timeout: an unknown host, and a port that cannot be opened.

    Args:
        url: address of process 0.
        is_server: whether process 0 runs on this machine.

    Raises:
        InputError: the address has another form than tcp://HOST:PORT.
        EnvironmentSetupError: the host is unknown, or the port is in use.
    """
    host, port = parse_dist_url(url)
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a label of more than 63 characters cannot be encoded
        reason = getattr(error, "strerror", None) or "not a valid name"
        raise EnvironmentSetupError(
            f"--dist-url {escape_unprintable(url)}: the host {escape_unprintable(host)} is unknown ({reason}); check "
            "its name, or use its IP address"
        )
    if not is_server:
        return
    family = addresses[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise _port_error(url, port, error)


def _port_error(url: str, port: int, error: OSError) -> EnvironmentSetupError:
    reason = "is in use on this machine" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
    return EnvironmentSetupError(f"--dist-url {url}: port {port} {reason}; choose another, the same on every machine")


def join_processes(url: str, *, rank: int, world_size: int, timeout_s: float) -> Store:
    """Connect to process 0 (rank 0 opens the port) and wait until all processes have done so.

    Args:
        url: address of process 0, tcp://HOST:PORT.
        rank: process rank.
        world_size: number of processes.
        timeout_s: maximum wait for each of the two.

    Returns:
        The store through which the process group is initialized.

    Raises:
        EnvironmentSetupError: process 0 does not answer, a process does not arrive, or two processes have the same rank
            or different world sizes.
    """
    host, port = parse_dist_url(url)
    try:
        if rank != 0:
            _wait_for_server(host, port, url, timeout_s)
        store = dist.TCPStore(  # type: ignore[attr-defined]  # torch does not list its exports
            host, port, world_size, rank == 0, timeout=timedelta(seconds=timeout_s), wait_for_workers=False
        )
        _wait_for_all(store, url, rank=rank, world_size=world_size, timeout_s=timeout_s)
    except dist.DistError as error:
        raise _explain_store_error(error, url, port, timeout_s)
    return store


def _wait_for_server(host: str, port: int, url: str, timeout_s: float) -> None:
    """Wait until process 0 has opened its port; torch would print its stack when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((host, port), timeout=max(_POLL_S, deadline - time.monotonic())).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise EnvironmentSetupError(
                    f"no answer from process 0 at {url} within {timeout_s:g} s ({error.strerror or error}); start the "
                    f"run on machine 0, check the address and the firewall, or {_TIMEOUT_HINT}"
                )
        time.sleep(_POLL_S)


def _explain_store_error(error: Exception, url: str, port: int, timeout_s: float) -> EnvironmentSetupError:
    text = str(error)
    if "EADDRINUSE" in text or "address already in use" in text.lower():
        return _port_error(url, port, OSError(errno.EADDRINUSE, "in use"))
    if "timed out" in text.lower() or "timeout" in text.lower():
        return EnvironmentSetupError(
            f"not all processes arrived at {url} within {timeout_s:g} s; start all of them, check the address and the "
            f"firewall, or {_TIMEOUT_HINT}"
        )
    return EnvironmentSetupError(
        f"the connection to process 0 at {url} failed ({summarize_error(error)[:120]}); see the error of machine 0"
    )


def _wait_for_all(store: Store, url: str, *, rank: int, world_size: int, timeout_s: float) -> None:
    """Announce this process and wait for the others; a fault that one process finds reaches all of them."""
    expected = store.compare_set("world_size", "", str(world_size)).decode()
    if expected != str(world_size):
        _fail(
            store,
            f"process {rank} was started for {world_size} processes, another one for {expected}; use the same "
            "--num-gpus and --num-machines on every machine",
        )
    if store.add(f"joined/{rank}", 1) > 1:
        _fail(store, f"two processes at {url} have rank {rank}; give each machine another --machine-rank")
    deadline = time.monotonic() + timeout_s
    missing = list(range(world_size))
    while missing := [other for other in missing if not store.check([f"joined/{other}"])]:
        if store.check(["fault"]):
            message = store.get("fault").decode()
            time.sleep(_LAST_READ_S if rank == 0 else 0)
            raise EnvironmentSetupError(message)
        if time.monotonic() > deadline:
            names = ", ".join(map(str, missing[:_MAX_RANKS_SHOWN])) + (
                ", ..." if len(missing) > _MAX_RANKS_SHOWN else ""
            )
            _fail(
                store,
                f"{len(missing)} of {world_size} processes did not arrive at {url} within {timeout_s:g} s (rank "
                f"{names}); start the same command on every machine, each with another --machine-rank, or "
                f"{_TIMEOUT_HINT}",
            )
        time.sleep(_POLL_S)


def _fail(store: Store, message: str) -> None:
    store.set("fault", message)
    time.sleep(_LAST_READ_S)
    raise EnvironmentSetupError(message)


def join_torchrun(timeout_s: float) -> tuple[Store, int, int, int]:
    """Connect to the address in the environment variables of torchrun.

    Returns:
        The store, the process rank, the number of processes, and the rank of this process on its machine.

    Raises:
        EnvironmentSetupError: a variable is missing or invalid, or process 0 does not answer.
    """
    rank, world_size, local_rank = (_read_count(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    host, port = os.environ.get("MASTER_ADDR", ""), _read_count("MASTER_PORT")
    if rank >= world_size:
        raise EnvironmentSetupError(
            f"the environment variable RANK is {rank} and WORLD_SIZE {world_size}; RANK must be lower. Start the "
            "processes with torchrun, or unset both to use --num-gpus"
        )
    if not host:
        raise EnvironmentSetupError(
            "the environment variables RANK and WORLD_SIZE are set, but not MASTER_ADDR; start the processes with "
            "torchrun, or unset them to use --num-gpus"
        )
    address = f"[{host}]" if ":" in host else host
    url = f"tcp://{address}:{port}"
    agent_has_port = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    check_address(url, is_server=rank == 0 and not agent_has_port)
    try:
        if rank != 0 or agent_has_port:
            _wait_for_server(host, port, url, timeout_s)
        store: Any = next(rendezvous("env://", timeout=timedelta(seconds=timeout_s)))[0]
    except (dist.DistError, ValueError) as error:
        raise _explain_store_error(error, url, port, timeout_s)
    return store, rank, world_size, local_rank


def _read_count(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isascii() or not value.isdecimal():
        raise EnvironmentSetupError(
            f"the environment variable {name} is {escape_unprintable(value) or 'not set'}; it must be a number. Start "
            "the processes with torchrun, or unset RANK and WORLD_SIZE to use --num-gpus"
        )
    return int(value)
