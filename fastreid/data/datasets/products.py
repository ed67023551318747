"""Public datasets of metric learning: CUB-200-2011, Cars196, Stanford Online Products and In-Shop.

The first three have no queries: each test image is a query, and all other test images are its gallery. Training and
test have different classes, as in Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, 2016.
"""

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastreid.data.datasets.benchmark_files import Image, find_folder, read_rows, to_drawings
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError

Lists = tuple[tuple[Drawing, ...], tuple[Drawing, ...]]


class _SplitByClass(abc.ABC):
    """A dataset whose first classes are for training and whose other classes are for the test.

    Args:
        root: data folder.
    """

    NUM_TRAIN_CLASSES: int
    NUM_CLASSES: int

    def __init__(self, root: Path):
        self.root = root

    def train(self) -> tuple[Drawing, ...]:
        """Return the training images."""
        return self._read(range(1, self.NUM_TRAIN_CLASSES + 1))

    def test(self) -> Lists:
        """Return the test images as queries and as gallery."""
        drawings = self._read(range(self.NUM_TRAIN_CLASSES + 1, self.NUM_CLASSES + 1))
        return drawings, drawings

    @abc.abstractmethod
    def _read(self, classes: range) -> tuple[Drawing, ...]:
        """Return the images of the classes."""


class CUB(_SplitByClass):
    """CUB-200-2011 (Wah et al., 2011): classes 1 to 100 of birds for training, 101 to 200 for the test.

    Reads `images.txt`, `image_class_labels.txt` and `images/` in `root/CUB_200_2011/`.

    Args:
        root: data folder.
    """

    NUM_TRAIN_CLASSES, NUM_CLASSES = 100, 200

    def _read(self, classes: range) -> tuple[Drawing, ...]:
        folder = find_folder(self.root, ("CUB_200_2011",), "images.txt", dataset="CUB")
        faults: list[str] = []
        labels_file, images_file = folder / "image_class_labels.txt", folder / "images.txt"
        labels = {}
        for source, (number, label) in read_rows(labels_file, num_fields=2, num_skipped=0, faults=faults):
            labels[number] = _parse_class(label, self.NUM_CLASSES, source, faults)
        images = []
        for source, (number, name) in read_rows(images_file, num_fields=2, num_skipped=0, faults=faults):
            if number not in labels:
                faults.append(f"{source}: image {number} has no line in {labels_file.name}")
            elif labels[number] in classes:
                images.append(Image(name, str(labels[number]), source))
        return to_drawings(images, folders=[folder / "images"], where=images_file, faults=faults)


class Cars196(_SplitByClass):
    """Cars196 (Krause et al., 2013): classes 1 to 98 for training, 99 to 196 for the test.

    Reads `cars_annos.mat`, whose paths are relative to its folder (`car_ims/000001.jpg`), or `cars_train/`,
    `cars_test/`, `devkit/cars_train_annos.mat` and `cars_test_annos_withlabels.mat`, in `root/Cars_196/` or
    `root/cars196/`. The two halves of the second layout are those of classification; they are joined.

    Args:
        root: data folder.
    """

    FOLDERS = ("Cars_196", "cars196", "stanford_cars")
    NUM_TRAIN_CLASSES, NUM_CLASSES = 98, 196

    def _read(self, classes: range) -> tuple[Drawing, ...]:
        parts = [("cars_annos.mat", "")]
        try:
            folder = find_folder(self.root, self.FOLDERS, parts[0][0], dataset="Cars196")
        except InputError:
            parts = [("devkit/cars_train_annos.mat", "cars_train"), ("cars_test_annos_withlabels.mat", "cars_test")]
            if not any((self.root / name / parts[0][0]).exists() for name in self.FOLDERS):
                raise
            folder = find_folder(self.root, self.FOLDERS, parts[1][0], dataset="Cars196")
        faults: list[str] = []
        images = [
            Image(name, str(label), source)
            for file, subfolder in parts
            for name, label, source in self._read_annotations(folder / file, subfolder, faults)
            if label in classes
        ]
        return to_drawings(images, folders=[folder], where=folder / parts[0][0], faults=faults)

    def _read_annotations(self, path: Path, subfolder: str, faults: list[str]) -> Iterator[tuple[str, int, str]]:
        """Yield the path, the class and the source of each image of a MATLAB file."""
        for number, row in enumerate(_load_matlab_rows(path), 1):
            source = f"{path.name}:{number}"
            name = row.get("fname", "") if subfolder else row.get("relative_im_path", "")
            if not name or "class" not in row:
                fields = ", ".join(sorted(row))
                faults.append(f"{source}: has the fields {fields}, but no path or no class; download the file again")
                continue
            label = _parse_class(str(row["class"]), self.NUM_CLASSES, source, faults)
            yield (f"{subfolder}/{name}" if subfolder else str(name)), label, source


