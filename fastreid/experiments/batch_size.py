"""How many drawings a step fits: sizes doubled until memory runs out, each really trained on."""

import os
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fastreid.engine.train_step import TrainStep
from fastreid.structures import Batch
from fastreid.utils.errors import EnvironmentSetupError


@dataclass(frozen=True)
class Trial:
    """What steps of one size came to: drawings a step and a second, and the MiB held at the peak; or that it did not fit.

    Args:
        size: drawings a step.
        per_second: drawings a second, by the median of the steps after the first; 0 where it did not fit.
        memory_mb: MiB at the peak; where it did not fit, what is expected, or 0 where the device found out.
        fits: whether it was done within the memory there is.
    """

    size: int
    per_second: float
    memory_mb: float
    fits: bool


def find_batch_size(
    sizes: Iterable[int], measure: Callable[[int], tuple[float, float]], *, budget_mb: float
) -> Iterator[Trial]:
    """Try sizes in rising order until one does not fit, which is the last that is told.

    Memory grows by about the same for each drawing, so what a size needs is known from the two before it. One that
    would exceed the budget is not tried: a CPU whose memory runs out kills the process instead of refusing.

    Args:
        sizes: drawings a step.
        measure: does steps of a size; drawings a second, and MiB at the peak.
        budget_mb: MiB there are.
    """
    done: list[Trial] = []
    for size in sizes:
        expected = _expected_mb(done[-2:], size)
        if expected > budget_mb:
            yield Trial(size, 0.0, expected, False)
            return
        try:
            per_second, memory_mb = measure(size)
        except torch.OutOfMemoryError:
            yield Trial(size, 0.0, 0.0, False)
            return
        done.append(Trial(size, per_second, memory_mb, memory_mb <= budget_mb))
        yield done[-1]
        if not done[-1].fits:
            return


def doubled(first: int, last: int) -> Iterator[int]:
    """first, 2 first, 4 first and so on, `last` at the most."""
    while first <= last:
        yield first
        first *= 2


def measure_step(
    step: TrainStep,
    size: int,
    *,
    num_instance: int,
    num_classes: int,
    image_px: tuple[int, int],
    num_steps: int,
    before_step: Callable[[int], object] = lambda number: None,
) -> tuple[float, float]:
    """Train for a few steps on noise; drawings a second by the median step, and MiB at the peak.

    The first step is not counted: it warms up and makes the optimizer's memory.

    Args:
        step: of no use afterwards, since its network has seen noise.
        size: drawings a step.
        num_instance: of them of one patent.
        num_classes: patents of the head.
        image_px: height and width.
        num_steps: that count.
        before_step: what a run does before each step, by its number.

    Raises:
        torch.OutOfMemoryError: they do not fit on a GPU.
    """
    rows, device = torch.arange(size), step.device
    for group in step.optimizer.param_groups:
        group["lr"] = 0.0  # noise teaches nothing, and without a warm-up it might lead to numbers that are none
    with MemoryPeak(device) as peak:
        images = torch.rand(size, 3, *image_px) * 255
        batch = Batch(images, rows.div(num_instance, rounding_mode="floor") % num_classes, rows).to(device)
        times = []
        for number in range(num_steps + 1):
            before_step(number)
            start = time.perf_counter()
            step(batch)  # which fetches its losses, so the device has done all but the optimizer's part
            times.append(time.perf_counter() - start)
    return size / statistics.median(times[1:]), peak.mb


class MemoryPeak:
    """Inside, watches how much memory is held at the most: of a GPU what torch has reserved, else of the process.

    Attributes:
        mb: MiB, once it is over.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.mb = 0.0

    def __enter__(self) -> "MemoryPeak":
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            handle = os.open("/proc/self/clear_refs", os.O_WRONLY)
            os.write(handle, b"5")  # sets the mark of VmHWM back: proc(5)
            os.close(handle)
        return self

    def __exit__(self, *fault: object) -> None:
        if self.device.type == "cuda":
            self.mb = torch.cuda.max_memory_reserved(self.device) / 2**20
        else:
            self.mb = _kib("/proc/self/status", "VmHWM") / 1024


def free_memory_mb(device: torch.device) -> float:
    """MiB that this process may hold: what it has and what is free.

    Raises:
        EnvironmentSetupError: a system that does not tell, as others than Linux.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device)) / 2**20
    return (_kib("/proc/meminfo", "MemAvailable") + _kib("/proc/self/status", "VmRSS")) / 1024


def _kib(path: str, name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found is None:
        raise EnvironmentSetupError(
            f"{path} does not tell {name}, so memory cannot be measured here; try sizes by hand"
        )
    return int(found[1])


def _expected_mb(before: list[Trial], size: int) -> float:
    if len(before) < 2:
        return 0.0
    small, large = before
    each = max(large.memory_mb - small.memory_mb, 0.0) / (large.size - small.size)
    return large.memory_mb + each * (size - large.size)
