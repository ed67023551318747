"""Runs on a public dataset whose products differ in color only."""

import json

import numpy as np
import pytest
from commands import TINY, run_here, same_bits
from PIL import Image

# Of equal luminance, so that gray pages of two products are the same.
COLORS = ((255, 88, 0), (0, 200, 90), (120, 110, 240), (240, 57, 200), (128, 128, 128), (20, 169, 200))
SETTINGS = ("DATASETS.NAMES", "SOP", "DATASETS.TESTS", "SOP", "TEST.RECALLS", "[1,2,4]", "TEST.SELECT_BY", "Recall@1")
STEPS = ("SOLVER.MAX_EPOCH", 2, "SOLVER.IMS_PER_BATCH", 8, "TEST.EVAL_PERIOD", 2, "DATALOADER.NUM_WORKERS", 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Write a tree in the layout of Stanford Online Products: six products of four images."""
    root = tmp_path_factory.mktemp("colors")
    folder = root / "Stanford_Online_Products"
    for part, products in (("train", range(4)), ("test", range(2, 6))):
        lines = ["image_id class_id super_class_id path"]
        for product in products:
            for view in range(4):
                name = f"lamp_final/{part}_{product}_{view}.png"
                page = np.full((40, 40, 3), 255, np.uint8)
                page[4 + view : 30, 6 : 28 + view] = COLORS[product]
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(page).save(folder / name)
                lines.append(f"{len(lines)} {product + 1} 1 {name}")
        (folder / f"Ebay_{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def train(folder, root, *options):
    folder.mkdir()
    options = (*SETTINGS, *STEPS, "DATASETS.ROOT", root, *options)
    code, output, errors = run_here("train", "--config-file", TINY, *options, "OUTPUT_DIR", "out", folder=folder)
    assert code == 0, output + errors
    return output + errors, json.loads((folder / "out/scores.json").read_text())


def test_colors_are_learned_and_searched_with_rgb_only(root, tmp_path):
    output, scores = train(tmp_path / "rgb", root, "INPUT.COLOR", "rgb")
    assert output.count("pages are read with color (INPUT.COLOR rgb)") == 1
    assert "contain color" not in output
    assert (scores["counts"]["num_queries"], scores["counts"]["num_without_match"]) == (16, 0)
    assert scores["scores"]["Recall@1"] == scores["scores"]["Rank-1"] > 85
    assert scores["scores"]["Recall@1"] <= scores["scores"]["Recall@2"] <= scores["scores"]["Recall@4"]

    cached, same_scores = train(tmp_path / "cached", root, "INPUT.COLOR", "rgb", "DATASETS.CACHE.ENABLED", True)
    assert "decoded 32 pages" in cached
    assert [path.name[:15] for path in (root / "cache").glob("*.sqlite")] == ["pages-rgb-whole"]
    assert same_bits(tmp_path / "rgb/out/model_final.pth", tmp_path / "cached/out/model_final.pth")
    assert same_scores["scores"] == scores["scores"]

    code, output, errors = run_here("test", "--config-file", "out/config.yaml", folder=tmp_path / "rgb")
    assert code == 0, output + errors
    assert "Recall@4" in output
    assert "pages are read with color" in output


def test_gray_run_warns_once(root, tmp_path):
    output, scores = train(tmp_path / "gray", root)
    assert output.count("pages are read in gray (INPUT.COLOR gray)") == 1
    assert output.count("28 of 32 sampled drawings contain color, which INPUT.COLOR gray removes; INPUT.COLOR rgb") == 1
    assert scores["scores"]["Recall@1"] < 50
