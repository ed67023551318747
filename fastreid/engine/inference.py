"""Compute features of drawings in fixed batches, with equal results for any number of processes."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from fastreid.engine.compile import CompiledCaller, Network
from fastreid.engine.precision import autocast
from fastreid.structures import Batch, Drawing, Embeddings
from fastreid.utils import comm
from fastreid.utils.errors import EnvironmentSetupError
from fastreid.utils.logger import get_logger


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch a model to evaluation mode without gradients, and restore the mode of every module afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def run_inference(
    model: nn.Module,
    batches: Iterable[Batch],
    drawings: Sequence[Drawing],
    *,
    device: torch.device,
    flip: bool = False,
    dtype: torch.dtype | None = None,
    done: Mapping[int, Tensor] | None = None,
    on_batch: Callable[[Tensor, Tensor], None] | None = None,
    skip_missing: bool = False,
    caller: CompiledCaller | None = None,
    pad_to: int = 0,
) -> Embeddings:
    """Return the features of a list of drawings in every process.

    Args:
        model: returns features (B, D) in evaluation mode.
        batches: this process's share of the drawings; `rows` are their positions in the list.
        drawings: the whole list.
        device: device of the model.
        flip: average the features of each drawing and its mirror image.
        dtype: dtype of the network's matrix products; None: float32.
        done: first row -> features (B, D) of batches from an earlier run, which one process has; `batches` omits them.
        on_batch: called with the rows (B,) and features (B, D) of each batch.
        skip_missing: omit the rows of drawings that are in no batch; if False, every drawing must be in a batch.
        caller: calls the model through torch.compile; None: direct calls.
        pad_to: size to which smaller batches are padded, so that compiled code runs with one batch size.

    Raises:
        NumericalError: features are NaN, Inf or zero; the message names the drawings.
    """
    rows: list[Tensor] = []
    features = _empty_features(len(drawings), 0)  # the first batch determines the width
    for start, part in (done or {}).items():
        features = features if rows else _empty_features(len(drawings), part.shape[1])
        features[start : start + len(part)] = part
        rows.append(torch.arange(start, start + len(part)))
    with eval_mode(model):
        for batch in batches:
            images = batch.to(device).images
            if caller is None:
                part = compute_features(model, images, flip=flip, dtype=dtype)
            else:
                padded = _pad_batch(images, pad_to)
                part = _compute_features_compiled(caller, padded, flip=flip, dtype=dtype)[: len(images)]
            features = features if rows else _empty_features(len(drawings), part.shape[1])
            features[batch.rows] = part
            rows.append(batch.rows)
            if on_batch is not None:
                on_batch(batch.rows, part)
    if comm.get_world_size() > 1:
        features, rows = _gather_features(features, rows)
    if skip_missing and len(present := torch.unique(torch.cat(rows))) < len(drawings):
        features, drawings = features[present], [drawings[row] for row in present.tolist()]
    return Embeddings.from_drawings(features, drawings)


def _empty_features(num_rows: int, width: int) -> Tensor:
    with torch.inference_mode(False):  # tensors created in inference mode cannot be modified later
        return torch.empty(num_rows, width)


def _gather_features(features: Tensor, rows: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Exchange features between the processes; return the complete table and the rows of each process."""
    own_rows = torch.cat(list(rows)) if rows else None
    shares = [
        share
        for share in comm.all_gather_object(None if own_rows is None else (own_rows, features[own_rows]))
        if share is not None  # a process can have no batch
    ]
    complete = features if rows else _empty_features(len(features), shares[0][1].shape[1])
    for share_rows, share in shares:
        complete[share_rows] = share
    return complete, [share_rows for share_rows, _ in shares]


def _compute_features_compiled(
    caller: CompiledCaller, images: Tensor, *, flip: bool, dtype: torch.dtype | None
) -> Tensor:
    signature = ("features", *images.shape)
    return caller.run(lambda network: compute_features(network, images, flip=flip, dtype=dtype), signature=signature)


def _pad_batch(images: Tensor, num: int) -> Tensor:
    """Return a copy of the images, padded to `num` with copies of the first one.

    It is always a copy, because compiled code distinguishes tensors created in inference mode from others.
    """
    return torch.cat([images, images[:1].expand(max(num - len(images), 0), -1, -1, -1)])


def compute_features(model: Network, images: Tensor, *, flip: bool = False, dtype: torch.dtype | None = None) -> Tensor:
    """Return the features float32 (B, D) of images (B, 3, H, W), on the CPU.

    A batch that does not fit in GPU memory is halved until it fits.

    Args:
        model: returns features (B, D).
        images: float32 (B, 3, H, W).
        flip: average the features of each image and its mirror image.
        dtype: dtype of the network's matrix products; None: float32. The features are always float32.

    Raises:
        EnvironmentSetupError: a single image does not fit.
    """
    try:
        with autocast(images.device, dtype):
            features: Tensor = model(images).float()
            if flip:
                features = (features + model(images.flip(3)).float()) / 2
            return features.cpu()
    except torch.cuda.OutOfMemoryError:
        if len(images) == 1:
            raise EnvironmentSetupError("a single drawing does not fit in GPU memory; use a smaller INPUT.SIZE_TEST")
    half_size = (len(images) + 1) // 2
    get_logger().warning(f"{len(images)} drawings do not fit in GPU memory; continuing with {half_size} at a time")
    torch.cuda.empty_cache()
    halves = (images[:half_size], images[half_size:])
    return torch.cat([compute_features(model, half, flip=flip, dtype=dtype) for half in halves])
