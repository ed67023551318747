"""Drawings that differ in hue only: told apart with INPUT.COLOR rgb, equal in gray."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.cli.main import main
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine import Predictor
from fastreid.engine.evaluate import build_page_reader
from fastreid.engine.features.extract import feature_settings
from fastreid.engine.setup import load_config
from fastreid.evaluation.reporting.ranking_plot import plot_rankings
from fastreid.modeling import build_model
from fastreid.monitoring.projector import build_projector_data, write_projector_data
from fastreid.structures import Drawing, Embeddings, Ranking

# Colors of equal luminance 128 by ITU-R BT.601, the weights of Pillow's conversion to gray.
HUES = [(255, 88, 0), (0, 200, 90), (120, 110, 240), (240, 57, 200), (128, 128, 128)]
SIZE = ["INPUT.SIZE_TEST", [64, 64], "MODEL.DEVICE", "cpu"]
NETWORK = ["MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512]


def luminance(color):
    return Image.new("RGB", (1, 1), color).convert("L").getpixel((0, 0))


def shapes(color):
    page = np.full((64, 64, 3), 255, np.uint8)
    page[8:40, 8:30], page[30:60, 36:60], page[10:14, 30:60] = color, color, color
    return page


@pytest.fixture
def images(tmp_path):
    """Write one drawing per hue, all with the same gray levels."""
    assert {luminance(color) for color in HUES} == {128}
    for index, color in enumerate(HUES):
        Image.fromarray(shapes(color)).save(tmp_path / f"{index}.png")
    return [tmp_path / f"{index}.png" for index in range(len(HUES))]


def make_predictor(color):
    cfg = load_config(None, [*SIZE, *NETWORK, "INPUT.COLOR", color])
    torch.manual_seed(0)
    model = build_model(cfg, num_classes=2)
    return Predictor(model, build_test_transforms(cfg), read=build_page_reader(cfg), device=torch.device("cpu"))


def mean_cosine_distance(features):
    features = torch.nn.functional.normalize(features.double())
    distances = 1 - features @ features.T
    return float(distances[~torch.eye(len(features), dtype=bool)].mean())


def test_hues_are_told_apart_with_color_only(images):
    gray, color = make_predictor("gray"), make_predictor("rgb")
    assert mean_cosine_distance(gray(images)) < 1e-6
    assert mean_cosine_distance(color(images)) > 1e-3
    same = torch.nn.functional.cosine_similarity(gray(images[-1:]), color(images[-1:]))
    assert float(same) == pytest.approx(1, abs=1e-6)  # the last hue is gray


def test_predictor_of_a_config_decodes_images_in_memory_with_color(images, tmp_path):
    cfg = load_config(None, [*SIZE, *NETWORK, "INPUT.COLOR", "rgb"])
    torch.save({"model": build_model(cfg, num_classes=2).state_dict()}, tmp_path / "w.pth")
    predictor = Predictor.from_cfg(
        load_config(None, [*SIZE, *NETWORK, "INPUT.COLOR", "rgb", "MODEL.WEIGHTS", str(tmp_path / "w.pth")])
    )
    pages = [np.asarray(Image.open(path)) for path in images]
    assert torch.equal(predictor(images), predictor(pages))
    assert torch.equal(predictor(images[:1]), predictor(Image.open(images[0])))


def test_saved_features_with_color_have_other_settings():
    gray, color = (feature_settings(load_config(None, ["INPUT.COLOR", name])) for name in ("gray", "rgb"))
    assert color == {**gray, "INPUT.COLOR": "rgb"}
    assert "INPUT.COLOR" not in gray


def has_color(image):
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return bool((np.ptp(pixels, axis=2) > 100).mean() > 0.02)


def test_ranking_plot_shows_colors(images):
    drawings = [Drawing(str(path), path.name, str(row)) for row, path in enumerate(images)]
    ranking = Ranking(torch.arange(5).repeat(5, 1), torch.zeros(5, 5))
    sheets = {}
    for color in ("gray", "rgb"):
        read = build_page_reader(load_config(None, ["INPUT.COLOR", color]))
        sheets[color] = plot_rankings(drawings, drawings, ranking, read_image=read, num_queries=5)
    difference = np.asarray(sheets["rgb"]).astype(int) - np.asarray(sheets["gray"])
    assert (np.abs(difference).max(axis=2) > 50).mean() > 0.02


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_thumbnails_of_the_projector_show_colors(images, tmp_path, color):
    drawings = [Drawing(str(path), path.name, str(row)) for row, path in enumerate(images)]
    embeddings = Embeddings.from_drawings(torch.eye(5), drawings)
    read = build_page_reader(load_config(None, ["INPUT.COLOR", color]))
    data = build_projector_data(embeddings, drawings, read=read, max_points=5)
    write_projector_data(tmp_path, 1, "Mine", data)
    sprite = Image.open(tmp_path / "projector/Mine/drawings.png")
    assert (sprite.mode, has_color(sprite)) == (("RGB", True) if color == "rgb" else ("L", False))


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_contact_sheet_and_augmentations_show_colors(images, tmp_path, color):
    lines = [f"{path.name},{row % 2}" for row, path in enumerate(images)]
    for name in ("train", "query", "gallery"):
        (tmp_path / f"{name}.csv").write_text("path,id\n" + "\n".join(lines) + "\n")
    lists = [f"DATASETS.LIST.{part} {tmp_path / part.lower()}.csv" for part in ("TRAIN", "QUERY", "GALLERY")]
    settings = ["DATASETS.NAMES", "List", "DATASETS.TESTS", "List", "DATASETS.LIST.IMAGES", str(tmp_path)]
    settings += [word for entry in lists for word in entry.split()]
    settings += ["DATASETS.ALLOW_OVERLAP", "True", "INPUT.COLOR", color, "DATALOADER.NUM_WORKERS", "0"]
    settings += ["SOLVER.IMS_PER_BATCH", "2"]
    (tmp_path / "a.yml").write_text(f"INPUT: {{COLOR: {color}, SIZE_TRAIN: [32, 32], CROP: {{SIZE: [32, 32]}}}}\n")
    main(["data", "check", "--config-file", str(tmp_path / "a.yml"), "--output", str(tmp_path / "out"), *settings])
    main(
        [
            "data",
            "show",
            "--config-file",
            str(tmp_path / "a.yml"),
            "--samples",
            "1",
            "--output",
            str(tmp_path / "a.png"),
            "--image",
            str(images[0]),
        ]
    )
    assert has_color(Image.open(tmp_path / "out/data.png")) is (color == "rgb")
    assert has_color(Image.open(tmp_path / "a.png")) is (color == "rgb")