class SOP:
    """Stanford Online Products (Song et al., 2016): 11,318 products for training, 11,316 others for the test.

    Reads `Ebay_train.txt`, `Ebay_test.txt` and their images in `root/Stanford_Online_Products/`.

    Args:
        root: data folder.
    """

    def __init__(self, root: Path):
        self.root = root

    def train(self) -> tuple[Drawing, ...]:
        """Return the training images."""
        return self._read("Ebay_train.txt")

    def test(self) -> Lists:
        """Return the test images as queries and as gallery."""
        drawings = self._read("Ebay_test.txt")
        return drawings, drawings

    def _read(self, file: str) -> tuple[Drawing, ...]:
        folder = find_folder(self.root, ("Stanford_Online_Products",), file, dataset="SOP")
        faults: list[str] = []
        rows = read_rows(folder / file, num_fields=4, num_skipped=1, faults=faults)
        images = [Image(name, product, source) for source, (_, product, _, name) in rows]
        return to_drawings(images, folders=[folder], where=folder / file, faults=faults)


class InShop:
    """In-Shop Clothes Retrieval of DeepFashion (Liu et al., 2016), with its own queries and gallery.

    Reads `list_eval_partition.txt` in `root/InShop/`, or in `Eval/` or `Anno/` below it; its paths
    (`img/WOMEN/...`) are relative to `root/InShop/` or `root/InShop/Img/`.

    Args:
        root: data folder.
    """

    LISTS = ("list_eval_partition.txt", "Eval/list_eval_partition.txt", "Anno/list_eval_partition.txt")
    PARTS = ("train", "query", "gallery")

    def __init__(self, root: Path):
        self.root = root

    def train(self) -> tuple[Drawing, ...]:
        """Return the training images."""
        return self._read("train")

    def test(self) -> Lists:
        """Return the queries and the gallery."""
        return self._read("query"), self._read("gallery")

    def _read(self, part: str) -> tuple[Drawing, ...]:
        existing = [name for name in self.LISTS if (self.root / "InShop" / name).exists()]
        folder = find_folder(self.root, ("InShop",), (existing or self.LISTS)[0], dataset="InShop")
        path, faults, images = folder / existing[0], list[str](), []
        for source, (name, item, status) in read_rows(path, num_fields=3, num_skipped=2, faults=faults):
            if status not in self.PARTS:
                faults.append(f"{source}: the part is {status!r}; allowed are {', '.join(self.PARTS)}")
            elif status == part:
                images.append(Image(name, item, source))
        return to_drawings(images, folders=[folder, folder / "Img"], where=path, faults=faults)


def _parse_class(text: str, num_classes: int, source: str, faults: list[str]) -> int:
    """Return the number of a class; 0, with a fault, if it is invalid."""
    if text.isdecimal() and 1 <= int(text) <= num_classes:
        return int(text)
    faults.append(f"{source}: the class is {text!r}; allowed are 1 to {num_classes}")
    return 0


def _load_matlab_rows(path: Path) -> list[dict[str, Any]]:
    """Return the elements of the variable `annotations` of a MATLAB file.

    Raises:
        InputError: the file cannot be read, or has no such variable.
    """
    from scipy.io import loadmat

    try:
        rows = loadmat(path, simplify_cells=True)["annotations"]
        return [dict(row) for row in ([rows] if isinstance(rows, dict) else rows)]
    except Exception as error:  # scipy raises many types on a damaged file
        raise InputError(f"{path}: not a MATLAB file with `annotations` ({error!r:.100}); download it again")
