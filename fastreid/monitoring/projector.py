"""Write features and thumbnails of drawings for TensorBoard's embedding projector."""

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

PROJECTOR_CONFIG_FILE = "projector_config.pbtxt"
SPRITE_PX = 48  # side of a thumbnail; a sprite of 10,000 thumbnails stays below the browsers' limit of 8,192 px


@dataclass(frozen=True)
class ProjectorData:
    """Features of N drawings with their labels and thumbnails.

    Args:
        features: float32 (N, D).
        patents: patent of each drawing.
        names: name of each drawing.
        images: thumbnails, uint8 (N, SPRITE_PX, SPRITE_PX), or (N, SPRITE_PX, SPRITE_PX, 3) with color.
    """

    features: np.ndarray
    patents: Sequence[str]
    names: Sequence[str]
    images: np.ndarray


def build_projector_data(
    embeddings: Embeddings, drawings: Sequence[Drawing], *, read: Callable[[str], np.ndarray], max_points: int
) -> ProjectorData:
    """Select up to `max_points` drawings and return their features and thumbnails.

    Patents are selected evenly over the list, with all of their drawings (except for the last patent at the limit).

    Args:
        embeddings: features of the drawings.
        drawings: the drawings.
        read: returns the pixels of a path, uint8 (H, W) or (H, W, 3).
        max_points: maximum number of drawings.
    """
    rows = select_rows([drawing.patent for drawing in drawings], max_points)
    features = embeddings.features[torch.tensor(rows)].float().cpu().numpy()
    selected = [drawings[row] for row in rows]
    images = np.stack([_make_thumbnail(read(drawing.path)) for drawing in selected])
    patents, names = [drawing.patent for drawing in selected], [drawing.name for drawing in selected]
    return ProjectorData(features, patents, names, images)


def select_rows(patents: Sequence[str], max_points: int) -> list[int]:
    """Return the rows of every n-th patent's drawings, at most `max_points` rows."""
    by_patent: dict[str, list[int]] = {}
    for row, patent in enumerate(patents):
        by_patent.setdefault(patent, []).append(row)
    stride = math.ceil(len(patents) / max_points)
    return [row for patent in list(by_patent)[::stride] for row in by_patent[patent]][:max_points]


def write_projector_data(folder: str | Path, iteration: int, name: str, data: ProjectorData) -> None:
    """Write features where TensorBoard finds them, replacing those of the previous evaluation of the same name.

    Args:
        folder: OUTPUT_DIR of the run.
        iteration: iterations completed.
        name: name of the dataset.
        data: features, labels and thumbnails.

    Raises:
        StorageError: a file cannot be written.
    """
    target = Path(folder) / "projector" / name
    with atomic_write(target / "features.bytes") as file:
        file.write(data.features.astype("<f4").tobytes())
    rows = [f"{patent}\t{drawing}\n" for patent, drawing in zip(data.patents, data.names)]
    text = "".join(["patent\tdrawing\n", *rows]).encode("utf-8", "backslashreplace")
    with atomic_write(target / "labels.tsv") as file:
        file.write(text)
    with atomic_write(target / "drawings.png") as file:
        _make_sprite(data.images).save(file, format="PNG")
    write_text(target / "embedding.pbtxt", _format_config_entry(iteration, name, data.features.shape))
    entries = sorted(entry for entry in (Path(folder) / "projector").rglob("embedding.pbtxt") if entry.is_file())
    write_text(Path(folder) / PROJECTOR_CONFIG_FILE, "".join(entry.read_text(encoding="utf-8") for entry in entries))


def _make_thumbnail(page: np.ndarray) -> np.ndarray:
    image = Image.fromarray(page)
    return np.array(ImageOps.pad(image, (SPRITE_PX, SPRITE_PX), Image.Resampling.LANCZOS, color="white"))


def _make_sprite(images: np.ndarray) -> Image.Image:
    """Arrange all thumbnails on one square image, row by row."""
    side = math.ceil(math.sqrt(len(images)))
    channels = images.shape[3:]
    sprite = np.full((side * side, SPRITE_PX, SPRITE_PX, *channels), 255, np.uint8)
    sprite[: len(images)] = images
    rows = sprite.reshape(side, side, SPRITE_PX, SPRITE_PX, *channels).swapaxes(1, 2)
    return Image.fromarray(rows.reshape(side * SPRITE_PX, side * SPRITE_PX, *channels))


def _format_config_entry(iteration: int, name: str, shape: tuple[int, ...]) -> str:
    folder = f"projector/{name}"
    return (
        "embeddings {\n"
        f"  tensor_name: {json.dumps(f'{name} after step {iteration}')}\n"
        f"  tensor_path: {json.dumps(f'{folder}/features.bytes')}\n"
        f"  tensor_shape: {shape[0]}\n  tensor_shape: {shape[1]}\n"
        f"  metadata_path: {json.dumps(f'{folder}/labels.tsv')}\n"
        "  sprite {\n"
        f"    image_path: {json.dumps(f'{folder}/drawings.png')}\n"
        f"    single_image_dim: {SPRITE_PX}\n    single_image_dim: {SPRITE_PX}\n"
        "  }\n}\n"
    )
