#!/usr/bin/env python3
"""Draw what each augmentation does: tools/show_augmentations.py --output FILE.png [--config-file FILE] [--image FILE ...]"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.config import CfgNode, get_cfg
from fastreid.data.io.image import read_image
from fastreid.data.transforms.build import BATCH_STEPS, PAGE_STEPS, build_train_transforms
from fastreid.structures import Drawing
from fastreid.synthetic import draw_patent, png_bytes
from fastreid.utils.cli import CommandParser, run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.files import atomic_write
from fastreid.utils.seeding import keyed_torch

SWITCHES = [switch for switch, _ in (*PAGE_STEPS, *BATCH_STEPS) if switch] + ["RPT"]
SIZE = ["INPUT.SIZE_TRAIN", [168, 128], "INPUT.CROP.SIZE", [168, 128]]  # where no config says
SHEET_PX = 640  # longest side of the generated sheet
MARGIN_PX, TEXT_PX, GREYS = 100, 13, 12


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.output.suffix.lower() != ".png":
        raise InputError(f"--output is {args.output}; the picture is a PNG, so its name ends in .png")
    pages = [read_image(path) for path in args.image] or [_generated(0)]
    off = [word for switch in SWITCHES for word in (f"INPUT.{switch}.ENABLED", False)]
    rows = []
    for switch in SWITCHES:
        for page in pages:
            plain = _config(args.config_file, off)
            shown = _config(args.config_file, [*off, *_always(plain, switch)])
            rows.append((switch, [_draw(plain, page, "plain"), *(_draw(shown, page, n) for n in range(args.draws))]))
    if args.config_file:
        whole = _config(args.config_file, [])
        rows += [("all as set", [_draw(whole, page, number) for number in range(args.draws + 1)]) for page in pages]
    with atomic_write(args.output) as file:
        file.write(png_bytes(_sheet(rows)))
    print(f"{args.output}: {len(rows)} rows; on the left each time the drawing as it is, then {args.draws} draws")
    return 0


def _config(path: Path | None, options: Sequence) -> CfgNode:
    cfg = get_cfg()
    if path is None:
        cfg.merge_from_list(SIZE)
    else:
        cfg.merge_from_file(path)
    cfg.merge_from_list(list(options))
    cfg.freeze()
    return cfg


def _always(cfg: CfgNode, switch: str) -> list:
    """The options that make one augmentation come each time."""
    prob = [f"INPUT.{switch}.PROB", 1.0] if "PROB" in cfg.INPUT[switch] else []
    return [f"INPUT.{switch}.ENABLED", True, *prob]


def _draw(cfg: CfgNode, page: np.ndarray, number: int | str) -> Image.Image:
    donor = Drawing("", "another generated sheet", "1")
    pipeline = build_train_transforms(cfg, donors=[donor], read=lambda _: _generated(1))
    with keyed_torch(cfg.SEED, "show", number):
        image = pipeline(page)
    return Image.fromarray(image.permute(1, 2, 0).round().byte().numpy())


def _generated(number: int) -> np.ndarray:
    return np.asarray(draw_patent(0, number, size_px=SHEET_PX)[0].convert("L"))


def _sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """The rows one below the other with their names on the left, in few colours, as noise makes large files."""
    images = [image for _, row in rows for image in row]
    width, height = (max(image.size[axis] for image in images) + 4 for axis in (0, 1))
    sheet = Image.new("RGB", (MARGIN_PX + width * max(len(row) for _, row in rows), height * len(rows)), "silver")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT_PX)
    for place, (name, row) in enumerate(rows):
        pen.text((6, place * height + height // 2 - TEXT_PX), name, fill="black", font=font)
        for column, image in enumerate(row):
            sheet.paste(image, (MARGIN_PX + column * width + 2, place * height + 2))
    return sheet.quantize(GREYS, dither=Image.Dither.NONE)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(description="Draw what each augmentation of INPUT does, one row each, on one picture.")
    parser.add_argument("--output", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--config-file", type=Path, help="its strengths, size and SEED; a last row has all as it sets")
    parser.add_argument("--image", type=Path, nargs="+", default=[], help="drawings; a generated one where left out")
    parser.add_argument("--draws", type=int, default=5, help="pictures of each augmentation (5)")
    return parser


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
