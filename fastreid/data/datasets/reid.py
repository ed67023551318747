"""Public datasets of re-identification: Market-1501 (persons) and VeRi-776 (vehicles), with the cameras of images."""

from pathlib import Path

from fastreid.data.datasets.benchmark_files import find_folder, read_named_images
from fastreid.structures import Drawing
from fastreid.utils.logger import get_logger


class Market1501:
    """Market-1501 (Zheng et al., Scalable Person Re-identification: A Benchmark, 2015).

    Reads `bounding_box_train/`, `query/` and `bounding_box_test/` in `root/Market-1501-v15.09.15/`, or in `root`.
    As in fast-reid, images with identity -1 (junk) are left out, and those with 0 (distractors) are wrong matches.

    Args:
        root: data folder.
    """

    PATTERN = r"(-1|\d+)_c([1-6])"

    def __init__(self, root: Path):
        self.root = root

    def train(self) -> tuple[Drawing, ...]:
        """Return the training images."""
        return self._read("bounding_box_train")

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery."""
        return self._read("query"), self._read("bounding_box_test")

    def _read(self, subfolder: str) -> tuple[Drawing, ...]:
        folder = find_folder(self.root, ("Market-1501-v15.09.15", ""), subfolder, dataset="Market1501")
        drawings, num_junk = read_named_images(folder, subfolder, self.PATTERN, is_junk=lambda identity: identity == -1)
        if num_junk:
            get_logger().info(f"Market1501: {num_junk} images of {subfolder} have the identity -1 and are left out")
        return drawings


class VeRi:
    """VeRi-776 (Liu et al., A Deep Learning-Based Approach to Progressive Vehicle Re-identification, 2016).

    Reads `image_train/`, `image_query/` and `image_test/` in `root/veri/` or `root/VeRi/`. If `name_train.txt`,
    `name_query.txt` and `name_test.txt` are there, they determine the images and their order.

    Args:
        root: data folder.
    """

    PATTERN = r"(\d+)_c(0(?:0[1-9]|1\d|20))"  # 20 cameras

    def __init__(self, root: Path):
        self.root = root

    def train(self) -> tuple[Drawing, ...]:
        """Return the training images."""
        return self._read("train")

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery."""
        return self._read("query"), self._read("test")

    def _read(self, part: str) -> tuple[Drawing, ...]:
        subfolder = f"image_{part}"
        folder = find_folder(self.root, ("veri", "VeRi"), subfolder, dataset="VeRi")
        drawings, _ = read_named_images(
            folder, subfolder, self.PATTERN, names_file=f"name_{part}.txt", is_junk=lambda identity: False
        )
        return drawings
