"""Lists and folders of public retrieval datasets, read into drawings."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fastreid.data.datasets.base import InvalidListError
from fastreid.data.datasets.list_paths import PathResolver, describe_contents
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.files import read_file_bytes
from fastreid.utils.text import escape_unprintable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class Image(NamedTuple):
    """An image of a list.

    Args:
        name: path relative to the images of the dataset.
        identity: id of the product, class, person or vehicle.
        source: file and line, for messages.
        camera: -1 if unknown.
    """

    name: str
    identity: str
    source: str
    camera: int = -1


def find_folder(root: Path, names: Sequence[str], content: str, *, dataset: str) -> Path:
    """Return the first folder below `root` that contains a file or folder.

    Args:
        root: data folder.
        names: of the folder; "" is `root` itself.
        content: path in the folder that must exist.
        dataset: its name, for the message.

    Raises:
        InputError: there is none.
    """
    for name in names:
        if (root / name / content).exists():
            return root / name
    wanted = " or ".join(str(Path(name, content)) for name in names)
    found = next((name for name in names if name and (root / name).is_dir()), "")
    raise InputError(
        f"{dataset}: {root} does not contain {wanted}; {describe_contents(root / found)}; download the dataset from "
        "its authors, unpack it, and set DATASETS.ROOT (or $FASTREID_DATASETS) to the folder above it"
    )


def read_rows(path: Path, *, num_fields: int, num_skipped: int, faults: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (file and line, fields) of each line; a line with another number of fields adds a fault.

    Args:
        path: text file with fields between spaces.
        num_fields: fields of a line.
        num_skipped: lines of the header.
        faults: one line each.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = read_file_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {describe_contents(path.parent)}")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); download the dataset again")
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if number <= num_skipped or not fields:
            continue
        if len(fields) == num_fields:
            yield f"{path.name}:{number}", fields
        else:
            faults.append(f"{path.name}:{number}: {len(fields)} fields, expected {num_fields}: {line.strip()!r:.100}")


def to_drawings(
    images: Iterable[Image], *, folders: Sequence[Path], where: Path, faults: Sequence[str] = ()
) -> tuple[Drawing, ...]:
    """Return the drawings of images; all faults are reported together.

    Args:
        images: in the order of the list.
        folders: folders of the images; the first that contains a file is used.
        where: the list, for messages.
        faults: found before, one line each.

    Raises:
        InvalidListError: there are faults, or a file is missing or repeated, or there is no image.
    """
    resolver, drawings, all_faults = PathResolver(folders), dict[str, Drawing](), list(faults)
    for image in images:
        if image.name in drawings:
            all_faults.append(f"{image.source}: {image.name} is also in {drawings[image.name].source}")
            continue
        try:
            path = resolver.resolve(image.name)
        except InputError as error:
            all_faults.append(f"{image.source}: {error}")
            continue
        drawings[image.name] = Drawing(path, image.name, image.identity, image.camera, image.source)
    if not drawings and not all_faults:
        all_faults.append("contains no image; download the dataset again")
    if all_faults:
        raise InvalidListError({str(where): all_faults}, [tuple(drawings.values())])
    return tuple(drawings.values())


def read_named_images(
    folder: Path, subfolder: str, pattern: str, *, names_file: str = "", is_junk: Callable[[int], bool]
) -> tuple[tuple[Drawing, ...], int]:
    """Read images whose names begin with identity and camera, such as 0002_c1s1_000451_03.jpg.

    Args:
        folder: of the dataset.
        subfolder: contains the images.
        pattern: regular expression of the start of a name, with a group for the identity and one for the camera, which
            is counted from 1.
        names_file: list of the names in `folder`, which is used if it exists; otherwise all images of the subfolder.
        is_junk: whether images with an identity are left out.

    Returns:
        The drawings, by the order of the list or sorted by name, and the number of junk images.

    Raises:
        InputError: the folder cannot be listed.
        InvalidListError: a name does not match the pattern, or a file of the list is missing.
    """
    faults: list[str] = []
    where = folder / names_file
    if names_file and where.is_file():
        listed = [(source, name) for source, [name] in read_rows(where, num_fields=1, num_skipped=0, faults=faults)]
    else:
        where = folder / subfolder
        listed = [(f"{subfolder}/{name}", name) for name in _list_images(where)]
    images, num_junk = [], 0
    for source, name in listed:
        match = re.match(pattern, name)
        if match is None:
            faults.append(f"{source}: the name {escape_unprintable(name)} does not start with an identity and a camera")
        elif is_junk(int(match[1])):
            num_junk += 1
        else:
            images.append(Image(f"{subfolder}/{name}", str(int(match[1])), source, int(match[2]) - 1))
    return to_drawings(images, folders=[folder], where=where, faults=faults), num_junk


def _list_images(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); {describe_contents(folder.parent)}")
    return sorted(name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."))
