"""Feed the values of every step to the training diagnostics."""

from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.monitoring.diagnostics import TrainingDiagnostics
from fastreid.utils import comm
from fastreid.utils.logger import get_logger


class RunDiagnostics(Hook):
    """Log the warnings of the training diagnostics.

    Args:
        diagnostics: checks the values of the steps.
    """

    def __init__(self, diagnostics: TrainingDiagnostics):
        self.diagnostics = diagnostics

    def after_step(self, loop: TrainLoop) -> None:
        """Check the values of the last step."""
        if loop.result is None:
            return
        warnings = self.diagnostics.update(
            loop.iteration,
            loop.result.values,
            model=loop.step.model,
            batch_size=len(loop.result.batch.rows) * comm.get_world_size(),
        )
        for warning in warnings:
            get_logger().warning(f"iteration {loop.iteration}: {warning}")
