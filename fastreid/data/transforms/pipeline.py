"""From a page to a tensor: the chain of steps, and the steps without choices of their own.

Between the decoder and the tensor a page is a Pillow image in mode L (grey, one byte a pixel), because fast-reid's
checkpoints were trained on Pillow's bicubic resizing and one channel is a third of the work of three.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from fastreid.utils.errors import InputError


def chance(probability: float) -> bool:
    """True with that probability, drawn from torch's generator where it is less than 1."""
    return probability >= 1 or torch.rand(()).item() < probability


def uniform(low: float, high: float) -> float:
    """A number between the two, drawn from torch's generator."""
    return low + (high - low) * torch.rand(()).item()


class BatchStep(Protocol):
    """A random change that is drawn for each drawing where it is read and made on whole batches where the network is."""

    num_numbers: int  # how many numbers tell what was drawn

    def draw(self, height: int, width: int) -> Sequence[float]:
        """The numbers for one drawing of this size, drawn from torch's generator."""

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        """The batch changed: float32 (B, C, H, W) and float32 (B, num_numbers), on one device, to (B, C or 3, H, W).

        C is 1 as long as the levels are grey, a third of the work, and 3 after a step that gives each channel its own.
        """


class Pipeline:
    """From pages to images: a part for each page, where it is read, and a part for whole batches, where the network is.

    What travels in between is one channel of bytes and the numbers of what was drawn, a twelfth of a float image.
    Random steps draw from torch's own generator, and only in `prepare`, so `keyed_torch` around it decides all of them,
    wherever `finish` runs.

    Args:
        page_steps: Pillow image to Pillow image.
        batch_steps: changes of whole batches.
    """

    def __init__(self, page_steps: Sequence[Callable[[Any], Any]], batch_steps: Sequence[BatchStep] = ()):
        self.page_steps = tuple(page_steps)
        self.batch_steps = tuple(batch_steps)

    def prepare(self, page: np.ndarray) -> tuple[Tensor, Tensor]:
        """A page uint8 (H, W) to levels uint8 (1, H', W') and the numbers float32 (P,) of what was drawn for it."""
        if page.ndim != 2 or page.dtype != np.uint8 or not page.size:
            raise InputError(f"a page is uint8 (H, W), not {page.dtype} {page.shape}; read_image gives one")
        image = Image.fromarray(page)
        for step in self.page_steps:
            image = step(image)
        levels = torch.from_numpy(np.array(image))[None]
        numbers = [number for step in self.batch_steps for number in step.draw(*levels.shape[1:])]
        return levels, torch.tensor(numbers, dtype=torch.float32)

    def finish(self, levels: Tensor, numbers: Tensor) -> Tensor:
        """Levels uint8 (B, 1, H, W) and numbers float32 (B, P) to images float32 (B, 3, H, W), RGB, 0..255."""
        images = _as_floats(levels)
        for step, part in zip(self.batch_steps, numbers.split([step.num_numbers for step in self.batch_steps], dim=1)):
            images = step.apply(images, part)
        return images.expand(-1, 3, -1, -1)

    def __call__(self, page: np.ndarray) -> Tensor:
        """The whole way of one page, uint8 (H, W) to float32 (3, H', W')."""
        levels, numbers = self.prepare(page)
        return self.finish(levels[None], numbers[None])[0]


def _as_floats(levels: Tensor) -> Tensor:
    """Levels as float32; on a CPU in memory from numpy, since torch asks for aligned blocks, which glibc before 2.38 never
    finds among those it freed of the same size: each batch would lie behind the last, 1 GiB after some seventy."""
    if levels.device.type != "cpu":
        return levels.float()
    return torch.from_numpy(levels.numpy().astype(np.float32))


class Resize:
    """Bicubic and antialiased, to a height and width, or so that the short side has one number's length.

    Args:
        size_px: height and width, or one number.
        max_pixels: a page so long that its resized form has more is refused.
        aspect: of ASPECTS. "squash": each side is stretched to its length. "pad": first the page is filled up to a
            square about its middle. "fit": the page keeps its aspect, and what it leaves of the size is filled.
        fill: grey level 0..255 of what is filled.

    Raises:
        InputError: another aspect, or one that needs a height and a width; when called, a page that becomes too large.
    """

    ASPECTS = ("squash", "pad", "fit")

    def __init__(self, size_px: Sequence[int], *, max_pixels: int, aspect: str = "squash", fill: int = 255):
        if aspect not in self.ASPECTS or (aspect != "squash" and len(size_px) != 2):
            raise InputError(
                f"INPUT.ASPECT is '{aspect}' and the size {list(size_px)}; allowed are {', '.join(self.ASPECTS)}, and all "
                "but squash ask for a height and a width"
            )
        self.size_px = tuple(size_px)
        self.max_pixels = max_pixels
        self.aspect = aspect
        self.fill = fill

    def __call__(self, image: Image.Image) -> Image.Image:
        if self.aspect == "fit":
            height, width = self.size_px
            share = min(height / image.height, width / image.width)
            inner = max(1, round(image.width * share)), max(1, round(image.height * share))
            return _centred(image.resize(inner, Image.Resampling.BICUBIC), (width, height), self.fill)
        if self.aspect == "pad":
            if max(image.size) ** 2 > self.max_pixels:
                raise InputError(
                    f"a page of {image.width} x {image.height} px would be padded to a square over the {self.max_pixels} px "
                    "of INPUT.MAX_PIXELS; take INPUT.ASPECT fit"
                )
            image = _centred(image, (max(image.size),) * 2, self.fill)
        if len(self.size_px) == 2:
            height, width = self.size_px
        else:
            short = min(image.size)
            width, height = (self.size_px[0] * side // short for side in image.size)
        if height * width > self.max_pixels:
            raise InputError(
                f"a page of {image.width} x {image.height} px would become {width} x {height}, over the {self.max_pixels} "
                "px of INPUT.MAX_PIXELS; give INPUT.SIZE_TRAIN and SIZE_TEST a height and a width"
            )
        return image.resize((width, height), Image.Resampling.BICUBIC)


def _centred(image: Image.Image, size: tuple[int, int], fill: int) -> Image.Image:
    """A page in the middle of a larger one of this width and height."""
    if image.size == size:
        return image
    sheet = Image.new("L", size, fill)
    sheet.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return sheet


class PadAndCrop:
    """Pad every side, then cut a random piece of the size there was before.

    Args:
        size_px: width of the border.
        mode: constant (filled with `fill`), edge, reflect or symmetric.
        fill: grey level 0..255.
    """

    MODES = ("constant", "edge", "reflect", "symmetric")

    def __init__(self, size_px: int, *, mode: str, fill: int):
        if mode not in self.MODES or size_px < 0:
            raise InputError(
                f"INPUT.PADDING is {size_px} px in mode '{mode}'; allowed are 0 and more, {', '.join(self.MODES)}"
            )
        self.size_px = size_px
        self.mode = mode
        self.fill = fill

    def __call__(self, image: Image.Image) -> Image.Image:
        padded = F.pad(image, [self.size_px], fill=self.fill, padding_mode=self.mode)
        top, left = (int(torch.randint(2 * self.size_px + 1, ())) for _ in range(2))
        return padded.crop((left, top, left + image.width, top + image.height))
