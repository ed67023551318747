"""Random sheets of the size that patent offices scan, in their file formats."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE_PX = (1700, 2200)
FORMATS = ("1-bit PNG", "gray PNG", "JPEG", "TIFF G4")


def make_sheet(seed):
    """Return a white page with curves in its middle, mode L, black and white only."""
    rng, page = np.random.default_rng(seed), Image.new("L", SIZE_PX, 255)
    pen = ImageDraw.Draw(page)
    for left, top, width, height, end in zip(
        *rng.integers([[200], [300], [50], [50], [60]], [[1100], [1500], [400], [500], [360]], (5, 120))
    ):
        pen.arc((left, top, left + width, top + height), 0, end, fill=0, width=3)
    return page


def encode_sheet(page, file_format, *, seed=0):
    """Return the bytes of a file; gray sheets are blurred and noisy like scans."""
    file = io.BytesIO()
    if file_format == "1-bit PNG":
        page.convert("1").save(file, "PNG")
        return file.getvalue()
    if file_format == "TIFF G4":
        page.convert("1").save(file, "TIFF", compression="group4")
        return file.getvalue()
    levels = np.asarray(page.filter(ImageFilter.GaussianBlur(0.7)), dtype=float)
    levels += np.random.default_rng(seed).normal(0, 2, levels.shape)
    scan = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    if file_format == "gray PNG":
        scan.save(file, "PNG")
    else:
        scan.save(file, "JPEG", quality=85)
    return file.getvalue()


def write_sheets(folder, num, file_format="1-bit PNG"):
    """Write files of random sheets and return their paths."""
    paths = [Path(folder, f"{index:04}.{file_format.split()[-1].lower()}") for index in range(num)]
    for index, path in enumerate(paths):
        path.write_bytes(encode_sheet(make_sheet(index), file_format, seed=index))
    return paths
