"""Do one training step: forward and backward pass, checks of the values, optimizer step."""

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fastreid.engine.compile import CompiledCaller, Network
from fastreid.engine.precision import autocast
from fastreid.engine.step.gradient_clip import GradientClip
from fastreid.engine.step.scalars import Scalars, scale_values, sum_values, to_floats
from fastreid.engine.step.starting_point import StartingPointDecay
from fastreid.engine.step.weight_average import WeightAverage
from fastreid.modeling.losses.memory import MemoryBank
from fastreid.solver.fused_optimizers import keep_fused_flags
from fastreid.structures import Batch
from fastreid.utils import comm
from fastreid.utils.errors import NumericalError

MAX_SKIPPED_STEPS = 20  # float16 overflows in a row; after so many the loss scale does not recover


@dataclass(frozen=True)
class StepResult:
    """Result of one training step.

    Args:
        values: losses, gradient norms and statistics by name, averaged over all processes.
        batch: the batch of this process.
        skipped: whether the update was skipped because float16 overflowed.
    """

    values: dict[str, float]
    batch: Batch
    skipped: bool = False


class NonFiniteLossError(NumericalError):
    """A loss or gradient is NaN or Inf; weights and batch-norm statistics are those of the previous step.

    Args:
        message: one line.
        batch: the batch of this process.
        values: losses and norms by name; non-finite losses are those of this process.
    """

    def __init__(self, message: str, batch: Batch, values: dict[str, float]):
        super().__init__(message)
        self.batch = batch
        self.values = values


