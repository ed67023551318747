"""Compute the features of a collection: of drawings in batches with worker processes, and of query pictures."""

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from fastreid.config import CfgNode
from fastreid.data.build import MIN_FILES_FOR_WORKERS
from fastreid.data.io.image import Array, decode_page
from fastreid.data.io.reader import ReadPage
from fastreid.engine.data import build_reader
from fastreid.engine.evaluate import get_page_options
from fastreid.engine.features.extract import build_provenance, extract_features
from fastreid.engine.features.local_features import LocalFeatureExtractor
from fastreid.engine.model.directory import DEFAULT_MODEL, find_model_directory
from fastreid.engine.model.zoo import load_model_config
from fastreid.engine.predictor import Predictor
from fastreid.engine.predictor_inputs import Page
from fastreid.engine.setup import resolve_device
from fastreid.index.crop import Crop, crop_page, cut_array
from fastreid.index.manifest import ModelIdentity
from fastreid.index.side_data import PageResults, encode_thumbnail
from fastreid.index.sources import Entry
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.temporary_folders import make_temporary_folder

CPU_BATCH_SIZE = 16  # drawings; batches of 64 took a fourth more CPU time (docs/decisions/0013)


@dataclass(frozen=True)
class EmbeddedDrawings:
    """Features and thumbnails of the drawings that can be read.

    Args:
        entries: the drawings.
        features: float32 (n, D), in the same order.
        thumbnails: id -> image file.
        faults: the reasons for the other drawings, one line each.
    """

    entries: Sequence[Entry]
    features: Tensor
    thumbnails: dict[str, bytes]
    faults: list[str]


class PageRecorder:
    """Reads pages like another reader, and stores the thumbnail of each or the reason why it cannot be read.

    A blank page replaces an unreadable one, so that its batch is complete; its features are not used.

    Args:
        read: the other reader.
        results: where thumbnails and faults are stored, by `Drawing.name`.
    """

    def __init__(self, read: ReadPage, results: PageResults):
        self.read, self.results = read, results

    def __call__(self, drawing: Drawing) -> Array:
        try:
            page = self.read(drawing)
        except InputError as error:
            self.results.add(drawing.name, fault=str(error))
            blank = np.full((16, 16), 255, np.uint8)
            blank[4:12, 4:12] = 0
            return blank
        self.results.add(drawing.name, thumbnail=encode_thumbnail(page))
        return page


