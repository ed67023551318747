"""One training step: losses, gradients, a check that they are numbers, the optimizer."""

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fastreid.engine.compile import CompiledCaller, Network
from fastreid.engine.precision import autocast
from fastreid.engine.weight_average import WeightAverage
from fastreid.solver.fused_optimizers import keep_fused_flags, match_memory_layout
from fastreid.structures import Batch
from fastreid.utils import comm
from fastreid.utils.errors import NumericalError

Scalars = dict[str, Tensor]

MAX_SKIPPED_STEPS = 20  # float16 overflows in a row after which the loss scale will not recover


@dataclass(frozen=True)
class GradientClip:
    """How gradients are held back: `kind` norm (of all together) or value (of each number)."""

    kind: str
    limit: float
    norm_type: float = 2.0


@dataclass(frozen=True)
class StepResult:
    """What a step tells: `values` are floats by name, the means over all processes; `batch` is what this process saw and
    `skipped` a float16 overflow."""

    values: dict[str, float]
    batch: Batch
    skipped: bool = False


class NonFiniteLossError(NumericalError):
    """A loss or gradient is not a number; weights and batch-norm statistics are those of the step before.

    Args:
        message: one line.
        batch: the drawings of the step.
        values: losses and norms by name; losses that came to NaN or Inf are those of this process alone.
    """

    def __init__(self, message: str, batch: Batch, values: dict[str, float]):
        super().__init__(message)
        self.batch = batch
        self.values = values


