"""Features to look at in TensorBoard's projector: points that carry their drawings."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from fastreid.structures import Drawing, Embeddings
from fastreid.utils.files import atomic_write, write_text

CONFIG = "projector_config.pbtxt"
SPRITE_PX = 48  # side of a drawing; a sheet of 10,000 is then within the 8,192 px that a browser takes


@dataclass(frozen=True)
class Points:
    """Features of some drawings.

    Args:
        features: float32 (N, D).
        patents: the N patents.
        names: the N drawings' names.
        images: uint8 (N, SPRITE_PX, SPRITE_PX), the drawings made small.
    """

    features: np.ndarray
    patents: Sequence[str]
    names: Sequence[str]
    images: np.ndarray


def points_of(
    embeddings: Embeddings, drawings: Sequence[Drawing], *, read: Callable[[str], np.ndarray], num: int
) -> Points:
    """Up to `num` drawings of a list, all of a patent's as far as they fit, the patents spread evenly over the list.

    Args:
        embeddings: of all the drawings.
        drawings: the list.
        read: gives a drawing's pixels for its path, uint8 (H, W) or (H, W, 3).
        num: at most so many.
    """
    rows = chosen_rows([drawing.patent for drawing in drawings], num)
    features = embeddings.features[torch.tensor(rows)].float().cpu().numpy()
    shown = [drawings[row] for row in rows]
    images = np.stack([_small(read(drawing.path)) for drawing in shown])
    return Points(features, [drawing.patent for drawing in shown], [drawing.name for drawing in shown], images)


def chosen_rows(patents: Sequence[str], num: int) -> list[int]:
    """The rows that `points_of` shows."""
    by_patent: dict[str, list[int]] = {}
    for row, patent in enumerate(patents):
        by_patent.setdefault(patent, []).append(row)
    every = math.ceil(len(patents) / num)
    return [row for patent in list(by_patent)[::every] for row in by_patent[patent]][:num]


def write_points(folder: str | Path, iteration: int, name: str, points: Points) -> None:
    """Put the points of a set where TensorBoard looks for them, below the run's folder; the last evaluation's stay.

    Raises:
        StorageError: they cannot be written.
    """
    place = Path(folder) / "projector" / name
    with atomic_write(place / "features.bytes") as file:
        file.write(points.features.astype("<f4").tobytes())
    rows = [f"{patent}\t{drawing}\n" for patent, drawing in zip(points.patents, points.names)]
    text = "".join(["patent\tdrawing\n", *rows]).encode("utf-8", "backslashreplace")
    with atomic_write(place / "labels.tsv") as file:
        file.write(text)
    with atomic_write(place / "drawings.png") as file:
        _sprite(points.images).save(file, format="PNG")
    write_text(place / "embedding.pbtxt", _entry(iteration, name, points.features.shape))
    entries = sorted((Path(folder) / "projector").rglob("embedding.pbtxt"))
    write_text(Path(folder) / CONFIG, "".join(entry.read_text(encoding="utf-8") for entry in entries))


def _small(page: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(page).convert("L")
    return np.array(ImageOps.pad(picture, (SPRITE_PX, SPRITE_PX), Image.Resampling.LANCZOS, color=255))


def _sprite(images: np.ndarray) -> Image.Image:
    """All drawings on one square sheet, in rows."""
    side = math.ceil(math.sqrt(len(images)))
    sheet = np.full((side * side, SPRITE_PX, SPRITE_PX), 255, np.uint8)
    sheet[: len(images)] = images
    rows = sheet.reshape(side, side, SPRITE_PX, SPRITE_PX).swapaxes(1, 2)
    return Image.fromarray(rows.reshape(side * SPRITE_PX, side * SPRITE_PX))


def _entry(iteration: int, name: str, shape: tuple[int, ...]) -> str:
    place = f"projector/{name}"
    return (
        "embeddings {\n"
        f"  tensor_name: {json.dumps(f'{name} after step {iteration}')}\n"
        f"  tensor_path: {json.dumps(f'{place}/features.bytes')}\n"
        f"  tensor_shape: {shape[0]}\n  tensor_shape: {shape[1]}\n"
        f"  metadata_path: {json.dumps(f'{place}/labels.tsv')}\n"
        "  sprite {\n"
        f"    image_path: {json.dumps(f'{place}/drawings.png')}\n"
        f"    single_image_dim: {SPRITE_PX}\n    single_image_dim: {SPRITE_PX}\n"
        "  }\n}\n"
    )
