"""The bare loop of training; everything beside the step itself is a hook."""

import time
from collections.abc import Callable, Iterable, Sequence

from fastreid.engine.train_step import StepResult, TrainStep
from fastreid.structures import Batch


class Hook:
    """Something done around the steps. The loop is handed to every method; each does nothing unless overridden."""

    def before_train(self, loop: "TrainLoop") -> None:
        """Once, before the first step of this process."""

    def before_step(self, loop: "TrainLoop") -> None:
        """Before each step; `loop.iteration` steps are done."""

    def after_step(self, loop: "TrainLoop") -> None:
        """After each step; `loop.iteration` steps are done and `loop.result` is the last one's."""

    def after_epoch(self, loop: "TrainLoop") -> None:
        """After the last step of each epoch; `loop.epoch` epochs are done."""

    def after_train(self, loop: "TrainLoop") -> None:
        """Once, when all steps are done; not after a fault, so that the fault is what is told."""

    def at_exit(self, loop: "TrainLoop") -> None:
        """Once, whatever ended the run; must not raise, so that a fault is what is told."""


class TrainLoop:
    """Steps over batches, from `iteration` to the end of the last epoch.

    Args:
        step: what one step does with a batch.
        batches: batches without end, starting at `iteration`.
        hooks: called in this order at every point.
        iters_per_epoch: steps of an epoch.
        max_epochs: epochs of the run.
        iteration: steps done before, for a run that goes on.
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
    ):
        self.step = step
        self.batches = batches
        self.hooks = tuple(hooks)
        self.iters_per_epoch = iters_per_epoch
        self.max_epochs = max_epochs
        self.iteration = iteration
        self.result: StepResult | None = None
        self.data_s = 0.0  # seconds the last step waited for its batch
        self.step_s = 0.0  # seconds the last step took, the wait included

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return self.iteration // self.iters_per_epoch

    @property
    def max_iterations(self) -> int:
        return self.max_epochs * self.iters_per_epoch

    def request_stop(self) -> None:
        """Make the epoch that is done the last one."""
        self.max_epochs = self.epoch

    def run(self) -> None:
        """Train to the end."""
        try:
            self._run()
        finally:
            self._call_hooks(lambda hook: hook.at_exit(self))

    def _run(self) -> None:
        self._call_hooks(lambda hook: hook.before_train(self))
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
