"""Show what each augmentation does to a drawing, on one sheet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.config import CfgNode
from fastreid.data.io.image import read_image
from fastreid.data.transforms.build import BATCH_STEPS, LINE_OPERATIONS, PAGE_STEPS, build_train_transforms
from fastreid.engine.setup import load_config
from fastreid.structures import Drawing
from fastreid.synthetic import render_patent
from fastreid.utils.seeding import keyed_torch_rng

AUGMENTATIONS = [name for name, _ in (*PAGE_STEPS, *BATCH_STEPS) if name] + ["RPT"]
DEFAULT_SIZE = ["INPUT.SIZE_TRAIN", [168, 128], "INPUT.CROP.SIZE", [168, 128]]  # without a config
SYNTHETIC_PX = 640  # longest side of the synthetic drawing
MARGIN_PX, TEXT_PX, NUM_GRAY_LEVELS = 100, 13, 12

Row = tuple[str, list[Image.Image]]


def show_augmentations(config_file: str | Path | None, images: Sequence[str | Path], *, num_samples: int) -> list[Row]:
    """Return one row per augmentation and drawing: the drawing without augmentation, then samples with only this one.

    With a config, last rows show all its augmentations together.

    Args:
        config_file: config of strengths, image size and SEED; None: the defaults.
        images: paths of the drawings; none: one synthetic drawing.
        num_samples: number of samples per row.

    Raises:
        InputError: the config is invalid or an image cannot be read.
    """
    configured = _load_config(config_file, [])
    color = configured.INPUT.COLOR == "rgb"
    pages = [read_image(path, color=color) for path in images] or [_render_page(0)]
    sections = [name for name in AUGMENTATIONS if name not in LINE_OPERATIONS]
    switches = (item for name in sections for item in (f"INPUT.{name}.ENABLED", False))
    all_off: list[Any] = ["INPUT.LINE_AUG.OPS", [], *switches]
    rows: list[Row] = []
    for name in AUGMENTATIONS:
        for page in pages:
            plain = _load_config(config_file, all_off)
            augmented = _load_config(config_file, [*all_off, *_always(configured, name)])
            samples = [_augment(augmented, page, index) for index in range(num_samples)]
            rows.append((name, [_augment(plain, page, "plain"), *samples]))
    if config_file is not None:
        together = [[_augment(configured, page, index) for index in range(num_samples + 1)] for page in pages]
        rows += [("as configured", images) for images in together]
    return rows


def plot_augmentations(rows: Sequence[Row]) -> Image.Image:
    """Return a sheet with one line per row and the names at the left.

    The cells of a row have the size of its largest image. Gray images are shown in few levels, because noise compresses
    badly.
    """
    images = [image for _, row in rows for image in row]
    sizes = [[max(image.size[axis] for image in row) + 4 for axis in (0, 1)] for _, row in rows]
    sheet_width = MARGIN_PX + max(width * len(row) for (width, _), (_, row) in zip(sizes, rows))
    sheet = Image.new("RGB", (sheet_width, sum(height for _, height in sizes)), "silver")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT_PX)
    top = 0
    for (width, height), (name, row) in zip(sizes, rows):
        pen.text((6, top + height // 2), name, fill="black", font=font, anchor="lm")
        for column, image in enumerate(row):
            position = (MARGIN_PX + column * width + 2, top + (height - image.height) // 2)
            sheet.paste(image, position)
        top += height
    is_gray = all(image.convert("L").convert("RGB").tobytes() == image.tobytes() for image in images)
    return _reduce_gray_levels(sheet) if is_gray else sheet


def _reduce_gray_levels(sheet: Image.Image) -> Image.Image:
    """Return the sheet in evenly spaced gray levels, with black and white, so that thin lines stay dark."""
    step = 255 / (NUM_GRAY_LEVELS - 1)
    return sheet.convert("L").point([round(round(level / step) * step) for level in range(256)])


def _load_config(path: str | Path | None, opts: Sequence[Any]) -> CfgNode:
    return load_config(path, [*([] if path is not None else DEFAULT_SIZE), *opts])


def _always(cfg: CfgNode, name: str) -> list[Any]:
    """Return the settings that apply one augmentation to every drawing.

    A crop that the config does not use has the size of its images instead of the default one.
    """
    if name in LINE_OPERATIONS:
        return ["INPUT.LINE_AUG.OPS", [name], "INPUT.LINE_AUG.PROB", 1.0]
    prob = [f"INPUT.{name}.PROB", 1.0] if "PROB" in cfg.INPUT[name] else []
    size_px = cfg.INPUT.SIZE_TRAIN
    size = ["INPUT.CROP.SIZE", size_px] if name == "CROP" and not cfg.INPUT.CROP.ENABLED and len(size_px) == 2 else []
    return [f"INPUT.{name}.ENABLED", True, *prob, *size]


def _augment(cfg: CfgNode, page: np.ndarray, sample: int | str) -> Image.Image:
    """Return one sample of the training transforms; `sample` selects the random numbers."""
    donor = Drawing("", "another synthetic drawing", "1")
    pipeline = build_train_transforms(cfg, donors=[donor], read=lambda _: _render_page(1))
    with keyed_torch_rng(cfg.SEED, "show", sample):
        image = pipeline(page)
    return Image.fromarray(image.permute(1, 2, 0).round().byte().numpy())


def _render_page(index: int) -> np.ndarray:
    return np.asarray(render_patent(0, index, size_px=SYNTHETIC_PX)[0].convert("L"))
