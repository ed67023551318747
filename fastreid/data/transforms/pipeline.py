"""The transform pipeline from decoded page to image tensor, and its basic steps.

Pages are processed as Pillow images of mode L (gray, one byte per pixel) or, with INPUT.COLOR rgb, RGB: fast-reid's
checkpoints were trained with Pillow's bicubic resizing, and one channel takes a third of the time of three.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fastreid.data.transforms.torchvision_v2 import import_v2
from fastreid.utils.errors import InputError


def bernoulli(probability: float) -> bool:
    """Return True with a probability; samples from torch's default generator unless it is at least 1."""
    return probability >= 1 or torch.rand(()).item() < probability


def uniform(low: float, high: float) -> float:
    """Sample a float from [low, high) with torch's default generator."""
    return low + (high - low) * torch.rand(()).item()


class BatchStep(Protocol):
    """A random augmentation: parameters are sampled per drawing in the worker, batches are changed on the device."""

    num_params: int  # parameters per drawing

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        """Sample the parameters for one drawing of this size from torch's default generator."""

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        """Return the augmented batch.

        Args:
            images: float32 (B, C, H, W), 0..255. C is 1 while all channels are equal (a third of the work) and 3 for
                pages with color and after a step that treats the channels differently.
            params: float32 (B, num_params), on the same device.

        Returns:
            float32 (B, C, H, W) or (B, 3, H, W), 0..255; the argument is not modified.
        """


class Pipeline:
    """Transform pages into images, in two parts: `prepare` per page in a worker, `to_images` per batch on the device.

    Between the two parts, a page is one channel of bytes (three with color) and a few sampled parameters, a twelfth of
    a float image. Only `prepare` samples, from torch's default generator, so `keyed_torch_rng` around it determines the
    result on any device.

    Args:
        page_steps: functions from Pillow image to Pillow image of the same mode.
        batch_steps: augmentations of whole batches.
        color: process pages in RGB, as INPUT.COLOR rgb; the channel of a gray page is repeated.
    """

    def __init__(
        self,
        page_steps: Sequence[Callable[[Any], Any]],
        batch_steps: Sequence[BatchStep] = (),
        *,
        color: bool = False,
    ):
        self.page_steps = tuple(page_steps)
        self.batch_steps = tuple(batch_steps)
        self.color = color

    def prepare(self, page: np.ndarray) -> tuple[Tensor, Tensor]:
        """Apply the page steps and sample the parameters of the batch steps.

        Args:
            page: uint8 (H, W), gray; with `color` also (H, W, 3), RGB.

        Returns:
            The levels, uint8 (1, H', W'), or (3, H', W') with `color`, and the sampled parameters, float32 (P,).

        Raises:
            InputError: the array is not a page, or it would become too large.
        """
        is_page = page.ndim == 2 or (self.color and page.ndim == 3 and page.shape[2] == 3)
        if not is_page or page.dtype != np.uint8 or not page.size:
            allowed = "(H, W) or (H, W, 3)" if self.color else "(H, W)"
            raise InputError(
                f"a page must be uint8 {allowed}, not {page.dtype} {page.shape}; use read_image to load one"
            )
        image = Image.fromarray(page)
        if self.color:
            image = image.convert("RGB")
        for step in self.page_steps:
            image = step(image)
        levels = torch.from_numpy(np.array(image))
        levels = levels.permute(2, 0, 1).contiguous() if self.color else levels[None]
        aug_params = [param for step in self.batch_steps for param in step.sample_params(*levels.shape[1:])]
        return levels, torch.tensor(aug_params, dtype=torch.float32)

    def to_images(self, levels: Tensor, aug_params: Tensor) -> Tensor:
        """Apply the batch steps.

        Args:
            levels: uint8 (B, 1, H, W), gray levels, or (B, 3, H, W), RGB.
            aug_params: float32 (B, P), as sampled by `prepare`.

        Returns:
            float32 (B, 3, H, W), RGB, 0..255.
        """
        images = _to_float32(levels)
        params_per_step = aug_params.split_with_sizes([step.num_params for step in self.batch_steps], dim=1)
        for step, params in zip(self.batch_steps, params_per_step):
            images = step.apply(images, params)
        return images.expand(-1, 3, -1, -1)

    def __call__(self, page: np.ndarray) -> Tensor:
        """Transform one page, as for `prepare`, to float32 (3, H', W')."""
        levels, aug_params = self.prepare(page)
        return self.to_images(levels[None], aug_params[None])[0]


