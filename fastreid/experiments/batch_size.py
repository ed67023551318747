"""Find the largest batch size that fits in memory: train with doubling sizes until one does not fit."""

import os
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fastreid.config import CfgNode
from fastreid.data.transforms.build import build_train_transforms
from fastreid.engine.build import build_step
from fastreid.engine.data import build_datasets
from fastreid.engine.model.network import build_training_model
from fastreid.engine.run_checks import check_component_names
from fastreid.engine.setup import resolve_device
from fastreid.engine.step.train_step import TrainStep
from fastreid.modeling.heads import EmbeddingHead
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import EnvironmentSetupError, InputError

BLANK_PAGE_PX = (2200, 1700)  # height and width of a page as patent offices scan them


@dataclass(frozen=True)
class BatchSizeTrial:
    """Result of one batch size.

    Args:
        size: drawings per step.
        drawings_per_second: from the median of the steps after the first; 0 if the size does not fit.
        memory_mb: peak memory in MiB; if the size does not fit, the prediction, or 0 if the device ran out of memory.
        fits: whether the peak is within the budget.
    """

    size: int
    drawings_per_second: float
    memory_mb: float
    fits: bool


def find_batch_size(
    sizes: Iterable[int], measure: Callable[[int], tuple[float, float]], *, budget_mb: float
) -> Iterator[BatchSizeTrial]:
    """Try sizes in increasing order until one does not fit, and yield the result of each.

    Memory grows linearly with the number of drawings, so the two previous sizes predict the next one. A size predicted
    to exceed the budget is not tried, because a process that runs out of CPU memory is killed.

    Args:
        sizes: drawings per step, increasing.
        measure: trains with a size; returns drawings per second and the peak memory in MiB.
        budget_mb: available memory in MiB.

    Yields:
        The result of each size; the last one may not fit.
    """
    done: list[BatchSizeTrial] = []
    for size in sizes:
        expected = _predict_memory_mb(done[-2:], size)
        if expected > budget_mb:
            yield BatchSizeTrial(size, 0.0, expected, False)
            return
        try:
            per_second, memory_mb = measure(size)
        except torch.OutOfMemoryError:
            yield BatchSizeTrial(size, 0.0, 0.0, False)
            return
        done.append(BatchSizeTrial(size, per_second, memory_mb, memory_mb <= budget_mb))
        yield done[-1]
        if not done[-1].fits:
            return


def doubling_sizes(first: int, last: int) -> Iterator[int]:
    """Yield first, 2 * first, 4 * first and so on, up to `last`."""
    while first <= last:
        yield first
        first *= 2


def measure_step(
    step: TrainStep,
    size: int,
    *,
    num_instance: int,
    num_classes: int,
    image_size_px: tuple[int, int],
    num_steps: int,
    before_step: Callable[[int], object] = lambda number: None,
) -> tuple[float, float]:
    """Train a few steps on noise; return drawings per second (median step) and the peak memory in MiB.

    The first step is a warm-up, which also allocates the optimizer's state, and is not timed.

    Args:
        step: training step; its batch-norm statistics are of no use afterwards.
        size: drawings per step.
        num_instance: drawings per patent.
        num_classes: classes of the head.
        image_size_px: height and width of the images.
        num_steps: timed steps.
        before_step: called with the iteration before each step, as in a run.

    Raises:
        torch.OutOfMemoryError: the size does not fit on a GPU.
    """
    rows, device = torch.arange(size), step.device
    for group in step.optimizer.param_groups:
        group["lr"] = 0.0  # without warm-up, training on noise could produce non-finite values
    with MemoryPeak(device) as peak:
        images = torch.rand(size, 3, *image_size_px) * 255
        batch = Batch(images, rows.div(num_instance, rounding_mode="floor") % num_classes, rows).to(device)
        times = []
        for iteration in range(num_steps + 1):
            before_step(iteration)
            start = time.perf_counter()
            step(batch)  # reads the losses, so the device has finished all but the optimizer's update
            times.append(time.perf_counter() - start)
    return size / statistics.median(times[1:]), peak.mb


