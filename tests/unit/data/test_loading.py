import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.data.loading import loader as loader_module
from fastreid.data.loading.batches import Sample, collate
from fastreid.data.loading.loader import TestLoader, TrainLoader, Workers
from fastreid.data.samplers.identity import BalancedIdentitySampler
from fastreid.data.samplers.instance import TrainingSampler
from fastreid.data.transforms.autoaugment import AutoAugment
from fastreid.data.transforms.pipeline import PadAndCrop, Pipeline, Resize
from fastreid.data.transforms.random_erasing import RandomErasing
from fastreid.structures import Drawing
from fastreid.utils.errors import EnvironmentSetupError, InputError

BATCH = 8


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    rng = np.random.default_rng(0)
    drawings = []
    for row in range(30):
        path = folder / f"{row}.png"
        Image.fromarray(rng.integers(0, 256, (20, 24), dtype=np.uint8)).save(path)
        drawings.append(Drawing(str(path), path.name, str(row // 3), source=f"list.txt:{row + 1}"))
    return tuple(drawings)


def make_random_transform():
    steps = [AutoAugment(0.7, fill=255), Resize([16, 16], max_pixels=10**6), PadAndCrop(3, mode="constant", fill=255)]
    return Pipeline(steps, [RandomErasing(0.5, value=[10, 20, 30])])


def make_train_loader(drawings, *, num_workers=0, transform=None, sampler=None, timeout_s=60, **options):
    return TrainLoader(
        drawings,
        transform=transform or make_random_transform(),
        sampler=sampler or TrainingSampler(len(drawings), batch_size=BATCH, seed=5),
        batch_size=BATCH,
        seed=5,
        workers=Workers(num_workers, timeout_s=timeout_s),
        **options,
    )


def take(loader, num_batches):
    try:
        return list(islice(loader, num_batches))
    finally:
        loader.close()


def batches_equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(one.images, other.images)
        and torch.equal(one.rows, other.rows)
        and torch.equal(one.targets, other.targets)
        for one, other in zip(first, second)
    )


def test_training_batch_has_images_labels_and_rows(drawings):
    loader = make_train_loader(drawings)
    (batch,) = take(loader, 1)
    assert batch.images.shape == (BATCH, 3, 16, 16)
    assert [loader.patents[target] for target in batch.targets] == [drawings[row].patent for row in batch.rows]
    assert (loader.num_classes, loader.iters_per_epoch) == (10, 3)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_batches_do_not_depend_on_number_of_workers(drawings, num_workers):
    assert batches_equal(
        take(make_train_loader(drawings, num_workers=num_workers), 7), take(make_train_loader(drawings), 7)
    )


def test_spawned_workers_give_the_same_batches(drawings, monkeypatch):
    """Only Linux forks the workers."""
    monkeypatch.setattr(loader_module, "sys", SimpleNamespace(platform="darwin"))
    method = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        loader = make_train_loader(drawings, num_workers=1)
        first = next(loader)
        [worker] = multiprocessing.active_children()
        assert type(worker._popen).__module__ == "multiprocessing.popen_spawn_posix"
        batches = [first, *take(loader, 2)]
    finally:
        multiprocessing.set_start_method(method, force=True)
    assert batches_equal(batches, take(make_train_loader(drawings), 3))


def test_more_workers_than_cores_give_no_warning(drawings, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert batches_equal(take(make_train_loader(drawings, num_workers=2), 1), take(make_train_loader(drawings), 1))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_loader_continues_the_uninterrupted_one(drawings, num_workers):
    whole = take(make_train_loader(drawings), 9)
    assert batches_equal(take(make_train_loader(drawings, start_iteration=5, num_workers=num_workers), 4), whole[5:])


def test_two_processes_share_the_batches_of_one(drawings):
    targets = [int(drawing.patent) for drawing in drawings]
    sampler = BalancedIdentitySampler(targets, batch_size=BATCH, num_instance=2, seed=5)
    alone = take(make_train_loader(drawings, sampler=sampler), 5)
    shares = [take(make_train_loader(drawings, sampler=sampler, rank=rank, world_size=2), 5) for rank in range(2)]
    for whole, first, second in zip(alone, *shares):
        assert torch.equal(whole.images, torch.cat([first.images, second.images]))
        assert torch.equal(whole.rows, torch.cat([first.rows, second.rows]))
        assert not set(first.targets.tolist()) & set(second.targets.tolist())


class ConstantSampler:
    """A sampler that repeats the same rows."""

    def batches(self, start_iteration=0):
        while True:
            yield list(range(BATCH))


def test_repeated_drawing_is_augmented_differently(drawings):
    first, second = take(make_train_loader(drawings, sampler=ConstantSampler()), 2)
    num_changed = sum(not torch.equal(one, other) for one, other in zip(first.images, second.images))
    assert num_changed > BATCH / 2


def test_loading_does_not_advance_the_global_generator(drawings):
    for num_workers in (0, 1):
        torch.manual_seed(1)
        take(make_train_loader(drawings, num_workers=num_workers), 2)
        after = torch.rand(())
        torch.manual_seed(1)
        assert torch.equal(torch.rand(()), after)


def test_closed_loader_is_exhausted(drawings):
    loader = make_train_loader(drawings)
    next(loader)
    loader.close()
    assert list(loader) == []


def test_short_list_and_uneven_division_raise(drawings):
    with pytest.raises(
        InputError, match=r"7 training drawings are fewer than one batch; lower SOLVER\.IMS_PER_BATCH 8"
    ):
        make_train_loader(drawings[:7])
    with pytest.raises(InputError, match="allowed are multiples of the 3 devices"):
        make_train_loader(drawings, world_size=3)
    with pytest.raises(InputError, match="allowed are 0 and more"):
        Workers(-1)


def make_test_loader(drawings, *, num_workers=0, batch_size=7, transform=None, **options):
    return TestLoader(
        drawings,
        transform=transform or Pipeline([Resize([16, 16], max_pixels=10**6)]),
        batch_size=batch_size,
        workers=Workers(num_workers, timeout_s=60),
        **options,
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_loader_repeats_the_list_in_order(drawings, num_workers):
    loader = make_test_loader(drawings, num_workers=num_workers)
    once, again = list(loader), list(loader)
    assert batches_equal(once, again)
    assert torch.cat([batch.rows for batch in once]).tolist() == list(range(30))
    assert len(once) == len(loader) == 5
    assert batches_equal(once, list(make_test_loader(drawings)))


def test_processes_of_a_test_share_its_batches(drawings):
    shares = [batch for rank in range(2) for batch in make_test_loader(drawings, rank=rank, world_size=2)]
    assert batches_equal(shares, list(make_test_loader(drawings)))


@pytest.fixture
def one_unreadable(drawings, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    unreadable = Drawing(str(tmp_path / "bad.png"), "bad.png", "3", source="list.txt:99")
    return (*drawings[:11], unreadable, *drawings[12:])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_image_stops_a_test_with_one_line(one_unreadable, num_workers):
    with pytest.raises(InputError) as caught:
        list(make_test_loader(one_unreadable, num_workers=num_workers))
    assert str(caught.value).startswith("list.txt:99: ")
    assert "bad.png: not an image" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_image_stops_training_with_one_line(one_unreadable, num_workers):
    with pytest.raises(
        InputError, match=r"^list\.txt:99: .*bad\.png: not an image; allowed are [^;]*; replace the file, or set INPUT"
    ) as caught:
        take(make_train_loader(one_unreadable, num_workers=num_workers), 8)
    assert str(caught.value).endswith("; replace the file, or set INPUT.ON_BAD_IMAGE skip to train without it")


def test_page_that_cannot_be_resized_is_named(drawings):
    with pytest.raises(InputError, match=r"^list\.txt:1: .*0\.png: a page of 24 x 20 px would become 19 x 16"):
        list(make_test_loader(drawings, transform=Pipeline([Resize([16], max_pixels=10)])))


class Kill:
    """A transform that kills the worker, as the kernel does when memory runs out."""

    def prepare(self, page):
        os.kill(os.getpid(), signal.SIGKILL)


class Hang:
    def prepare(self, page):
        time.sleep(30)


def test_killed_worker_raises_error_with_hint(drawings):
    with pytest.raises(
        EnvironmentSetupError, match=r"died .*first 0\.png, 1\.png, 2\.png; lower DATALOADER\.NUM_WORKERS"
    ):
        list(make_test_loader(drawings, num_workers=1, transform=Kill()))


def test_worker_error_names_the_pending_drawings(drawings):
    loader = make_train_loader(drawings, num_workers=1)
    next(loader)
    message = str(loader.worker_error("DataLoader worker (pid 7) is killed by signal: Killed."))
    loader.close()
    assert re.search(
        r"died \(DataLoader worker \(pid 7\) .*\) while loading [1-9]\d* drawings, the first \d+\.png", message
    )


def test_signal_to_workers_loses_no_batch(drawings):
    loader = make_train_loader(drawings, num_workers=2)
    first = next(loader)
    workers = [str(worker.pid) for worker in multiprocessing.active_children()]
    subprocess.run(
        ["kill", "-TERM", *workers], check=True
    )  # by another process: from this one it would end the workers
    assert batches_equal([first, *take(loader, 8)], take(make_train_loader(drawings), 9))


def test_stuck_worker_raises_after_the_timeout(drawings):
    loader = make_train_loader(drawings, num_workers=1, transform=Hang(), timeout_s=1)
    started = time.monotonic()
    with pytest.raises(
        EnvironmentSetupError, match=r"no batch for 1 s while loading 8 drawings, .*DATALOADER\.TIMEOUT_S"
    ):
        next(loader)
    loader.close()
    assert multiprocessing.active_children() == []
    assert time.monotonic() - started < 15


def test_drawings_of_different_sizes_are_not_stacked():
    error = collate([Sample(torch.zeros(1, 4, height), torch.zeros(0), 0, 0) for height in (5, 6)])
    assert isinstance(error, InputError)
    assert "2 sizes (4 x 5, 4 x 6 px)" in str(error)


LOADING_SCRIPT = """
import re, numpy, torch
from fastreid.data.loading.loader import TestLoader, Workers
from fastreid.data.transforms.pipeline import Pipeline
from fastreid.structures import Drawing
def anonymous_mib():
    return int(re.search(r"Anonymous: +(\\d+)", open("/proc/self/smaps_rollup").read())[1]) / 1024
torch.set_num_threads(1)
page = numpy.full((256, 256), 255, numpy.uint8)
drawings = [Drawing("", str(number), "1") for number in range(30 * 64)]
memory = []
for _ in range(2):
    for batch in TestLoader(drawings, transform=Pipeline([]), batch_size=64, workers=Workers(2), read=lambda _: page):
        memory.append(anonymous_mib())
print(max(memory) - memory[0])
"""


def test_batches_reuse_memory():
    """Runs in a separate process. Glibc before 2.38 does not reuse torch's blocks of 16 MiB; 570 MiB were allocated."""
    run = subprocess.run([sys.executable, "-c", LOADING_SCRIPT], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 150


class Stop:
    """A transform that stops the worker, as a dead disk does: it reacts to SIGKILL only."""

    def prepare(self, page):
        os.kill(os.getpid(), signal.SIGSTOP)


def test_stopped_worker_is_killed(drawings):
    loader = make_train_loader(drawings, num_workers=1, transform=Stop(), timeout_s=1)
    with pytest.raises(EnvironmentSetupError, match="no batch for 1 s"):
        next(loader)
    assert multiprocessing.active_children() == []
