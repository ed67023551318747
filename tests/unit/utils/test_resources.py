"""Real processes whose limits are exhausted: one line, exit code 3 and the fix."""

import errno
import multiprocessing
import os
import resource
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.data.io.cache.store import PageCache
from fastreid.data.loading.loader import TestLoader, Workers
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.structures import Drawing
from fastreid.utils.cli import explain_error
from fastreid.utils.errors import EnvironmentSetupError
from fastreid.utils.files import write_text
from fastreid.utils.processes import map_in_processes
from fastreid.utils.resources import explain_process_limit, find_resource_error


def open_all(folder):
    return [open(folder / str(number), "w") for number in range(100)]


def use_all_handles():
    handles = []
    while True:
        try:
            handles.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return handles


def write_all_open(folder):
    use_all_handles()
    write_text(folder / "file", "text")


def fill_cache(folder):
    cache = PageCache(folder / "cache", longest_px=10)
    use_all_handles()
    cache.fill([Drawing(str(folder / "none.png"), "none.png", "1")])


def start_threads(folder):
    for _ in range(20_000):
        threading.Thread(target=threading.Event().wait, daemon=True).start()


def start_processes(folder):
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    with explain_process_limit():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")  # what `fork` raises; root has no limit


def allocate_tensor(folder):
    torch.zeros(10**12)


def allocate_array(folder):
    np.zeros(10**12)


def allocate_bytes(folder):
    bytearray(10**12)


def call(answers, function, folder, limit):
    number, value = limit
    resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
    try:
        function(folder)
        answers.put(("no error", 0))
    except Exception as error:
        answers.put(explain_error(error))


FILES = "too many open files: this process may open {}; raise the limit with `ulimit -n 4096`"
MEMORY = "not enough memory for {} more; lower SOLVER.IMS_PER_BATCH"


@pytest.mark.parametrize(
    ("function", "limit", "message"),
    [
        (open_all, (resource.RLIMIT_NOFILE, 32), FILES.format(32)),
        (write_all_open, (resource.RLIMIT_NOFILE, 64), FILES.format(64)),
        (fill_cache, (resource.RLIMIT_NOFILE, 64), FILES.format(64)),
        (start_threads, (resource.RLIMIT_AS, 12 << 30), "the system cannot start another thread; lower DATALOADER"),
        (start_processes, (resource.RLIMIT_CORE, 0), "the system cannot start another process (Resource temporarily"),
        (allocate_tensor, (resource.RLIMIT_AS, 8 << 30), MEMORY.format("4,000,000.0 MB")),
        (allocate_array, (resource.RLIMIT_AS, 8 << 30), MEMORY.format("7.28 TiB")),
        (allocate_bytes, (resource.RLIMIT_AS, 8 << 30), "not enough memory; lower SOLVER.IMS_PER_BATCH"),
    ],
)
def test_exhausted_limit_is_an_environment_error(function, limit, message, tmp_path):
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=call, args=(answers, function, tmp_path, limit))
    process.start()
    process.join(timeout=120)
    line, code = answers.get()
    assert code == 3
    assert line.startswith(message), line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("limits", "advice"),
    [
        ((256, resource.RLIM_INFINITY), "256; raise the limit with `ulimit -n 4096`, or lower DATALOADER"),
        ((20000, resource.RLIM_INFINITY), "20000; raise the limit with `ulimit -n 40000`, or lower DATALOADER"),
        ((20000, 30000), "20000; raise the limit with `ulimit -n 30000`, the hard limit, or lower DATALOADER"),
        ((20000, 20000), "20000; raise the limit as an administrator (the hard limit is 20000 too), or lower"),
    ],
)
def test_suggested_limit_of_open_files_is_higher_than_the_present_one(limits, advice, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda number: limits)
    message = str(find_resource_error(OSError(errno.EMFILE, "Too many open files")))
    assert message.startswith(f"too many open files: this process may open {advice}"), message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("can't start new thread"), "cannot start another thread"),
        (RuntimeError("received 0 items of ancdata"), "too many open files"),
        (OSError(errno.ENFILE, "Too many open files in system"), "too many open files"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (MemoryError(), "not enough memory"),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            "not enough memory to load libtorch_cpu.so; raise the limit (`ulimit -v`)",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "the GPU has too little memory for 2.00",
        ),
        (
            torch.AcceleratorError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"),
            "the GPU has too little",
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "the GPU has too little"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), "the GPU has too little memory"),
    ],
)
def test_errors_of_the_machine_are_recognized(error, message):
    assert message in str(find_resource_error(error))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("memory"),
        OSError(errno.EACCES, "denied"),
        RuntimeError("size mismatch"),
        ImportError("a.so: failed to map segment from shared object: Operation not permitted"),
        BlockingIOError(errno.EAGAIN, "write could not complete without blocking"),
    ],
)
def test_other_errors_are_not_errors_of_the_machine(error):
    assert find_resource_error(error) is None


def fail_to_fork(*arguments):
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_pool_that_cannot_start_a_process_names_the_limit(monkeypatch):
    monkeypatch.setattr("multiprocessing.forkserver.ForkServer.ensure_running", fail_to_fork)
    with pytest.raises(EnvironmentSetupError, match=r"cannot start another process .*DATALOADER.NUM_WORKERS"):
        list(map_in_processes(abs, [-1], num_workers=1, preload="fastreid.utils.text", activity="test"))


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_worker_that_cannot_be_started_names_the_limit(monkeypatch, tmp_path):
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    loader = TestLoader(
        [Drawing(str(tmp_path / "a.png"), "a.png", "1")],
        transform=Pipeline([Resize([8, 8], max_pixels=100)]),
        batch_size=1,
        workers=Workers(1, timeout_s=60),
    )
    monkeypatch.setattr(os, "fork", fail_to_fork)
    with pytest.raises(EnvironmentSetupError, match=r"cannot start another process .*lower DATALOADER.NUM_WORKERS"):
        next(iter(loader))