class Embedder:
    """A model with the settings that it was published with.

    Args:
        name: shipped model, model directory or timm network.

    Attributes:
        identity: what the features depend on.

    Raises:
        InputError: there is no such model, or it compares features by another metric than the cosine.
        WeightsError: the weights are damaged.
    """

    def __init__(self, name: str = DEFAULT_MODEL):
        directory = find_model_directory(name)
        is_path = directory is not None and Path(name).exists()
        self.name = str(directory) if is_path else name
        self._cfg = _load_settings(self.name)
        if self._cfg.TEST.METRIC != "cosine":
            raise InputError(
                f"{name}: TEST.METRIC is {self._cfg.TEST.METRIC}, but collections compare features by the cosine; use "
                "a model with TEST.METRIC cosine"
            )
        provenance = build_provenance(self._cfg)
        self.identity = ModelIdentity(self.name, provenance.weights_sha256, provenance.settings, provenance.versions)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """The network, loaded when it is first used."""
        return Predictor.from_cfg(self._cfg)

    @functools.cached_property
    def dim(self) -> int:
        """Number of values of a feature."""
        return int(self.predictor(np.full((64, 64), 255, np.uint8)).shape[1])

    def embed_pictures(self, pictures: Sequence[Page], crop: Crop | None = None) -> Tensor:
        """Return the features of query pictures, float32 (n, D).

        Args:
            pictures: as for `Predictor`.
            crop: the part of each picture to use; None: all of it. It needs paths.

        Raises:
            InputError: a picture cannot be read, or the crop is outside of it.
        """
        if crop is None:
            return self.predictor(pictures)
        return self.predictor([self.read_part(picture, crop) for picture in pictures])

    def read_part(self, picture: Page, crop: Crop) -> Array:
        """Return a part of a picture in full size, uint8 (h, w) or (h, w, 3), as the network sees it.

        Raises:
            InputError: the picture is no path or cannot be read, or the crop is outside of it.
        """
        return crop_page(picture, crop, {**get_page_options(self._cfg), "longest_px": 0})

    def prepare_picture(
        self, file: BinaryIO, name: str, *, page: int = 0, crop: Crop | None = None
    ) -> tuple[Tensor, Tensor]:
        """Decode a query picture and resize it for the network; `embed_prepared` computes its features.

        Args:
            file: an open image file.
            name: of the picture, for messages.
            page: of a TIFF or PDF, from 0.
            crop: the part to use; None: all of it.

        Raises:
            InputError: the picture cannot be decoded, or the crop is outside of it.
        """
        return self.predictor.transform.prepare(self.decode_picture(file, name, page=page, crop=crop))

    def embed_prepared(self, pictures: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the features of prepared pictures, computed in one batch, float32 (n, D)."""
        return self.predictor.compute_prepared(pictures)

    @property
    def has_color(self) -> bool:
        """Whether the network gets pages in RGB."""
        return bool(self._cfg.INPUT.COLOR == "rgb")

    @functools.cached_property
    def local_features(self) -> LocalFeatureExtractor:
        """Computes the local features that `compare_drawings` matches."""
        predictor = self.predictor
        levels, _ = predictor.transform.prepare(np.full((64, 64), 255, np.uint8))
        size_px = int(levels.shape[1]), int(levels.shape[2])
        return LocalFeatureExtractor(predictor.model, size_px, device=predictor.device, dtype=predictor.dtype)

    def check_comparison(self) -> None:
        """Check that parts of drawings can be compared.

        Raises:
            InputError: the network has no map inside, or its layers are not accessible.
        """
        get_logger().debug(f"local features are the output of {self.local_features.module}")

    def load_page(self, picture: Page) -> Array:
        """Return the pixels of a picture, uint8 (h, w), or (h, w, 3) if the network gets colors.

        Raises:
            InputError: the picture cannot be read.
        """
        return self.predictor.load_page(picture)

    def decode_picture(self, file: BinaryIO, name: str, *, page: int = 0, crop: Crop | None = None) -> Array:
        """Return the pixels of a picture or its part; arguments and errors as for `prepare_picture`."""
        options = get_page_options(self._cfg)
        if crop is None:
            return decode_page(file, name, page=page, **options)
        return cut_array(decode_page(file, name, page=page, **{**options, "longest_px": 0}), crop, name)

    def compute_local(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the local features of images of the network's size, float32 (n, C, H', W')."""
        return self.local_features.compute(levels)

    def embed_drawings(self, entries: Sequence[Entry]) -> EmbeddedDrawings:
        """Return the features and thumbnails of drawings; unreadable ones are left out.

        Raises:
            StorageError: the disk cannot be read.
            NumericalError: features are NaN, Inf or zero.
        """
        cfg = self._cfg if len(entries) >= MIN_FILES_FOR_WORKERS else self._in_process_cfg
        drawings = [Drawing(entry.address, entry.id, entry.id) for entry in entries]
        with make_temporary_folder("fastreid-index-") as folder:
            results = PageResults(folder)
            read = PageRecorder(build_reader(cfg), results)
            with warnings.catch_warnings():
                # Of LanceDB, which the worker processes do not use.
                warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
                features = extract_features(cfg, self.predictor.model, drawings, read=read).features[:]
            thumbnails, faults = results.collect()
        readable = [row for row, drawing in enumerate(drawings) if drawing.name in thumbnails]
        return EmbeddedDrawings(
            [entries[row] for row in readable],
            torch.as_tensor(features)[readable],
            thumbnails,
            [faults[drawing.name] for drawing in drawings if drawing.name in faults],
        )

    @functools.cached_property
    def _in_process_cfg(self) -> CfgNode:
        """The settings for a few drawings, which are read before worker processes have started."""
        return _load_settings(self.name, "DATALOADER.NUM_WORKERS", 0)


def _load_settings(name: str, *options: Any) -> CfgNode:
    """Return the settings of a model, with batches that suit the device."""
    cfg = load_model_config(name, list(options))
    if resolve_device(cfg).type != "cpu" or cfg.TEST.IMS_PER_BATCH <= CPU_BATCH_SIZE:
        return cfg
    return load_model_config(name, [*options, "TEST.IMS_PER_BATCH", CPU_BATCH_SIZE])


def load_embedder(model: str | Embedder, *, uri: str, recorded: str) -> Embedder:
    """Return a model, loaded if it is given by its name.

    Args:
        model: the model or its name.
        uri: of the collection, for messages.
        recorded: name of the model that made the collection.

    Raises:
        InputError: there is no such model; a recorded path may be that of a folder that has moved.
    """
    if isinstance(model, Embedder):
        return model
    try:
        return Embedder(model)
    except InputError as error:
        if model != recorded:
            raise
        raise InputError(f"{uri}: its model has moved? {error} Give its new path with --model") from error
