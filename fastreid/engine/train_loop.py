"""Training loop; everything except the step itself is a hook."""

import time
from collections.abc import Callable, Iterable, Sequence

from fastreid.engine.step.train_step import StepResult, TrainStep
from fastreid.structures import Batch


class Hook:
    """Action at certain points of the training loop. Each method does nothing unless overridden."""

    def before_train(self, loop: "TrainLoop") -> None:
        """Run once before the first iteration of this process."""

    def before_step(self, loop: "TrainLoop") -> None:
        """Run before each iteration; `loop.iteration` iterations are completed."""

    def after_step(self, loop: "TrainLoop") -> None:
        """Run after each iteration; it is included in `loop.iteration`, and `loop.result` is its result."""

    def after_epoch(self, loop: "TrainLoop") -> None:
        """Run after the last iteration of each epoch; `loop.epoch` epochs are completed."""

    def after_train(self, loop: "TrainLoop") -> None:
        """Run once after the last iteration; not after an error, so that the error is reported."""

    def on_error(self, loop: "TrainLoop", error: BaseException) -> None:
        """Run once after an error, before `at_exit`; must not raise, so that the original error is reported."""

    def at_exit(self, loop: "TrainLoop") -> None:
        """Run once however the run ended; must not raise, so that the original error is reported."""


class TrainLoop:
    """Train from `iteration` to the end of the last epoch.

    Args:
        step: does one iteration with a batch.
        batches: endless batches, starting at `iteration`.
        hooks: called in this order at every point.
        iters_per_epoch: iterations per epoch.
        max_epochs: epochs of the run.
        iteration: iterations completed before, for a resumed run.
        epoch_end_pending: first call the hooks of the end of the epoch that `iteration` completed; an earlier process
            stopped before it had done so.

    Attributes:
        result: result of the last iteration; None before the first one.
        data_s: seconds that the last iteration waited for its batch.
        step_s: seconds of the last iteration, including `data_s`.
    """

    def __init__(
        self,
        step: TrainStep,
        batches: Iterable[Batch],
        *,
        hooks: Sequence[Hook],
        iters_per_epoch: int,
        max_epochs: int,
        iteration: int = 0,
        epoch_end_pending: bool = False,
    ):
        self.step = step
        self.batches = batches
        self.hooks = tuple(hooks)
        self.iters_per_epoch = iters_per_epoch
        self.max_epochs = max_epochs
        self.iteration = iteration
        self.epoch_end_pending = epoch_end_pending
        self.result: StepResult | None = None
        self.data_s = 0.0
        self.step_s = 0.0

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return self.iteration // self.iters_per_epoch

    @property
    def max_iterations(self) -> int:
        """Number of iterations of the whole run."""
        return self.max_epochs * self.iters_per_epoch

    def request_stop(self) -> None:
        """Make the epoch that has just been completed the last one."""
        self.max_epochs = self.epoch

    def run(self) -> None:
        """Train until the last epoch is completed."""
        try:
            self._run()
        except (Exception, KeyboardInterrupt) as error:
            for hook in self.hooks:
                hook.on_error(self, error)
            raise
        finally:
            self._call_hooks(lambda hook: hook.at_exit(self))

    def _run(self) -> None:
        self._call_hooks(lambda hook: hook.before_train(self))
        if self.epoch_end_pending:
            self._call_hooks(lambda hook: hook.after_epoch(self))
        batches = iter(self.batches) if self.iteration < self.max_iterations else iter(())
        while self.iteration < self.max_iterations:
            self._call_hooks(lambda hook: hook.before_step(self))
            start = time.perf_counter()
            batch = next(batches)
            self.data_s = time.perf_counter() - start
            self.result = self.step(batch)
            self.step_s = time.perf_counter() - start
            self.iteration += 1
            self._call_hooks(lambda hook: hook.after_step(self))
            if self.iteration % self.iters_per_epoch == 0:
                self._call_hooks(lambda hook: hook.after_epoch(self))
        self._call_hooks(lambda hook: hook.after_train(self))

    def _call_hooks(self, call: Callable[[Hook], None]) -> None:
        for hook in self.hooks:
            call(hook)