def try_batch_sizes(
    cfg: CfgNode, *, max_size: int = 4096, num_steps: int = 3, memory_mb: float | None = None
) -> Iterator[BatchSizeTrial]:
    """Try batches of 2, 4, 8, ... patents times GRAD_ACCUM_STEPS, NUM_INSTANCE drawings each, until one does not fit.

    Args:
        cfg: settings.
        max_size: maximum drawings per step; the size of the training list is a limit too.
        num_steps: timed steps per size, after one warm-up step.
        memory_mb: memory in MiB that a run may use; None: 90 % of the free memory.

    Yields:
        The result of each size.

    Raises:
        InputError: the training list or `max_size` is too small for the smallest size.
    """
    check_component_names(cfg, training=True)
    drawings, _ = build_datasets(cfg)
    num_patents = len({drawing.patent for drawing in drawings})
    num_instance, device = cfg.DATALOADER.NUM_INSTANCE, resolve_device(cfg)
    num_classes = cfg.MODEL.HEADS.NUM_CLASSES or num_patents
    smallest = 2 * num_instance * cfg.SOLVER.GRAD_ACCUM_STEPS
    limits = {
        "--max-size": max_size,
        "the training list": len(drawings),
        "whole groups of its patents": num_patents * num_instance,
    }
    limit, largest = min(limits.items(), key=lambda item: item[1])
    if largest < smallest:
        raise InputError(
            f"no batch size to try: the smallest is {smallest} drawings (two patents of DATALOADER.NUM_INSTANCE "
            "drawings "
            f"for each of SOLVER.GRAD_ACCUM_STEPS micro-batches), the largest {largest} ({limit}); lower one of the "
            "two settings or raise the limit"
        )
    model = build_training_model(cfg, drawings)
    heads = model.get_submodule("heads")
    step = build_step(cfg, model, iters_per_epoch=1)
    page = np.full(BLANK_PAGE_PX, 255, np.uint8)
    blank = Drawing("", "a blank page", "")
    image = build_train_transforms(cfg, donors=[blank], read=lambda _: page)(page)

    def measure(size: int) -> tuple[float, float]:
        return measure_step(
            step,
            size,
            num_instance=num_instance,
            num_classes=num_classes,
            image_size_px=(image.shape[1], image.shape[2]),
            num_steps=num_steps,
            before_step=lambda number: (
                heads.sample_classes(cfg.SEED, number) if isinstance(heads, EmbeddingHead) else None
            ),
        )

    sizes = doubling_sizes(smallest, largest)
    budget_mb = 0.9 * free_memory_mb(device) if memory_mb is None else memory_mb
    yield from find_batch_size(sizes, measure, budget_mb=budget_mb)


class MemoryPeak:
    """Measure the peak memory in a `with` block: on a GPU what torch has reserved, otherwise that of the process.

    Attributes:
        mb: peak in MiB, set at the end of the block.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.mb = 0.0

    def __enter__(self) -> "MemoryPeak":
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            try:
                handle = os.open("/proc/self/clear_refs", os.O_WRONLY)
                os.write(handle, b"5")  # resets VmHWM, the peak: proc(5)
                os.close(handle)
            except OSError as error:
                raise EnvironmentSetupError(
                    f"/proc/self/clear_refs: cannot be written ({error.strerror}), so memory cannot be measured on "
                    "this system; try batch sizes by hand"
                )
        return self

    def __exit__(self, *fault: object) -> None:
        if self.device.type == "cuda":
            self.mb = torch.cuda.max_memory_reserved(self.device) / 2**20
        else:
            self.mb = _read_kib("/proc/self/status", "VmHWM") / 1024


def free_memory_mb(device: torch.device) -> float:
    """Return the memory in MiB that this process can use: its own and the free memory.

    Raises:
        EnvironmentSetupError: the system does not report it; only Linux does.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device)) / 2**20
    return (_read_kib("/proc/meminfo", "MemAvailable") + _read_kib("/proc/self/status", "VmRSS")) / 1024


def _read_kib(path: str, name: str) -> int:
    try:
        match = re.search(rf"^{name}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match is None:
        raise EnvironmentSetupError(
            f"{path} does not contain {name}, so memory cannot be measured on this system; try batch sizes by hand"
        )
    return int(match[1])


def _predict_memory_mb(before: list[BatchSizeTrial], size: int) -> float:
    if len(before) < 2:
        return 0.0
    small, large = before
    mb_per_drawing = max(large.memory_mb - small.memory_mb, 0.0) / (large.size - small.size)
    return large.memory_mb + mb_per_drawing * (size - large.size)
