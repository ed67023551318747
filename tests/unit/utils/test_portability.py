import logging
import mmap
import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import torch

from fastreid.data.loading.workers import kill_workers
from fastreid.utils.files import atomic_write, read_file_bytes
from fastreid.utils.locks import exclusive_lock
from fastreid.utils.mapped_rows import MappedRows
from fastreid.utils.processes import create_worker_pool, defer_signals


def test_lock_without_fcntl_warns_and_continues(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(logging.getLogger("fastreid"), "propagate", True)
    with exclusive_lock(tmp_path / "new/lock", activity="writing", config_key="OUTPUT_DIR"):
        assert (tmp_path / "new/lock").is_file()
    assert f"{tmp_path / 'new'}: this system has no file locks" in caplog.text


def test_files_are_written_and_read_without_fchmod(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "fchmod")
    with atomic_write(tmp_path / "file") as file:
        file.write(b"data")
    assert read_file_bytes(tmp_path / "file") == b"data"


def test_defer_signals_without_pthread_sigmask(monkeypatch):
    monkeypatch.delattr(signal, "pthread_sigmask")
    with defer_signals(signal.SIGINT):
        pass


def test_worker_pool_without_fork_server(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setitem(sys.modules, "multiprocessing.forkserver", None)
    with create_worker_pool(1, preload="fastreid.utils.text") as pool:
        assert pool.submit(abs, -3).result() == 3


def test_workers_are_killed_without_sigchld(monkeypatch):
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    monkeypatch.delattr(signal, "SIGCHLD")
    kill_workers([process])
    assert not process.is_alive()


def test_mapped_rows_without_madvise(tmp_path, monkeypatch):
    monkeypatch.delattr(mmap, "MADV_DONTNEED")
    np.save(tmp_path / "rows.npy", np.ones((3, 2), dtype=np.float32))
    assert torch.equal(MappedRows(np.load(tmp_path / "rows.npy", mmap_mode="r"))[1:], torch.ones(2, 2))


def test_defer_signals_delivers_them_after_the_block():
    received = []
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    try:
        with defer_signals(signal.SIGUSR1):
            signal.raise_signal(signal.SIGUSR1)
            assert received == []
        assert received == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, previous)