class TrainStep:
    """Forward, backward, check, clip, move.

    Args:
        model: gives losses for (images, targets); already on its device.
        optimizer: moves its parameters.
        device: where batches go.
        dtype: of the network's products; None: float32. float16 comes with loss scaling and is for CUDA devices.
        accumulate: parts that a batch is worked through in, one after the other; gradients and losses are the means
            over its drawings. Pairs are sought within a part, and batch norm measures each part by itself.
        clip: limit on the gradients.
        average: follows the weights.
        all_learn: whether every parameter gets a gradient in every step; several processes must know.
        compiled: call the network through torch.compile.
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
        self.no_unused_parameters = no_unused_parameters
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        self.frozen: tuple[str, ...] = ()
        self._parameters = _parameters_by_child(model, optimizer)
        self._skipped = 0
        self._skipped_in_a_row = 0
        # The buffers as they were before the step, by kind of number; a forward pass moves them.
        self._saved_buffers: dict[torch.dtype, list[Tensor]] = {}
        self._caller = CompiledCaller(self._wrap, compiled=compiled)

    def freeze(self, children: tuple[str, ...]) -> None:
        """Keep these top-level children of the model fixed (weights and batch-norm statistics); () frees all."""
        if children == self.frozen:
            return
        for name in set(children) ^ set(self.frozen):
            for parameter in self._parameters.get(name, ()):
                parameter.requires_grad_(name not in children)
        self.frozen = children
        self._caller.rewrap()  # DistributedDataParallel fixes at birth which gradients it waits for

    def __call__(self, batch: Batch) -> StepResult:
        """Do one step. The host waits for the device once, when all of the step but the move is under way.

        Raises:
            NonFiniteLossError: a loss or gradient is NaN or Inf; the model is as it was.
        """
        self._copy_buffers()
        try:
            return self._step(batch)
        except NonFiniteLossError:
            self._copy_buffers(back=True)
            raise

    def _step(self, batch: Batch) -> StepResult:
        self._train_mode()
        batch = batch.to(self.device)
        kind = ("training", *batch.images.shape, *(f"{name} frozen" for name in self.frozen))
        told = self._caller.run(lambda network: self._compute_gradients(network, batch), kind=kind)
        self.scaler.unscale_(self.optimizer)
        losses, stats = (_sum_values(numbers) for numbers in zip(*told))
        own = _to_floats({**losses, **stats, **self._clip_gradients()})
        values = comm.all_reduce_mean(own)
        if not all(math.isfinite(values[name]) for name in losses):
            raise NonFiniteLossError(_nonfinite_message(values, losses), batch, {name: own[name] for name in losses})
        skipped = self._optimizer_step(batch, values, losses)
        if self.scaler.is_enabled():
            values["skipped_steps"] = float(self._skipped)
        if self.average is not None:
            self.average.update(self.model)
        return StepResult(values, batch, skipped=skipped)

    def _compute_gradients(self, network: Network, batch: Batch) -> list[tuple[Scalars, Scalars]]:
        """Work out the gradients of a batch, part by part; what each part tells, times its share."""
        self.optimizer.zero_grad(set_to_none=True)
        *first, last = _split_into_micro_batches(batch, self.grad_accum_steps)
        wait = network.no_sync() if hasattr(network, "no_sync") else contextlib.nullcontext()
        with wait:  # several processes exchange gradients once, with those of the last part
            told = [self._backward(network, part, len(part.rows) / len(batch.rows)) for part in first]
        return [*told, self._backward(network, last, len(last.rows) / len(batch.rows))]

    def _backward(self, network: Network, part: Batch, share: float) -> tuple[Scalars, Scalars]:
        """Add the gradients of a part that is this share of the batch; losses and stats, times the share, on the device."""
        with autocast(self.device, self.dtype):
            losses, stats = network(part.images, part.targets, with_stats=True)
        total = torch.stack(list(losses.values())).sum()
        self.scaler.scale(total * share).backward()
        return _scale_values({"total_loss": total, **losses}, share), _scale_values(stats, share)

    def state_dict(self) -> dict[str, Any]:
        state = {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "skipped": [self._skipped, self._skipped_in_a_row],
        }
        return state if self.average is None else {**state, "average": self.average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(keep_fused_flags(state["optimizer"], self.optimizer))
        match_memory_layout(self.optimizer)
        self.scaler.load_state_dict(state["scaler"])
        self._skipped, self._skipped_in_a_row = state.get("skipped", [0, 0])  # older checkpoints do not count them
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def _wrap(self) -> nn.Module:
        if comm.get_world_size() == 1:
            return self.model
        return DistributedDataParallel(
            self.model,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            find_unused_parameters=not self.no_unused_parameters,
        )

    @torch.no_grad()
    def _copy_buffers(self, *, back: bool = False) -> None:
        """Keep the network's buffers, or bring back what was kept. One call a kind of number: mixed, each is copied alone,
        and a GPU waits for the launches."""
        buffers: dict[torch.dtype, list[Tensor]] = {}
        for buffer in self.model.buffers():
            buffers.setdefault(buffer.dtype, []).append(buffer)
        for dtype, of_kind in buffers.items():
            if dtype not in self._saved_buffers:
                self._saved_buffers[dtype] = [buffer.clone() for buffer in of_kind]
            if back:
                torch._foreach_copy_(of_kind, self._saved_buffers[dtype])
            else:
                torch._foreach_copy_(self._saved_buffers[dtype], of_kind)

    def _train_mode(self) -> None:
        self.model.train()
        for name in self.frozen:
            self.model.get_submodule(name).eval()

    def _clip_gradients(self) -> dict[str, Tensor]:
        """Hold the gradients back; their norms as they were, of all and of each part, and how many are dead."""
        told = {}
        norms, dead = [], torch.zeros((), device=self.device)
        for part, parameters in self._parameters.items():
            trained = [p for p in parameters if p.requires_grad]
            gradients = [p.grad for p in trained if p.grad is not None]
            if self.no_unused_parameters:
                dead = dead + (len(trained) - len(gradients))
            if gradients:
                of_part = torch.stack(torch._foreach_norm(gradients))
                dead = dead + (of_part == 0).sum()
                norms.append(torch.linalg.vector_norm(of_part))
                told[f"grad_norm/{part}"] = norms[-1]
        moved = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.clip is not None and self.clip.kind == "norm":
            nn.utils.clip_grad_norm_(moved, self.clip.limit, norm_type=self.clip.norm_type)
        elif self.clip is not None:
            nn.utils.clip_grad_value_(moved, self.clip.limit)
        return {"grad_norm": torch.linalg.vector_norm(torch.stack(norms)), **told, "dead_gradients": dead}

    def _optimizer_step(self, batch: Batch, values: dict[str, float], losses: Iterable[str]) -> bool:
        finite = math.isfinite(values["grad_norm"])
        if not finite and not self.scaler.is_enabled():
            raise NonFiniteLossError(_nonfinite_message(values, losses), batch, values)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._skipped += not finite
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if self._skipped_in_a_row >= MAX_SKIPPED_STEPS:
            raise NonFiniteLossError(
                f"{MAX_SKIPPED_STEPS} steps in a row overflowed float16; " + _nonfinite_message(values, losses), batch, values
            )
        return not finite


def _split_into_micro_batches(batch: Batch, num: int) -> list[Batch]:
    """A batch in so many parts, as equal as can be."""
    columns = (column.tensor_split(num) for column in (batch.images, batch.targets, batch.rows))
    return [Batch(*part) for part in zip(*columns)]


def _to_floats(tensors: dict[str, Tensor]) -> dict[str, float]:
    return dict(zip(tensors, torch.stack(list(tensors.values())).tolist()))


def _scale_values(tensors: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    return {name: value.detach().float() * share for name, value in tensors.items()}


def _sum_values(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}


def _parameters_by_child(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, list[nn.Parameter]]:
    """What the optimizer moves, by the top-level child of the model that holds it."""
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in moved:
            found.setdefault(name.partition(".")[0], []).append(parameter)
    return found


def _nonfinite_message(values: dict[str, float], losses: Iterable[str]) -> str:
    parts = ", ".join(f"{name} {values[name]:.4g}" for name in (*losses, "grad_norm"))
    return (
        f"the step is not a number ({parts}); the weights are those of the step before. "
        "Try a lower SOLVER.BASE_LR, a longer SOLVER.WARMUP_ITERS or SOLVER.CLIP_GRADIENTS.ENABLED True"
    )
