"""Features of drawings: fixed batches, one row each, whatever the number of processes."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from fastreid.engine.compile import Calls, Network
from fastreid.engine.precision import autocast
from fastreid.structures import Batch, Drawing, Embeddings
from fastreid.utils import comm
from fastreid.utils.errors import EnvironmentSetupError
from fastreid.utils.logger import get_logger


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode without gradients; after, every module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def extract(
    model: nn.Module,
    batches: Iterable[Batch],
    drawings: Sequence[Drawing],
    *,
    device: torch.device,
    flip: bool = False,
    dtype: torch.dtype | None = None,
    done: Mapping[int, Tensor] | None = None,
    keep: Callable[[Tensor, Tensor], None] | None = None,
    leave_out: bool = False,
    calls: Calls | None = None,
    fill_to: int = 0,
) -> Embeddings:
    """The features of all drawings, in every process.

    Args:
        model: gives (B, D) features in evaluation mode.
        batches: this process's share of the drawings, `rows` telling which.
        drawings: the whole list.
        device: where the model is.
        flip: take the mean of the features of a drawing and of its mirror image.
        dtype: of the network's products; None: float32.
        done: first row -> features of batches that are left out, as one process has them from an earlier run.
        keep: called with the rows (B,) and features (B, D) of each batch once they are made.
        leave_out: drawings that no batch holds have no row; else every one is in a batch.
        calls: how the model is called, if not plainly.
        fill_to: drawings that a smaller batch is filled up to, so that `calls` see one size only.

    Raises:
        NumericalError: features are NaN, Inf or zero; the drawings are named.
    """
    rows: list[Tensor] = []
    features = _table(len(drawings), 0)  # the first batch tells the width
    for start, part in (done or {}).items():
        features = features if rows else _table(len(drawings), part.shape[1])
        features[start : start + len(part)] = part
        rows.append(torch.arange(start, start + len(part)))
    with evaluating(model):
        for batch in batches:
            images = batch.to(device).images
            if calls is None:
                part = features_of(model, images, flip=flip, dtype=dtype)
            else:
                part = _features_by(calls, _filled(images, fill_to), flip=flip, dtype=dtype)[: len(images)]
            features = features if rows else _table(len(drawings), part.shape[1])
            features[batch.rows] = part
            rows.append(batch.rows)
            if keep is not None:
                keep(batch.rows, part)
    if comm.world_size() > 1:
        features, rows = _gathered(features, rows)
    held = torch.cat(rows).unique() if leave_out else features
    if len(held) < len(drawings):
        features, drawings = features[held], [drawings[row] for row in held.tolist()]
    return Embeddings.of(features, drawings)


def _table(num_rows: int, width: int) -> Tensor:
    with torch.inference_mode(False):  # a tensor made in inference mode cannot be written to later
        return torch.empty(num_rows, width)


def _gathered(features: Tensor, rows: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The whole table and what is filled of it in every process, from tables of which each has filled its share, or none."""
    mine = torch.cat(list(rows)) if rows else None
    shares = comm.gather(None if mine is None else (mine, features[mine]))
    given = [share for share in shares if share is not None]
    whole = features if rows else _table(len(features), given[0][1].shape[1])
    for share_rows, share in given:
        whole[share_rows] = share
    return whole, [share_rows for share_rows, _ in given]


def _features_by(calls: Calls, images: Tensor, *, flip: bool, dtype: torch.dtype | None) -> Tensor:
    kind = ("features", *images.shape)
    return calls.do(lambda network: features_of(network, images, flip=flip, dtype=dtype), kind=kind)


def _filled(images: Tensor, num: int) -> Tensor:
    """The images and after them the first once more, as often as it takes to be so many.

    A copy in any case: compiled code tells tensors that were made in inference mode from others.
    """
    return torch.cat([images, images[:1].expand(max(num - len(images), 0), -1, -1, -1)])


def features_of(model: Network, images: Tensor, *, flip: bool = False, dtype: torch.dtype | None = None) -> Tensor:
    """Features float32 (B, D) on the CPU of images (B, 3, H, W), the mean with their mirror images when `flip`.

    The network's products are worked out in `dtype`, float32 when None; the features are float32 in any case.

    A batch that does not fit in GPU memory is halved until it does.

    Raises:
        EnvironmentSetupError: one drawing alone does not fit.
    """
    try:
        with autocast(images.device, dtype):
            features = model(images).float()
            return ((features + model(images.flip(3)).float()) / 2 if flip else features).cpu()
    except torch.cuda.OutOfMemoryError:
        if len(images) == 1:
            raise EnvironmentSetupError("one drawing does not fit in GPU memory; use a smaller INPUT.SIZE_TEST")
    half = (len(images) + 1) // 2
    get_logger().warning(f"{len(images)} drawings do not fit in GPU memory; going on with {half} at a time")
    torch.cuda.empty_cache()
    return torch.cat([features_of(model, part, flip=flip, dtype=dtype) for part in images.split(half)])
