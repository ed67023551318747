"""From a config to what becomes of a page: the tables of steps and the pipelines made of them."""

from collections.abc import Callable, Sequence
from typing import Any

from torchvision.transforms import v2

from fastreid.config import CfgNode
from fastreid.data.io.image import read_drawing
from fastreid.data.loading.batches import Read
from fastreid.data.transforms.autoaugment import AugMix, AutoAugment
from fastreid.data.transforms.page_layout import InkCrop, LabelRemoval, QuarterTurn
from fastreid.data.transforms.pipeline import BatchStep, PadAndCrop, Pipeline, Resize
from fastreid.data.transforms.random_erasing import RandomErasing
from fastreid.data.transforms.random_patch import RandomPatch
from fastreid.data.transforms.scan_noise import ScanNoise
from fastreid.data.transforms.strokes import Breaks, StrokeWidth
from fastreid.data.transforms.warp import ElasticBend, Warp
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError

BICUBIC = v2.InterpolationMode.BICUBIC

# Training steps on the grey page between decoder and tensor, in order: (switch in INPUT, maker from INPUT).
PAGE_STEPS: tuple[tuple[str, Callable[[CfgNode], Any]], ...] = (
    ("LABEL", lambda given: LabelRemoval(given.LABEL.PROB)),
    ("INK_CROP", lambda given: InkCrop(given.INK_CROP.PROB, margin=given.INK_CROP.MARGIN)),
    ("ROT90", lambda given: QuarterTurn(given.ROT90.PROB)),
    ("AUTOAUG", lambda given: AutoAugment(given.AUTOAUG.PROB, fill=given.FILL)),
    ("", lambda given: _resize(given, given.SIZE_TRAIN)),
    ("CROP", lambda given: _random_crop(given.CROP)),
    ("PADDING", lambda given: PadAndCrop(given.PADDING.SIZE, mode=given.PADDING.MODE, fill=given.FILL)),
    ("FLIP", lambda given: v2.RandomHorizontalFlip(given.FLIP.PROB)),
    ("CJ", lambda given: v2.RandomApply([_jitter(given.CJ)], p=given.CJ.PROB)),
    ("AFFINE", lambda given: _affine(given.FILL)),
    ("AUGMIX", lambda given: AugMix(given.AUGMIX.PROB, fill=given.FILL)),
)

# Training steps on whole batches of images where the network is, in order: (switch in INPUT, maker from INPUT).
BATCH_STEPS: tuple[tuple[str, Callable[[CfgNode], BatchStep]], ...] = (
    ("WARP", lambda given: _warp(given.WARP, given.FILL)),
    ("ELASTIC", lambda given: ElasticBend(given.ELASTIC.PROB, shift=given.ELASTIC.SHIFT, fill=given.FILL)),
    ("STROKES", lambda given: _stroke_width(given.STROKES)),
    ("BREAKS", lambda given: Breaks(given.BREAKS.PROB, num=given.BREAKS.NUM, size=given.BREAKS.SIZE)),
    ("SCAN", lambda given: ScanNoise(given.SCAN.PROB, noise=given.SCAN.NOISE, dust=given.SCAN.DUST)),
    ("REA", lambda given: RandomErasing(given.REA.PROB, value=given.REA.VALUE, noise=given.REA.NOISE)),
)


def build_train_transforms(cfg: CfgNode, *, donors: Sequence[Drawing] = (), read: Read = read_drawing) -> Pipeline:
    """Page to image with the random changes that INPUT switches on.

    Args:
        cfg: settings.
        donors: where random patch (INPUT.RPT) takes its pieces from; refused when that is on and they are none.
        read: gives a donor's page.
    """
    given = cfg.INPUT
    on_page = [make(given) for switch, make in PAGE_STEPS if not switch or given[switch].ENABLED]
    if given.RPT.ENABLED:
        on_page.append(RandomPatch(donors, prob=given.RPT.PROB, read=read, skip_bad=given.ON_BAD_IMAGE == "skip"))
    return Pipeline(on_page, [make(given) for switch, make in BATCH_STEPS if given[switch].ENABLED])


def build_test_transforms(cfg: CfgNode) -> Pipeline:
    """Page to image as in the test: without label or cut to its ink by LABEL.IN_TESTS and INK_CROP.IN_TESTS, resized,
    and cut to its centre where INPUT.CROP is on.
    """
    size, crop = cfg.INPUT.SIZE_TEST, cfg.INPUT.CROP.SIZE
    steps: list[Callable[[Any], Any]] = []
    if cfg.INPUT.LABEL.IN_TESTS:
        steps.append(LabelRemoval(1.0))
    if cfg.INPUT.INK_CROP.IN_TESTS:
        steps.append(InkCrop(1.0, margin=cfg.INPUT.INK_CROP.MARGIN))
    steps.append(_resize(cfg.INPUT, size))
    if cfg.INPUT.CROP.ENABLED:
        if any(side > whole for side, whole in zip(_pair(crop), _pair(size))):
            raise InputError(
                f"INPUT.CROP.SIZE is {crop}; allowed is at most INPUT.SIZE_TEST {size}, from whose centre it is cut"
            )
        steps.append(v2.CenterCrop(_pair(crop)))
    return Pipeline(steps)


def _pair(size: Sequence[int]) -> tuple[int, int]:
    """Height and width; one number stands for both."""
    return (size[0], size[-1])


def _resize(given: CfgNode, size: Sequence[int]) -> Resize:
    return Resize(size, max_pixels=given.MAX_PIXELS, aspect=given.ASPECT, fill=given.FILL)


def _random_crop(given: CfgNode) -> v2.RandomResizedCrop:
    return v2.RandomResizedCrop(
        _pair(given.SIZE), scale=tuple(given.SCALE), ratio=tuple(given.RATIO), interpolation=BICUBIC
    )


def _jitter(given: CfgNode) -> v2.ColorJitter:
    return v2.ColorJitter(given.BRIGHTNESS, contrast=given.CONTRAST, saturation=given.SATURATION, hue=given.HUE)


def _affine(fill: int) -> v2.RandomAffine:
    # fast-reid takes the nearest pixel here, which breaks thin lines; bilinear keeps them.
    bilinear = v2.InterpolationMode.BILINEAR
    return v2.RandomAffine(10, scale=(0.9, 1.1), shear=0.1, interpolation=bilinear, fill=fill)


def _warp(given: CfgNode, fill: int) -> Warp:
    return Warp(given.PROB, rotate=given.ROTATE, shear=given.SHEAR, scale=given.SCALE, fill=fill)


def _stroke_width(given: CfgNode) -> StrokeWidth:
    return StrokeWidth(given.PROB, thicken_px=given.THICKEN_PX, thin_px=given.THIN_PX)
