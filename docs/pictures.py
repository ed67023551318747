#!/usr/bin/env python3
"""Render the pictures of the documentation: python docs/pictures.py [NAME ...], by default all in docs/images.

The demo (`make demo`) must have run for ranked_results, drawings_measured reads ../shared/data/uspto_design, and the
search page needs Chromium. Intermediate files are kept in logs/pictures.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parent.parent
IMAGES, WORK = ROOT / "docs/images", ROOT / "logs/pictures"
COMMAND = str(Path(sys.executable).with_name("fastreid"))
REAL_DRAWINGS = ROOT.parent / "shared/data/uspto_design"
# What the patents of `fastreid data synth --patents 24 --test-patents 2` show: title and Locarno class.
TITLES = """\
Bench 06-01, Bench 06-01, Plug 13-03, Tape dispenser 19-02, Toy figure 21-01, Drinking cup 07-01, Shoe 02-04,
Ring 11-01, Bottle 09-01, Screw 08-08, Stool 06-01, Headphones 14-01, Bottle 09-01, Bag 03-01, Shoe 02-04, Mug 07-01,
Headphones 14-01, Headphones 14-01, Switch panel 13-03, Switch panel 13-03, Shoe 02-04, Pendant 11-01, Wall hook 08-08,
Wall hook 08-08, Jar 09-03, Fan 23-04"""
APPLICANTS = ("Northline Design Inc.", "Atelier Mora", "Kestrel Home Ltd.", "Ueda Products")
COUNTRIES = ("US", "EM", "JP", "KR")


def shrink(path: Path) -> None:
    """Reduce the colors of a picture to 64, so that the repository stays small."""
    image = Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    image.save(path, optimize=True)


def run(*arguments: object, folder: Path = ROOT) -> None:
    """Run a `fastreid` command."""
    subprocess.run([COMMAND, *map(str, arguments)], cwd=folder, check=True)


def render_augmentations(path: Path) -> None:
    """Render one row for each augmentation."""
    run("data", "show", "--output", path)


def render_generated(path: Path) -> None:
    """Render twelve synthetic patents."""
    run("data", "synth", "--output", WORK / "twelve", "--patents", 12, "--sheet", path)


def render_drawings_measured(path: Path) -> None:
    """Render the measures of real and synthetic drawings; this takes some minutes."""
    synthetic = WORK / "measured"
    run(
        "data",
        "synth",
        "--output",
        synthetic,
        "--patents",
        12,
        "--test-patents",
        200,
        "--size-px",
        640,
        "--all-families",
    )
    run("data", "measure", f"real={REAL_DRAWINGS}", f"synthetic={synthetic}", "--plots", path)


def render_ranked_results(path: Path) -> None:
    """Render five queries of the demo with their results, half as large as the test does."""
    inputs = ("DATASETS.ROOT", ROOT / "datasets", "MODEL.WEIGHTS", ROOT / "logs/demo/stage2/model_best.pth")
    options = ("TEST.NUM_VISUALIZED_QUERIES", 5, "OUTPUT_DIR", "test")
    run("test", "--config-file", "demo/test.yml", *inputs, *options, folder=WORK)  # where it writes result.npy
    image = Image.open(WORK / "test/ranks.png")
    image.resize((1000, round(1000 * image.height / image.width)), Image.Resampling.LANCZOS).save(path)


def render_search_page(path: Path) -> None:
    """Render the page with results, a comparison, its matching lines, and the first two on a dark phone."""
    from playwright.sync_api import sync_playwright

    folder = WORK / "page"
    if not (folder / "designs.index").exists():
        write_collection(folder)
    server = subprocess.Popen(
        [COMMAND, "serve", "designs.index", "--port", "0"], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+/", line)))
        queries = [str(folder / f"drawings/D801237/D801237-{number}.png") for number in (3, 5)]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            desktop = search(browser.new_page(viewport={"width": 1280, "height": 860}), address, queries)
            desktop.screenshot(path=path)
            open_comparison(desktop).screenshot(path=path.with_stem(f"{path.stem}_compare"))
            desktop.locator("#show-matches").check()
            desktop.wait_for_selector("#matches-text:has-text('Result:')", timeout=120_000)
            desktop.screenshot(path=path.with_stem(f"{path.stem}_matches"))
            options = {"device_scale_factor": 1.5, "color_scheme": "dark", "is_mobile": True, "has_touch": True}
            phone = browser.new_page(viewport={"width": 360, "height": 740}, **options)
            search(phone, address, queries[:1]).screenshot(path=WORK / "phone.png")
            open_comparison(phone).screenshot(path=WORK / "phone_compare.png")
            browser.close()
    finally:
        server.terminate()
    left, right = (Image.open(WORK / f"{name}.png") for name in ("phone", "phone_compare"))
    both = Image.new("RGB", (left.width + right.width + 30, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 30, 0))
    both.save(path.with_stem(f"{path.stem}_phone"))


def search(page: Any, address: str, queries: list[str]) -> Any:
    """Search with pictures, wait for the results, and return the page."""
    page.goto(address)
    page.wait_for_selector("#collection:has-text('drawings')", timeout=120_000)
    page.set_input_files("#files", queries)
    page.click("#start")
    page.wait_for_selector("#results article", timeout=120_000)
    page.wait_for_timeout(1500)  # thumbnails
    return page


def open_comparison(page: Any) -> Any:
    """Compare the query with the second result, and return the page."""
    page.locator("#results article .sheet").nth(1).click()
    page.wait_for_timeout(1500)
    return page


def write_collection(folder: Path) -> None:
    """Write 26 synthetic patents with invented metadata, and their collection."""
    run("data", "synth", "--output", folder / "synthetic", "--patents", 24, "--test-patents", 2)
    rows = []
    patents = sorted((folder / "synthetic/train_data/patent_data").iterdir())
    for number, (source, text) in enumerate(zip(patents, TITLES.split(","), strict=True)):
        name, (title, locarno) = f"D{801200 + 37 * number}", text.strip().rsplit(" ", 1)
        (folder / "drawings" / name).mkdir(parents=True, exist_ok=True)
        for drawing in sorted(source.glob("*.png"))[1:]:
            shutil.copy(drawing, folder / "drawings" / name / f"{name}-{int(drawing.stem[-5:])}.png")
        date = f"{2015 + number % 8}-{1 + number % 12:02d}-15"
        rows.append([name, title, APPLICANTS[number * 5 % 4], locarno, COUNTRIES[number * 7 % 4], date])
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        columns = ["patent", "title", "applicant", "locarno", "jurisdiction", "filing_date"]
        csv.writer(file).writerows([columns, *rows])
    run("index", "add", "designs.index", "drawings", "--metadata", "metadata.csv", folder=folder)


PICTURES: dict[str, Callable[[Path], None]] = {
    "augmentations": render_augmentations,
    "drawings_measured": render_drawings_measured,
    "generated": render_generated,
    "ranked_results": render_ranked_results,
    "search_page": render_search_page,
}


def main() -> None:
    """Render the pictures that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(PICTURES)} (default: all)")
    parser.add_argument("--output", type=Path, default=IMAGES, metavar="DIR", help="default: docs/images")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(PICTURES))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; available: {', '.join(PICTURES)}")
    WORK.mkdir(parents=True, exist_ok=True)
    output = Path(os.path.abspath(args.output))
    for name in args.names or PICTURES:
        PICTURES[name](output / f"{name}.png")
        for path in output.glob(f"{name}*.png"):
            shrink(path)


if __name__ == "__main__":
    main()
