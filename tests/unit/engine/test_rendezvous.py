"""Real processes that cannot find each other end with one line and exit code 3, or 2 for an invalid address."""

import contextlib
import multiprocessing
import os
import socket
import threading
import time

import pytest
from fork_server import get_server

from fastreid.engine.processes.launch import launch
from fastreid.engine.processes.rendezvous import check_address, join_processes, join_torchrun, parse_dist_url
from fastreid.utils.cli import explain_error
from fastreid.utils.errors import EnvironmentSetupError, InputError


def call(answers, arrived, function, options, environment):
    """Send the result of a function, or the message and exit code of its error, from a forked process."""
    os.environ.update(environment)
    try:
        store = function(**options)
        answers.put(("joined", 0))
        with contextlib.suppress(threading.BrokenBarrierError):
            arrived.wait(timeout=3)  # the store ends with process 0
        del store
    except Exception as error:
        answers.put(explain_error(error))


def run_processes(function, *options, environment=None):
    """Call a function in one forked process for each dict of arguments; return the results in any order."""
    context = multiprocessing.get_context("fork")
    answers, arrived = context.SimpleQueue(), context.Barrier(len(options))
    arguments = [(answers, arrived, function, one, environment or {}) for one in options]
    processes = [context.Process(target=call, args=args) for args in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    return [answers.get() for _ in processes]


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:29519", r"without a scheme; write tcp://127\.0\.0\.1:29519"),
        ("localhost", "without a scheme; write tcp://localhost"),
        ("", "--dist-url is ''; it must be tcp://HOST:PORT with a port"),
        ("tcp://127.0.0.1", "must be tcp://HOST:PORT with a port"),
        ("tcp://127.0.0.1:99999", "must be tcp://HOST:PORT with a port"),
        ("tcp://127.0.0.1:0", "must be tcp://HOST:PORT with a port"),
        ("tcp://:29500", "must be tcp://HOST:PORT with a port"),
        ("http://127.0.0.1:29500", "must be tcp://HOST:PORT with a port"),
        ("file:///tmp/shared", "must be tcp://HOST:PORT with a port"),
        ("tcp://10.0.0.1:a\x1b[31m", r"a\\x1b\[31m; it must be tcp://HOST:PORT"),
    ],
)
def test_invalid_address_is_an_input_error(url, message):
    with pytest.raises(InputError, match=message):
        parse_dist_url(url)


def test_valid_addresses_are_parsed():
    assert parse_dist_url("tcp://10.0.0.1:29500") == ("10.0.0.1", 29500)
    assert parse_dist_url("tcp://[::1]:29500/") == ("::1", 29500)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 80, "256.1.1.1"])
def test_unknown_host_is_reported_at_once(host):
    start = time.monotonic()
    with pytest.raises(EnvironmentSetupError, match=r"is unknown \(.*\); check its name, or use its IP address"):
        check_address(f"tcp://{host}:29500", is_server=False)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_busy_port_is_reported_at_once(address):
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(EnvironmentSetupError, match=rf"port {port} is in use on this machine; choose another"):
            check_address(f"tcp://127.0.0.1:{port}", is_server=True)
        check_address(f"tcp://127.0.0.1:{port}", is_server=False)
    check_address(f"tcp://127.0.0.1:{port}", is_server=True)


def test_all_processes_find_each_other():
    options = {"url": f"tcp://127.0.0.1:{find_port()}", "world_size": 3, "timeout_s": 60}
    results = run_processes(join_processes, *({**options, "rank": rank} for rank in range(3)))
    assert results == [("joined", 0)] * 3


@pytest.mark.parametrize("rank", [0, 1])
def test_missing_process_ends_the_wait(rank):
    url = f"tcp://127.0.0.1:{find_port()}"
    [(line, code)] = run_processes(join_processes, {"url": url, "rank": rank, "world_size": 2, "timeout_s": 1})
    assert code == 3
    assert line.startswith(
        f"{('1 of 2 processes did not arrive at', 'no answer from process 0 at')[rank]} {url} within 1 s"
    )
    assert line.endswith("or raise --rendezvous-timeout")


def test_two_processes_with_the_same_rank_are_reported():
    options = {"url": f"tcp://127.0.0.1:{find_port()}", "world_size": 3, "timeout_s": 40}
    results = run_processes(join_processes, *({**options, "rank": rank} for rank in (0, 1, 1)))
    assert {code for _, code in results} == {3}
    assert all(line.endswith("have rank 1; give each machine another --machine-rank") for line, _ in results)


def test_different_numbers_of_processes_are_reported():
    options = {"url": f"tcp://127.0.0.1:{find_port()}", "timeout_s": 40}
    started = ({**options, "rank": 0, "world_size": 2}, {**options, "rank": 1, "world_size": 3})
    results = run_processes(join_processes, *started)
    assert {code for _, code in results} == {3}
    assert all(line.endswith("use the same --num-gpus and --num-machines on every machine") for line, _ in results)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "x"}, "the environment variable RANK is x; it must be a number"),
        ({"LOCAL_RANK": ""}, "the environment variable LOCAL_RANK is not set"),
        ({"RANK": "2"}, "RANK is 2 and WORLD_SIZE 2; RANK must be lower"),
        ({"MASTER_ADDR": ""}, "but not MASTER_ADDR"),
        ({"MASTER_ADDR": "no.invalid"}, "the host no.invalid is unknown"),
        ({"MASTER_PORT": "\x1b[31m"}, r"the environment variable MASTER_PORT is \x1b[31m; it must be a number"),
        ({}, "no answer from process 0 at tcp://127.0.0.1:"),
    ],
)
def test_invalid_variables_of_torchrun_are_reported(variables, message):
    environment = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    environment |= {"MASTER_PORT": str(find_port()), "TORCHELASTIC_USE_AGENT_STORE": "", **variables}
    [(line, code)] = run_processes(join_torchrun, {"timeout_s": 1}, environment=environment)
    assert code == 3
    assert message in line


@pytest.mark.parametrize(
    ("url", "code"), [("127.0.0.1:29519", 2), ("tcp://no.invalid:29519", 3), ("tcp://127.0.0.1:{busy}", 3)]
)
def test_launch_checks_the_address_before_it_starts_processes(url, code):
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = url.format(busy=server.getsockname()[1])
        with pytest.raises((InputError, EnvironmentSetupError)) as error:
            launch(print, 2, device="cpu", dist_url=url)
    assert error.value.exit_code == code
    assert time.monotonic() - start < 30


def test_missing_machine_is_one_line_and_exit_code_3(tmp_path):
    options = {"num_machines": 2, "dist_url": f"tcp://127.0.0.1:{find_port()}", "rendezvous_timeout_s": 1}
    process = get_server().start("processes:launch_as_command", options, folder=tmp_path)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 3
    [line] = errors.splitlines()
    assert line.startswith("1 of 2 processes did not arrive at")
