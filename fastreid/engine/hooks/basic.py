"""What happens around the steps: rates, freezing, checks, scores, lines, checkpoints."""

import json
import math
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

import torch
from PIL import Image
from torch import nn

from fastreid.engine.checkpoint import FINAL, FINAL_AVERAGE, STOPPED, Checkpointer, Progress
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.engine.train_step import TrainStep
from fastreid.modeling.heads import EmbeddingHead
from fastreid.monitoring.projector import Points
from fastreid.monitoring.writers import Writer
from fastreid.solver.schedule import Schedule
from fastreid.structures import Batch
from fastreid.utils import comm
from fastreid.utils.cli import StoppedBySignalError
from fastreid.utils.errors import InputError, NumericalError, suggest
from fastreid.utils.files import write_text
from fastreid.utils.logger import get_logger

LATEST = {"lr", "skipped_steps"}  # of these a line of the log has the last value, not the median


class SetLearningRate(Hook):
    """Gives every group of the optimizer its rate before each step."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule

    def before_step(self, loop: TrainLoop) -> None:
        for group in loop.step.optimizer.param_groups:
            group["lr"] = self.schedule.lr(group["base_lr"], loop.iteration)


class FreezeLayers(Hook):
    """Keeps top-level children of the model fixed while fewer than `iterations` steps of the run are done."""

    def __init__(self, children: Sequence[str], iterations: int):
        self.children = tuple(children)
        self.iterations = iterations

    def before_train(self, loop: TrainLoop) -> None:
        self.check(loop.step.model)

    def check(self, model: nn.Module) -> None:
        """Refuse children that the model does not have, and a model of which nothing would train."""
        known = [name for name, _ in model.named_children()]
        for child in self.children:
            if child not in known:
                raise InputError(f"MODEL.FREEZE_LAYERS: the model has no child '{child}'.{suggest(child, known)}")
        if self.iterations and set(self.children) >= set(known):
            raise InputError(
                f"MODEL.FREEZE_LAYERS names all of the model ({', '.join(known)}); leave something to train"
            )

    def before_step(self, loop: TrainLoop) -> None:
        frozen = loop.iteration < self.iterations
        if loop.iteration == self.iterations and loop.step.frozen:
            get_logger().info(f"step {loop.iteration}: {', '.join(self.children)} train from here")
        loop.step.freeze(self.children if frozen else ())


class DrawClasses(Hook):
    """Chooses which classes take part in each step, by the run's seed and the step alone."""

    def __init__(self, heads: EmbeddingHead, seed: int):
        self.heads = heads
        self.seed = seed

    def before_step(self, loop: TrainLoop) -> None:
        self.heads.draw(self.seed, loop.iteration)


class CheckWeightsMove(Hook):
    """Stops a run whose weights do not follow the optimizer.

    Compares every parameter that should train before the first step and after `num_steps` steps that were not skipped.
    """

    def __init__(self, num_steps: int = 10):
        self.num_steps = num_steps
        self._before: dict[str, torch.Tensor] = {}
        self._left = 0

    def after_step(self, loop: TrainLoop) -> None:
        if self._left > 0 and loop.result is not None and not loop.result.skipped:
            self._left -= 1
            if self._left == 0:
                self._compare(loop.step)
                self._before = {}

    def before_step(self, loop: TrainLoop) -> None:
        if not self._before and self._left == 0 and loop.iteration == 0:
            self._before = {n: p.detach().clone() for n, p in self._trained(loop.step.model)}
            self._left = self.num_steps

    def _compare(self, step: TrainStep) -> None:
        trained = dict(self._trained(step.model))
        still = [n for n, p in trained.items() if n in self._before and torch.equal(p.detach(), self._before[n])]
        if still and len(still) == len(self._before):
            raise NumericalError(
                f"no weight moved in {self.num_steps} steps: check SOLVER.BASE_LR, SOLVER.OPT and MODEL.FREEZE_LAYERS"
            )
        resting = {id(p) for group in step.optimizer.param_groups if not group["lr"] for p in group["params"]}
        still = [n for n in still if id(trained[n]) not in resting]  # SOLVER.STAGE_FACTORS may say so
        if still:
            get_logger().warning(f"{len(still)} weights did not move in {self.num_steps} steps: {', '.join(still[:5])}")

    @staticmethod
    def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
        return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


