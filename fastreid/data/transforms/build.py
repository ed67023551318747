"""Builds the train and test transforms of a config from tables of steps."""

from collections.abc import Callable, Sequence
from typing import Any

from fastreid.config import CfgNode
from fastreid.config.config import flat_defaults
from fastreid.config.ranges import RULES
from fastreid.data.io.image import read_drawing
from fastreid.data.io.reader import ReadPage
from fastreid.data.transforms.autoaugment import AugMix, AutoAugment
from fastreid.data.transforms.page_layout import InkCrop, LabelRemoval, RandomRotate90
from fastreid.data.transforms.pipeline import BatchStep, PadAndCrop, Pipeline, Resize
from fastreid.data.transforms.random_erasing import RandomErasing
from fastreid.data.transforms.random_patch import RandomPatch
from fastreid.data.transforms.scan_noise import ScanNoise
from fastreid.data.transforms.scan_quality import Bilevel, JpegCompression, LowResolution
from fastreid.data.transforms.shading import Descreen, Screen
from fastreid.data.transforms.strokes import StrokeGaps, StrokeWidth
from fastreid.data.transforms.torchvision_v2 import import_v2
from fastreid.data.transforms.warp import ElasticDeformation, Warp
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError

LINE_OPERATIONS: tuple[str, ...] = RULES["INPUT.LINE_AUG.OPS"].choices
MAX_ELASTIC_SHIFT = 0.08  # ratio of the side; a page may fold above 1/12

# Training steps on the decoded page, in order: (section of INPUT or operation of LINE_AUG that enables it,
# factory).
PAGE_STEPS: tuple[tuple[str, Callable[[CfgNode], Any]], ...] = (
    ("LABEL", lambda options: LabelRemoval(options.LABEL.PROB)),
    ("INK_CROP", lambda options: InkCrop(options.INK_CROP.PROB, margin=options.INK_CROP.MARGIN)),
    ("rot90", lambda options: RandomRotate90(options.LINE_AUG.PROB)),
    (
        "AUTOAUG",
        lambda options: AutoAugment(options.AUTOAUG.PROB, fill=options.FILL, policy=options.AUTOAUG.POLICY),
    ),
    ("", lambda options: _resize(options, options.SIZE_TRAIN)),
    ("CROP", lambda options: _random_crop(options.CROP)),
    ("PADDING", lambda options: PadAndCrop(options.PADDING.SIZE, mode=options.PADDING.MODE, fill=options.FILL)),
    ("FLIP", lambda options: import_v2().RandomHorizontalFlip(options.FLIP.PROB)),
    ("CJ", lambda options: _jitter(options.CJ, color=_has_color(options))),
    ("AFFINE", lambda options: _affine(options.FILL)),
    ("AUGMIX", lambda options: AugMix(options.AUGMIX.PROB, fill=options.FILL, policy=options.AUGMIX.POLICY)),
)

# Training steps on whole batches on the network's device, in order, as above.
BATCH_STEPS: tuple[tuple[str, Callable[[CfgNode], BatchStep]], ...] = (
    ("warp", lambda options: _warp(options.LINE_AUG, options.FILL)),
    ("elastic", lambda options: _elastic(options.LINE_AUG, options.FILL)),
    ("stroke_width", lambda options: _stroke_width(options.LINE_AUG)),
    ("stroke_gaps", lambda options: _stroke_gaps(options.LINE_AUG)),
    ("descreen", lambda options: Descreen(options.LINE_AUG.PROB, weight=min(options.LINE_AUG.STRENGTH, 1.0))),
    ("screen", lambda options: Screen(options.LINE_AUG.PROB, weight=min(options.LINE_AUG.STRENGTH, 1.0))),
    ("low_resolution", lambda options: _low_resolution(options.LINE_AUG)),
    ("bilevel", lambda options: _bilevel(options.LINE_AUG)),
    ("scan_noise", lambda options: _scan_noise(options.LINE_AUG)),
    ("jpeg", lambda options: _jpeg(options.LINE_AUG)),
    ("REA", lambda options: RandomErasing(options.REA.PROB, value=options.REA.VALUE, noise=options.REA.NOISE)),
)


def build_train_transforms(cfg: CfgNode, *, donors: Sequence[Drawing] = (), read: ReadPage = read_drawing) -> Pipeline:
    """Build the training transforms, with the augmentations that INPUT enables.

    Args:
        cfg: settings.
        donors: drawings from which random patch (INPUT.RPT) takes its patches.
        read: returns the page of a donor.

    Raises:
        InputError: an option of INPUT is invalid, or INPUT.RPT is enabled without donors.
    """
    options = cfg.INPUT
    _check_color_settings(options)
    import_v2()  # here, so that forked loading workers share it
    page_steps = [build(options) for name, build in PAGE_STEPS if not name or _is_enabled(options, name)]
    if options.RPT.ENABLED:
        page_steps.append(
            RandomPatch(donors, prob=options.RPT.PROB, read=read, skip_unreadable=options.ON_BAD_IMAGE == "skip")
        )
    batch_steps = [build(options) for name, build in BATCH_STEPS if _is_enabled(options, name)]
    return Pipeline(page_steps, batch_steps, color=_has_color(options))