def _to_float32(levels: Tensor) -> Tensor:
    """Return levels as float32, on the CPU in memory allocated by numpy.

    torch allocates aligned blocks, and glibc before 2.38 does not reuse freed blocks of the same size for them: the
    heap would grow with every batch (1 GiB after about 70).
    """
    if levels.device.type != "cpu":
        return levels.float()
    return torch.from_numpy(levels.numpy().astype(np.float32))


class Resize:
    """Resize a page (bicubic, antialiased) to a height and width, or its short side to one length.

    Args:
        size_px: (height, width), or (short side,).
        max_pixels: maximum number of pixels of the result.
        aspect: one of `ASPECTS`. "squash": stretch each side independently. "pad": pad the page to a centered square
            first. "fit": keep the aspect ratio and pad the result.
        fill: gray level 0..255 of the padding.

    Raises:
        InputError: the aspect is unknown or needs a height and a width; when called: the page would become too large.
    """

    ASPECTS = ("squash", "pad", "fit")

    def __init__(self, size_px: Sequence[int], *, max_pixels: int, aspect: str = "squash", fill: int = 255):
        if aspect not in self.ASPECTS or (aspect != "squash" and len(size_px) != 2):
            raise InputError(
                f"INPUT.ASPECT is '{aspect}' with size {list(size_px)}; allowed: {', '.join(self.ASPECTS)}; all except "
                "squash need a height and a width"
            )
        self.size_px = tuple(size_px)
        self.max_pixels = max_pixels
        self.aspect = aspect
        self.fill = fill

    def __call__(self, image: Image.Image) -> Image.Image:
        if self.aspect == "fit":
            height, width = self.size_px
            scale = min(height / image.height, width / image.width)
            inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
            return _paste_centered(image.resize(inner, Image.Resampling.BICUBIC), (width, height), self.fill)
        if self.aspect == "pad":
            if max(image.size) ** 2 > self.max_pixels:
                raise InputError(
                    f"a page of {image.width} x {image.height} px, padded to a square, would exceed INPUT.MAX_PIXELS "
                    f"({self.max_pixels}); set INPUT.ASPECT to fit"
                )
            image = _paste_centered(image, (max(image.size),) * 2, self.fill)
        if len(self.size_px) == 2:
            height, width = self.size_px
        else:
            short = min(image.size)
            width, height = (self.size_px[0] * side // short for side in image.size)
        if height * width > self.max_pixels:
            raise InputError(
                f"a page of {image.width} x {image.height} px would become {width} x {height} px, more than "
                f"INPUT.MAX_PIXELS ({self.max_pixels}); set INPUT.SIZE_TRAIN and SIZE_TEST to a height and a width"
            )
        return image.resize((width, height), Image.Resampling.BICUBIC)


def _paste_centered(image: Image.Image, size: tuple[int, int], fill: int) -> Image.Image:
    """Paste a page into the center of a larger one of size (width, height)."""
    if image.size == size:
        return image
    sheet = Image.new(image.mode, size, (fill,) * len(image.getbands()))
    sheet.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return sheet


class PadAndCrop:
    """Pad all sides, then crop a random region of the original size.

    Args:
        size_px: width of the padding.
        mode: constant (filled with `fill`), edge, reflect or symmetric.
        fill: gray level 0..255.

    Raises:
        InputError: the mode is unknown or the size negative.
    """

    MODES = ("constant", "edge", "reflect", "symmetric")

    def __init__(self, size_px: int, *, mode: str, fill: int):
        if mode not in self.MODES or size_px < 0:
            raise InputError(
                f"INPUT.PADDING is {size_px} px with mode '{mode}'; the size must be at least 0, modes are "
                f"{', '.join(self.MODES)}"
            )
        self.size_px = size_px
        self.mode = mode
        self.fill = fill

    def __call__(self, image: Image.Image) -> Image.Image:
        pad = import_v2().functional.pad
        padded: Image.Image = pad(image, [self.size_px], fill=self.fill, padding_mode=self.mode)
        top, left = (int(torch.randint(2 * self.size_px + 1, ())) for _ in range(2))
        return padded.crop((left, top, left + image.width, top + image.height))