class WriteMetrics(Hook):
    """Collects every step's values and writes their medians each `period` steps and at each epoch's end."""

    def __init__(self, writers: Sequence[Writer], progress: Progress, *, period: int):
        self.writers = tuple(writers)
        self.progress = progress
        self.period = period
        self.scores: dict[str, float] = {}
        self._finished = False

    def after_step(self, loop: TrainLoop) -> None:
        if loop.result is None:
            return
        lr = max(group["lr"] for group in loop.step.optimizer.param_groups)
        values = {**loop.result.values, "lr": lr, "time": loop.step_s, "data_time": loop.data_s}
        for name, value in values.items():
            if math.isfinite(value):  # the gradient of a step that overflowed float16 is not; JSON has no word for it
                self.progress.window.setdefault(name, []).append(value)
        if loop.iteration % self.period == 0 and loop.iteration % loop.iters_per_epoch:
            self.flush(loop)

    def after_epoch(self, loop: TrainLoop) -> None:
        self.flush(loop)

    def after_train(self, loop: TrainLoop) -> None:
        self._finished = True

    def at_exit(self, loop: TrainLoop) -> None:
        for writer in self.writers:
            writer.close(finished=self._finished)

    def flush(self, loop: TrainLoop) -> None:
        """Write the medians of what was collected, what can be told at once, and an evaluation's scores if there was one."""
        values = {name: statistics.median(numbers) for name, numbers in self.progress.window.items()}
        values |= learning_rates(loop.step.optimizer) | memory()
        for name in LATEST & self.progress.window.keys():
            values[name] = self.progress.window[name][-1]
        values["eta_seconds"] = values["time"] * (loop.max_iterations - loop.iteration)
        if loop.result is not None:
            values["drawings_per_second"] = len(loop.result.batch.rows) * comm.world_size() / values["time"]
        for writer in self.writers:
            writer.write(loop.iteration, {**values, **self.scores})
            if self.scores:
                writer.evaluated()
        self.progress.window.clear()
        self.scores = {}

    def picture(self, loop: TrainLoop, name: str, image: Image.Image) -> None:
        for writer in self.writers:
            writer.picture(loop.iteration, name, image)

    def points(self, loop: TrainLoop, name: str, points: Points) -> None:
        for writer in self.writers:
            writer.points(loop.iteration, name, points)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """`lr/PART`: the highest rate of each top-level part of the model, where the groups have names."""
    found: dict[str, float] = {}
    for group in optimizer.param_groups:
        for part in {f"lr/{name.partition('.')[0]}" for name in group.get("names", ())}:
            found[part] = max(found.get(part, 0.0), group["lr"])
    return found


def memory() -> dict[str, float]:
    """MiB this process holds at most up to now (`memory_mb`), and of its GPU (`cuda_memory_mb`)."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes that the system counts in
    found = {"memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20}
    if torch.cuda.is_initialized():
        found["cuda_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return found


class ShowInputs(Hook):
    """Sends a sheet of the first batch, as the network sees it, to the writers."""

    def __init__(self, metrics: WriteMetrics, draw: Callable[[Batch], Image.Image]):
        self.metrics = metrics
        self.draw = draw
        self._shown = False

    def after_step(self, loop: TrainLoop) -> None:
        if not self._shown and loop.result is not None:
            self.metrics.picture(loop, "inputs", self.draw(loop.result.batch))
            self._shown = True


class SaveCheckpoints(Hook):
    """Writes `model_XXXX.pth` (0-based epoch) every `period` epochs and `model_final.pth` at the end."""

    def __init__(self, checkpointer: Checkpointer, progress: Progress, *, period: int):
        self.checkpointer = checkpointer
        self.progress = progress
        self.period = period

    def after_epoch(self, loop: TrainLoop) -> None:
        self.progress.iteration = loop.iteration
        if not comm.is_main():
            return
        if loop.epoch == loop.max_epochs:
            self.checkpointer.save(FINAL, self.progress)
            self.checkpointer.save_average(FINAL_AVERAGE, self.progress)
        elif loop.epoch % self.period == 0:
            self.checkpointer.save(f"model_{loop.epoch - 1:04d}.pth", self.progress)


class StopOnSignal(Hook):
    """On SIGTERM or SIGINT the step ends, a checkpoint is saved and the run leaves; a second signal leaves at once."""

    ASK_STEPS = 10  # several processes must agree to stop, which costs a round of messages
    SAME_SIGNAL_S = 1.0  # a signal to a group of processes arrives once from the sender and once from their parent

    def __init__(self, checkpointer: Checkpointer, progress: Progress):
        self.checkpointer = checkpointer
        self.progress = progress
        self._asked: int | None = None
        self._asked_at = 0.0

    def before_train(self, loop: TrainLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def after_step(self, loop: TrainLoop) -> None:
        at_epoch_end = loop.iteration % loop.iters_per_epoch == 0
        if not at_epoch_end:  # at an epoch's end its scores and its line come first
            self._leave_if_asked(loop)

    def after_epoch(self, loop: TrainLoop) -> None:
        self._leave_if_asked(loop)

    def after_train(self, loop: TrainLoop) -> None:
        release_signals()

    def _leave_if_asked(self, loop: TrainLoop) -> None:
        if comm.world_size() > 1 and loop.iteration % self.ASK_STEPS:
            return
        asked = [number for number in comm.gather(self._asked) if number is not None]
        if not asked or loop.iteration == loop.max_iterations:
            return
        self.progress.iteration = loop.iteration
        if comm.is_main():
            self.checkpointer.save(STOPPED, self.progress)
        comm.gather(None)  # nobody leaves before all is saved, since the first to leave takes the others along
        raise StoppedBySignalError(asked[0], str(self.checkpointer.folder / STOPPED))

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked is not None and now - self._asked_at > self.SAME_SIGNAL_S:
            raise SystemExit(128 + number)
        self._asked, self._asked_at = number, now


def release_signals() -> None:
    """SIGTERM and SIGINT end the process again, as where no run is under way."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def write_bad_step(
    folder: str | Path, iteration: int, processes: Sequence[tuple[Sequence[str], Mapping[str, float]]]
) -> Path:
    """Leave a record of a step that was not a number, as `bad_step.json`; process 0 writes it.

    Args:
        folder: the run's OUTPUT_DIR.
        iteration: steps done before.
        processes: the drawings of each process and what it came to; written are the drawings of those that came to NaN
            or Inf, and the values of the first of them.
    """
    path = Path(folder) / "bad_step.json"
    bad = [told for told in processes if not all(math.isfinite(value) for value in told[1].values())] or processes
    numbers = {name: repr(value) for name, value in bad[0][1].items()}
    drawings = [name for names, _ in bad for name in names]
    if comm.is_main():
        write_text(path, json.dumps({"iteration": iteration, "values": numbers, "drawings": drawings}, indent=1))
    return path