def build_test_transforms(cfg: CfgNode) -> Pipeline:
    """Build the test transforms: resize, and a center crop if INPUT.CROP is enabled.

    INPUT.LABEL.IN_TESTS removes the figure label first, INPUT.INK_CROP.IN_TESTS crops the page to its ink.

    Raises:
        InputError: an option of INPUT is invalid, or the crop is larger than the resized page.
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
                f"INPUT.CROP.SIZE is {crop}; it must not exceed INPUT.SIZE_TEST {size}, as the center is cropped"
            )
        steps.append(import_v2().CenterCrop(_pair(crop)))
    return Pipeline(steps, color=_has_color(cfg.INPUT))


def _check_color_settings(options: CfgNode) -> None:
    """Check that gray pages have no settings that change colors only."""
    for name in ("SATURATION", "HUE"):
        key, value = f"INPUT.CJ.{name}", options.CJ[name]
        if not _has_color(options) and value not in (0, flat_defaults()[key]):
            raise InputError(
                f"{key} is {value}, which has no effect on gray pages; set INPUT.COLOR rgb, or remove the setting"
            )


def _has_color(options: CfgNode) -> bool:
    has_color: bool = options.COLOR == "rgb"
    return has_color


def _is_enabled(options: CfgNode, name: str) -> bool:
    """Return whether a section of INPUT or an operation of LINE_AUG is enabled."""
    is_enabled: bool = name in options.LINE_AUG.OPS if name in LINE_OPERATIONS else options[name].ENABLED
    return is_enabled


def _pair(size: Sequence[int]) -> tuple[int, int]:
    """Return (height, width); a single number is used for both."""
    return (size[0], size[-1])


def _resize(options: CfgNode, size: Sequence[int]) -> Resize:
    return Resize(size, max_pixels=options.MAX_PIXELS, aspect=options.ASPECT, fill=options.FILL)


def _random_crop(options: CfgNode) -> Any:
    v2 = import_v2()
    bicubic = v2.InterpolationMode.BICUBIC
    return v2.RandomResizedCrop(
        _pair(options.SIZE), scale=tuple(options.SCALE), ratio=tuple(options.RATIO), interpolation=bicubic
    )


def _jitter(options: CfgNode, *, color: bool) -> Any:
    v2 = import_v2()
    of_color = {"saturation": options.SATURATION, "hue": options.HUE} if color else {}
    jitter = v2.ColorJitter(options.BRIGHTNESS, contrast=options.CONTRAST, **of_color)
    return v2.RandomApply([jitter], p=options.PROB)


def _affine(fill: int) -> Any:
    v2 = import_v2()
    # fast-reid uses nearest-neighbor interpolation here, which breaks thin lines; bilinear keeps them.
    bilinear = v2.InterpolationMode.BILINEAR
    return v2.RandomAffine(10, scale=(0.9, 1.1), shear=0.1, interpolation=bilinear, fill=fill)


def _warp(options: CfgNode, fill: int) -> Warp:
    strength = options.STRENGTH
    scale = (1 - 0.1 * strength, 1 + 0.1 * strength)
    return Warp(options.PROB, rotate=10 * strength, shear=5 * strength, scale=scale, fill=fill)


def _elastic(options: CfgNode, fill: int) -> ElasticDeformation:
    return ElasticDeformation(options.PROB, shift=min(0.05 * options.STRENGTH, MAX_ELASTIC_SHIFT), fill=fill)


def _stroke_width(options: CfgNode) -> StrokeWidth:
    return StrokeWidth(options.PROB, thicken_px=1.0 * options.STRENGTH, thin_px=0.5 * options.STRENGTH)


def _stroke_gaps(options: CfgNode) -> StrokeGaps:
    return StrokeGaps(options.PROB, num=max(1, round(12 * options.STRENGTH)), size=0.02 * options.STRENGTH)


def _low_resolution(options: CfgNode) -> LowResolution:
    return LowResolution(options.PROB, max_factor=1 + 1.0 * options.STRENGTH)


def _bilevel(options: CfgNode) -> Bilevel:
    return Bilevel(options.PROB, weight=min(options.STRENGTH, 1.0), spread=0.2 * options.STRENGTH)


def _jpeg(options: CfgNode) -> JpegCompression:
    return JpegCompression(options.PROB, min_quality=max(95 - 60 * options.STRENGTH, 5))


def _scan_noise(options: CfgNode) -> ScanNoise:
    return ScanNoise(options.PROB, noise=10.0 * options.STRENGTH, dust=round(20 * options.STRENGTH))