class TrainStep:
    """Training step: forward and backward pass, checks, gradient clipping and optimizer step.

    Args:
        model: returns losses for (images, targets); already on its device.
        optimizer: updates its parameters.
        device: device for the batches.
        dtype: dtype of the network's matrix products; None: float32. float16 uses loss scaling and needs CUDA.
        grad_accum_steps: number of micro-batches. Gradients and losses are means over the whole batch; pairs are formed
            within a micro-batch, and batch norm computes its statistics per micro-batch.
        clip: limit on the gradients; None: no limit.
        average: average of the weights, updated after every step; None: no average.
        memory: bank of the model's pair losses, updated after every step; None: no bank.
        starting_point: decay towards the start weights, applied before every update; None: no such decay.
        teacher: fingerprint of the teacher of the model's distillation, for checkpoints; None: no teacher.
        no_unused_parameters: whether every parameter receives a gradient in every step; several processes need to know.
        compiled: call the network through torch.compile.

    Attributes:
        num_steps: steps that this process has completed.
        is_updating: whether the weights are being changed; after an error, True: they belong to no iteration.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        dtype: torch.dtype | None = None,
        grad_accum_steps: int = 1,
        clip: GradientClip | None = None,
        average: WeightAverage | None = None,
        memory: MemoryBank | None = None,
        starting_point: StartingPointDecay | None = None,
        teacher: Mapping[str, str] | None = None,
        no_unused_parameters: bool = True,
        compiled: bool = False,
    ):
        self.model = model
        self.optimizer = optimizer
        self.device = device
        self.dtype = dtype
        self.grad_accum_steps = grad_accum_steps
        self.clip = clip
        self.average = average
        self.memory = memory
        self.starting_point = starting_point
        self.teacher = dict(teacher or {})
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        self.no_unused_parameters = no_unused_parameters
        self.frozen: tuple[str, ...] = ()
        self.num_steps = 0
        self.is_updating = False
        self._parameters = _parameters_by_child(model, optimizer)
        self._num_skipped = 0
        self._num_skipped_in_a_row = 0
        # The buffers before the step, by dtype, because the forward pass changes them.
        self._saved_buffers: dict[torch.dtype, list[Tensor]] = {}
        # Not a method: its reference to this object would keep the tensors until Python's next search for cycles.
        wrap = partial(_wrap_network, model, device, find_unused_parameters=not no_unused_parameters)
        self._caller = CompiledCaller(wrap, compiled=compiled)

    def freeze(self, children: tuple[str, ...]) -> None:
        """Freeze the weights and batch-norm statistics of top-level children of the model, and unfreeze all others.

        Args:
            children: names of the children; () unfreezes all.
        """
        if children == self.frozen:
            return
        for name in set(children) ^ set(self.frozen):
            for parameter in self._parameters.get(name, ()):
                parameter.requires_grad_(name not in children)
        self.frozen = children
        self._caller.rewrap()  # DistributedDataParallel determines at creation which gradients it waits for

    def __call__(self, batch: Batch) -> StepResult:
        """Do one step. The host waits for the device only once, before the optimizer step.

        Args:
            batch: the batch of this process, on any device.

        Raises:
            NonFiniteLossError: a loss or gradient is NaN or Inf; as after other errors, the model is unchanged unless
                `is_updating` is True.
        """
        self._save_buffers()
        try:
            return self._step(batch)
        except BaseException:
            with contextlib.suppress(RuntimeError):  # a failed GPU cannot restore them; the first error matters more
                self._restore_buffers()
            raise

    def _step(self, batch: Batch) -> StepResult:
        self._set_train_mode()
        batch = batch.to(self.device)
        signature = ("training", *batch.images.shape, *(f"{name} frozen" for name in self.frozen))
        parts = self._caller.run(lambda network: self._compute_gradients(network, batch), signature=signature)
        self.scaler.unscale_(self.optimizer)
        losses, stats = (sum_values(scalars) for scalars in zip(*parts))
        own_values = to_floats({**losses, **stats, **self._clip_gradients()})
        values = comm.all_reduce_mean(own_values)
        if not all(math.isfinite(values[name]) for name in losses):
            own_losses = {name: own_values[name] for name in losses}
            raise NonFiniteLossError(_nonfinite_message(values, losses), batch, own_losses)
        skipped = self._optimizer_step(batch, values, losses)
        if self.scaler.is_enabled():
            values["skipped_steps"] = float(self._num_skipped)
        if self.average is not None:
            self.average.update(self.model)
        if self.memory is not None:
            self.memory.commit()
        self.num_steps += 1
        self.is_updating = False
        return StepResult(values, batch, skipped=skipped)

    def _compute_gradients(self, network: Network, batch: Batch) -> list[tuple[Scalars, Scalars]]:
        """Compute the gradients of a batch; return the losses and statistics of each micro-batch times its share."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.memory is not None:
            self.memory.discard()
        *first, last = _split_into_micro_batches(batch, self.grad_accum_steps)
        no_sync = network.no_sync() if hasattr(network, "no_sync") else contextlib.nullcontext()
        with no_sync:  # several processes exchange gradients only once, in the last micro-batch
            scalars = [self._backward(network, part, len(part.rows) / len(batch.rows)) for part in first]
        return [*scalars, self._backward(network, last, len(last.rows) / len(batch.rows))]

    def _backward(self, network: Network, part: Batch, share: float) -> tuple[Scalars, Scalars]:
        """Add the gradients of a micro-batch; return its losses and statistics, times `share`, on the device.

        Args:
            network: the network to call.
            part: the micro-batch.
            share: its share of the drawings of the batch.
        """
        with autocast(self.device, self.dtype):
            losses, stats = network(part.images, part.targets, with_stats=True)
        total = torch.stack(list(losses.values())).sum()
        self.scaler.scale(total * share).backward()  # type: ignore[no-untyped-call]  # torch has no annotation
        return scale_values({"total_loss": total, **losses}, share), scale_values(stats, share)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint, without the model."""
        state: dict[str, Any] = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        state |= {"skipped": [self._num_skipped, self._num_skipped_in_a_row], "teacher": self.teacher}
        return {**state, **{name: part.state_dict() for name, part in self.optional_parts().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        self.optimizer.load_state_dict(keep_fused_flags(state["optimizer"], self.optimizer))
        self.scaler.load_state_dict(state["scaler"])
        self._num_skipped, self._num_skipped_in_a_row = state.get("skipped", [0, 0])  # missing in older checkpoints
        for name, part in self.optional_parts().items():
            part.load_state_dict(state[name])

    def optional_parts(self) -> dict[str, WeightAverage | MemoryBank | StartingPointDecay]:
        """Return the optional parts of this run by their keys in a checkpoint."""
        parts = {"average": self.average, "memory": self.memory, "starting_point": self.starting_point}
        return {name: part for name, part in parts.items() if part is not None}

    def _buffers_by_dtype(self) -> dict[torch.dtype, list[Tensor]]:
        buffers: dict[torch.dtype, list[Tensor]] = {}
        for buffer in self.model.buffers():
            buffers.setdefault(buffer.dtype, []).append(buffer)
        return buffers

    @torch.no_grad()
    def _save_buffers(self) -> None:
        """Save the buffers with one call per dtype; mixed dtypes would be copied one by one, which a GPU waits for."""
        for dtype, buffers in self._buffers_by_dtype().items():
            if dtype not in self._saved_buffers:
                self._saved_buffers[dtype] = [buffer.clone() for buffer in buffers]
            torch._foreach_copy_(self._saved_buffers[dtype], buffers)

    @torch.no_grad()
    def _restore_buffers(self) -> None:
        for dtype, buffers in self._buffers_by_dtype().items():
            torch._foreach_copy_(buffers, self._saved_buffers[dtype])

    def _set_train_mode(self) -> None:
        self.model.train()
        for name in self.frozen:
            self.model.get_submodule(name).eval()

    def _clip_gradients(self) -> Scalars:
        """Clip the gradients; return their norms before clipping (total, per part) and the number of zero gradients."""
        part_norms: Scalars = {}
        num_dead = torch.zeros((), device=self.device)
        for part, parameters in self._parameters.items():
            trainable = [p for p in parameters if p.requires_grad]
            gradients = [p.grad for p in trainable if p.grad is not None]
            if self.no_unused_parameters:
                num_dead = num_dead + (len(trainable) - len(gradients))
            if gradients:
                norms = torch.stack(torch._foreach_norm(gradients))
                num_dead = num_dead + (norms == 0).sum()
                part_norms[f"grad_norm/{part}"] = torch.linalg.vector_norm(norms)
        updated = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.clip is not None and self.clip.kind == "norm":
            nn.utils.clip_grad_norm_(updated, self.clip.limit, norm_type=self.clip.norm_type)
        elif self.clip is not None:
            nn.utils.clip_grad_value_(updated, self.clip.limit)
        norm = torch.linalg.vector_norm(torch.stack(list(part_norms.values())))
        return {"grad_norm": norm, **part_norms, "dead_gradients": num_dead}

    def _optimizer_step(self, batch: Batch, values: dict[str, float], losses: Iterable[str]) -> bool:
        """Update the weights; return True if the update was skipped because float16 overflowed."""
        is_finite = math.isfinite(values["grad_norm"])
        if not is_finite and not self.scaler.is_enabled():
            raise NonFiniteLossError(_nonfinite_message(values, losses), batch, values)
        self.is_updating = True
        if self.starting_point is not None and is_finite:
            self.starting_point.apply(self.optimizer)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._num_skipped += not is_finite
        self._num_skipped_in_a_row = 0 if is_finite else self._num_skipped_in_a_row + 1
        if self._num_skipped_in_a_row >= MAX_SKIPPED_STEPS:
            message = (
                f"float16 overflowed in {MAX_SKIPPED_STEPS} iterations in a row; {_nonfinite_message(values, losses)}"
            )
            raise NonFiniteLossError(message, batch, values)
        return not is_finite


def _wrap_network(model: nn.Module, device: torch.device, *, find_unused_parameters: bool) -> nn.Module:
    if comm.get_world_size() == 1:
        return model
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=find_unused_parameters,
    )


def _split_into_micro_batches(batch: Batch, num: int) -> list[Batch]:
    """Split a batch into `num` micro-batches whose sizes differ by at most one."""
    columns = (column.tensor_split(num) for column in (batch.images, batch.targets, batch.rows))
    return [Batch(*part) for part in zip(*columns)]


def _parameters_by_child(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, list[nn.Parameter]]:
    """Return the parameters of the optimizer by the top-level child of the model that contains them."""
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    parameters: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in optimized:
            parameters.setdefault(name.partition(".")[0], []).append(parameter)
    return parameters


def _nonfinite_message(values: dict[str, float], losses: Iterable[str]) -> str:
    shown = ", ".join(f"{name} {values[name]:.4g}" for name in (*losses, "grad_norm"))
    return (
        f"loss or gradient is NaN or Inf ({shown}); the weights are those of the previous iteration. "
        "Try a lower SOLVER.BASE_LR, a longer SOLVER.WARMUP_ITERS or SOLVER.CLIP_GRADIENTS.ENABLED True"
    )
