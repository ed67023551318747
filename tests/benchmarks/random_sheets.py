"""Sheets of the size that patent offices scan, drawn from a seed, in the formats they come in."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE_PX = (1700, 2200)
FORMATS = ("1-bit PNG", "grey PNG", "JPEG", "TIFF G4")


def sheet(seed):
    """Curves on a white page, ink in its middle as on a real sheet; mode L, black and white only."""
    rng, page = np.random.default_rng(seed), Image.new("L", SIZE_PX, 255)
    pen = ImageDraw.Draw(page)
    for left, top, wide, high, end in zip(
        *rng.integers([[200], [300], [50], [50], [60]], [[1100], [1500], [400], [500], [360]], (5, 120))
    ):
        pen.arc((left, top, left + wide, top + high), 0, end, fill=0, width=3)
    return page


def encoded(page, kind, *, seed=0):
    """The bytes of a file; grey ones are blurred and noisy, as scans are."""
    file = io.BytesIO()
    if kind in ("1-bit PNG", "TIFF G4"):
        page.convert("1").save(
            file, "PNG" if kind == "1-bit PNG" else "TIFF", **({} if "PNG" in kind else {"compression": "group4"})
        )
        return file.getvalue()
    levels = np.asarray(page.filter(ImageFilter.GaussianBlur(0.7)), dtype=float)
    levels += np.random.default_rng(seed).normal(0, 2, levels.shape)
    scan = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    scan.save(file, "PNG" if kind == "grey PNG" else "JPEG", **({} if "PNG" in kind else {"quality": 85}))
    return file.getvalue()


def write_sheets(folder, num, kind="1-bit PNG"):
    """Files of sheets; their paths."""
    paths = [Path(folder, f"{number:04}.{kind.split()[-1].lower()}") for number in range(num)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(sheet(number), kind, seed=number))
    return paths
