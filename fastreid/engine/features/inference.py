"""Compute features of drawings in fixed batches, with equal results for any number of processes."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fastreid.engine.compile import CompiledCaller, Network
from fastreid.engine.features.image_scales import ONE_SCALE, scale_images
from fastreid.engine.precision import autocast
from fastreid.layers.gem_pooling import GeneralizedMeanPooling
from fastreid.structures import Batch, Drawing, Embeddings
from fastreid.utils import comm
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.progress import show_progress

PROGRESS_DELAY_S = 3.0  # shorter extractions show no progress

NO_GEM_POOLING = (
    "TEST.GEM_POWER is {:g}, but the network has no generalized-mean pooling; set it to 0, or MODEL.HEADS.POOL_LAYER "
    "to GeneralizedMeanPooling or GeneralizedMeanPoolingP"
)


UNUSED_GEM_POOLING = (
    "TEST.GEM_POWER is {:g}, but the network does not use its generalized-mean pooling: its backbone returns no map, "
    "only vectors such as class tokens; set it to 0, or MODEL.BACKBONE.TOKENS of a timm network to patches or both"
)


def check_gem_power(model: nn.Module, gem_power: float, size_px: Sequence[int]) -> None:
    """Check, with one image, that the network uses its generalized-mean pooling.

    Args:
        model: the network; its mode does not change.
        gem_power: value of TEST.GEM_POWER; 0: nothing is checked.
        size_px: (H, W) of the image.

    Raises:
        InputError: there is a power, but no generalized-mean pooling, or the network does not use it.
    """
    if not gem_power:
        return
    used: list[nn.Module] = []
    pooling = _find_gem_pooling(model, gem_power)
    handles = [layer.register_forward_pre_hook(lambda module, _: used.append(module)) for layer in pooling]
    try:
        with eval_mode(model):
            model(torch.zeros(1, 3, *size_px, device=pooling[0].p.device))
    finally:
        for handle in handles:
            handle.remove()
    if not used:
        raise InputError(UNUSED_GEM_POOLING.format(gem_power))


@contextlib.contextmanager
def eval_mode(model: nn.Module, *, gem_power: float = 0.0) -> Iterator[None]:
    """Switch a model to evaluation mode without gradients, and restore the mode of every module afterwards.

    Args:
        model: the network.
        gem_power: power of its generalized-mean pooling until then; 0: as trained.

    Raises:
        InputError: there is a power, but no generalized-mean pooling.
    """
    modes = {module: module.training for module in model.modules()}
    pooling = _find_gem_pooling(model, gem_power) if gem_power else []
    model.eval()
    for layer in pooling:
        layer.test_power = gem_power
    try:
        with torch.inference_mode():
            yield
    finally:
        for layer in pooling:
            layer.test_power = None
        for module, mode in modes.items():
            module.training = mode


def _find_gem_pooling(model: nn.Module, gem_power: float) -> list[GeneralizedMeanPooling]:
    pooling = [module for module in model.modules() if isinstance(module, GeneralizedMeanPooling)]
    if not pooling:
        raise InputError(NO_GEM_POOLING.format(gem_power))
    return pooling


def run_inference(
    model: nn.Module,
    batches: Iterable[Batch],
    drawings: Sequence[Drawing],
    *,
    device: torch.device,
    flip: bool = False,
    scales: Sequence[float] = ONE_SCALE,
    gem_power: float = 0.0,
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
        scales: average the unit features of each drawing at these scales of its image.
        gem_power: power of the network's generalized-mean pooling; 0: as trained.
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
    num_before, num_computed = sum(map(len, rows)), 0
    progress = show_progress("computing features", unit="drawing", delay_s=PROGRESS_DELAY_S, num_done=num_before)
    with eval_mode(model, gem_power=gem_power), progress as update:
        for batch in batches:
            images = batch.to(device).images
            if caller is None:
                part = compute_features(model, images, flip=flip, scales=scales, dtype=dtype)
            else:
                padded = _pad_batch(images, pad_to)
                part = _compute_features_compiled(caller, padded, flip=flip, scales=scales, dtype=dtype)[: len(images)]
            features = features if rows else _empty_features(len(drawings), part.shape[1])
            features[batch.rows] = part
            rows.append(batch.rows)
            if on_batch is not None:
                on_batch(batch.rows, part)
            num_computed += len(batch.rows) * comm.get_world_size()  # processes have equal shares
            update(min(num_before + num_computed, len(drawings)), len(drawings))
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
    caller: CompiledCaller, images: Tensor, *, flip: bool, scales: Sequence[float], dtype: torch.dtype | None
) -> Tensor:
    signature = ("features", *images.shape)
    return caller.run(
        lambda network: compute_features(network, images, flip=flip, scales=scales, dtype=dtype), signature=signature
    )


def _pad_batch(images: Tensor, num: int) -> Tensor:
    """Return a copy of the images, padded to `num` with copies of the first one.

    It is always a copy, because compiled code distinguishes tensors created in inference mode from others.
    """
    return torch.cat([images, images[:1].expand(max(num - len(images), 0), -1, -1, -1)])


def compute_features(
    model: Network,
    images: Tensor,
    *,
    flip: bool = False,
    scales: Sequence[float] = ONE_SCALE,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the features float32 (B, D) of images (B, 3, H, W), on the CPU.

    A batch that does not fit in GPU memory is halved until it fits.

    Args:
        model: returns features (B, D).
        images: float32 (B, 3, H, W).
        flip: average the features of each image and its mirror image.
        scales: average the unit features at these scales of the images (`scale_images`), each with its mirror image if
            `flip`. Only the scale 1: features as the network returns them, not of unit length. Source: Radenovic et
            al., Fine-tuning CNN Image Retrieval with No Human Annotation (2019), multi-scale representation.
        dtype: dtype of the network's matrix products; None: float32. The features are always float32.

    Raises:
        EnvironmentSetupError: a single image does not fit.
    """
    try:
        with autocast(images.device, dtype):
            parts = [_call_network(model, scale_images(images, scale), flip=flip) for scale in scales]
            if tuple(scales) == ONE_SCALE:
                return parts[0].cpu()
            return torch.stack([normalize(part) for part in parts]).mean(dim=0).cpu()
    except torch.cuda.OutOfMemoryError:
        if len(images) == 1:
            raise EnvironmentSetupError("a single drawing does not fit in GPU memory; use a smaller INPUT.SIZE_TEST")
    half_size = (len(images) + 1) // 2
    get_logger().warning(f"{len(images)} drawings do not fit in GPU memory; continuing with {half_size} at a time")
    torch.cuda.empty_cache()
    halves = (images[:half_size], images[half_size:])
    return torch.cat([compute_features(model, half, flip=flip, scales=scales, dtype=dtype) for half in halves])


def _call_network(model: Network, images: Tensor, *, flip: bool) -> Tensor:
    features: Tensor = model(images).float()
    return (features + model(images.flip(3)).float()) / 2 if flip else features
