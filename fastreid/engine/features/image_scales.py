"""Images of several sizes for features at test time (TEST.SCALES)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from fastreid.modeling.backbones import TimmBackbone
from fastreid.modeling.probe import find_unreached_parameters
from fastreid.utils.errors import InputError

STRIDE_PX = 32  # scaled sizes are multiples of it, the reduction of the usual networks
ONE_SCALE = (1.0,)


def scale_size(size_px: Sequence[int], scale: float) -> tuple[int, int]:
    """Return a size (H, W) times a scale, rounded to multiples of 32 px and at least 32; scale 1 changes nothing."""
    height, width = size_px
    if scale == 1:
        return height, width
    return _round_to_stride(height * scale), _round_to_stride(width * scale)


def scale_images(images: Tensor, scale: float) -> Tensor:
    """Return images (B, 3, H, W) at a scale: bilinear, with antialiasing; scale 1 returns the same tensor."""
    size_px = scale_size(images.shape[2:], scale)
    if size_px == tuple(images.shape[2:]):
        return images
    return interpolate(images, size_px, mode="bilinear", antialias=True)


def check_scales(scales: Sequence[float], size_px: Sequence[int]) -> None:
    """Check that all scales give different sizes, and all but 1 another size than that of the images.

    Args:
        scales: values of TEST.SCALES.
        size_px: (H, W) of the images.

    Raises:
        InputError: two scales give the same size, or a scale other than 1 keeps the size, so that it has no effect.
    """
    scale_of_size: dict[tuple[int, int], float] = {}
    for scale in scales:
        height, width = scale_size(size_px, scale)
        other = scale_of_size.get((height, width))
        scale_of_size[height, width] = scale
        if other is not None:
            raise InputError(
                f"TEST.SCALES: {other:g} and {scale:g} both give images of {height} x {width} px, as sizes are rounded "
                f"to multiples of {STRIDE_PX} px; remove one of them"
            )
        if scale != 1 and (height, width) == tuple(size_px):
            raise InputError(
                f"TEST.SCALES: {scale:g} keeps the size of images of {height} x {width} px, as sizes are rounded to "
                f"multiples of {STRIDE_PX} px; set it to 1, or to a scale that changes the size"
            )


def check_scaled_images(model: nn.Module, scales: Sequence[float], size_px: Sequence[int]) -> None:
    """Check that a timm network accepts images at all scales; other networks accept any size.

    Args:
        model: the network.
        scales: values of TEST.SCALES.
        size_px: (H, W) of the images.

    Raises:
        InputError: it does not.
    """
    backbone = dict(model.named_children()).get("backbone")
    if not isinstance(backbone, TimmBackbone):
        return
    for scale in scales:
        if scale == 1:
            continue
        try:
            find_unreached_parameters(backbone, scale_size(size_px, scale))
        except InputError as error:
            reason = str(error).rpartition("; ")[0]  # its advice is about the size without a scale
            raise InputError(f"TEST.SCALES {scale:g}: {reason}; set TEST.SCALES to [1.0]") from error


def _round_to_stride(length_px: float) -> int:
    return max(STRIDE_PX, round(length_px / STRIDE_PX) * STRIDE_PX)
