"""fastreid predict: compute features of any drawings, and find the nearest drawings of a gallery."""

import argparse
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.cli.command import Command
from fastreid.config import get_cfg
from fastreid.utils.arguments import add_config_options
from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home
from fastreid.utils.option_values import NumberParser, parse_path
from fastreid.utils.text import format_count, print_message

if TYPE_CHECKING:
    from torch import Tensor

    from fastreid.structures import Ranking

DEFAULT_K = 5
CONFIG_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid predict`."""
    add_config_options(
        parser,
        required=False,
        metavar="IMAGE",
        meaning="image files and folders, searched with their subfolders; KEY VALUE settings can follow them",
    )
    parser.add_argument(
        "--weights",
        type=expand_home,
        metavar="MODEL",
        help="checkpoint, model directory or name of a shipped model (default: MODEL.WEIGHTS of the config; without a "
        "config, the default model)",
    )
    parser.add_argument(
        "--output", type=parse_path, metavar="FILE", help="features: .npy, float32 (N, D), or .csv with the paths"
    )
    parser.add_argument(
        "--gallery", type=expand_home, metavar="DIR", help="print the nearest drawings of this folder for each image"
    )
    k = NumberParser(int, 1, example=str(DEFAULT_K))
    parser.add_argument("-k", type=k, metavar="N", help=f"number of nearest drawings to print (default: {DEFAULT_K})")


def run(args: argparse.Namespace) -> int:
    """Compute the features, write them, and print the nearest drawings."""
    words, opts = split_settings(args.opts)
    _check_options(args, words)
    images = list_images(words)
    gallery, faults = _find_images([args.gallery]) if args.gallery is not None else ([], [])
    if not gallery:
        _raise_faults(faults, "unreadable gallery")
    from fastreid.engine.model.directory import DEFAULT_MODEL
    from fastreid.engine.predictor import Predictor
    from fastreid.engine.setup import load_config
    from fastreid.utils.files import check_writable

    if args.output is not None:
        check_writable(args.output)
    if args.config_file is None and args.weights == "pretrained":
        raise InputError("--weights pretrained needs a config that names the network; add --config-file")
    if args.config_file is None:
        opts = ["MODEL.WEIGHTS", args.weights or DEFAULT_MODEL, *opts]
    metric = load_config(args.config_file, opts).TEST.METRIC
    predictor = Predictor.from_config(args.config_file, args.weights, opts)
    features, unreadable = predictor.compute_readable(images)
    _raise_faults(list(unreadable.values()), "unreadable images")
    if args.output is not None:
        write_features(args.output, images, features)
        print_message(
            f"{args.output}: features of {format_count(len(images), 'drawing')}, {features.shape[1]} values each"
        )
    if gallery:
        from fastreid.evaluation import nearest

        gallery_features, unreadable = predictor.compute_readable(gallery)
        faults += unreadable.values()
        _warn_about_skipped(faults)
        readable = [path for position, path in enumerate(gallery) if position not in unreadable]
        if not readable:
            counts = format_count(len(faults), "unreadable file")
            raise InputError(f"{args.gallery}: no drawing can be read ({counts}); check the folder")
        ranking = nearest(features, gallery_features, DEFAULT_K if args.k is None else args.k, metric=metric)
        for line in format_neighbors(images, readable, ranking):
            print_message(line)
        print_message(f"columns: rank, distance ({metric}), drawing")
        if faults:
            num_searched = format_count(len(readable), "drawing")
            print_message(f"gallery: {num_searched} searched, {format_count(len(faults), 'unreadable file')} skipped")
    return 0


def format_neighbors(images: Sequence[str], gallery: Sequence[str], ranking: "Ranking") -> Iterator[str]:
    """Yield the lines of a ranking: each image, then its nearest drawings with rank, distance and path, in columns.

    Distances have 4 decimals, so that equal pages have 0.0000.
    """
    from fastreid.utils.text import escape_unprintable

    # Adding 0 turns a rounded -0.0 into 0.0.
    table = [[f"{round(distance, 4) + 0.0:.4f}" for distance in row] for row in ranking.distances.tolist()]
    width = max(len(distance) for row in table for distance in row)
    rank_width = max(len(str(len(row))) for row in table)
    for image, rows, distances in zip(images, ranking.indices.tolist(), table):
        yield escape_unprintable(image)
        for rank, (row, distance) in enumerate(zip(rows, distances), start=1):
            yield f"  {rank:<{rank_width}}  {distance:>{width}}  {escape_unprintable(gallery[row])}"


def _warn_about_skipped(faults: Sequence[str]) -> None:
    """Log a warning for each of the first unreadable drawings of the gallery, then one with the total."""
    from fastreid.utils.logger import get_logger
    from fastreid.utils.text import MAX_FAULTS_SHOWN, escape_unprintable

    for fault in faults[:MAX_FAULTS_SHOWN]:
        get_logger().warning(f"skipped in the gallery: {escape_unprintable(fault)}")
    if len(faults) > MAX_FAULTS_SHOWN:
        get_logger().warning(f"skipped in the gallery: {len(faults)} in all, of which {MAX_FAULTS_SHOWN} are listed")


def _raise_faults(faults: Sequence[str], heading: str) -> None:
    """Raise an InputError with all faults if there are any."""
    from fastreid.utils.text import format_faults

    if faults:
        raise InputError(faults[0] if len(faults) == 1 else format_faults(faults, heading))


def split_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split paths from the KEY VALUE pairs behind them; the first name of a setting or section starts the pairs."""
    names = get_cfg()
    for index, word in enumerate(words):
        if CONFIG_KEY.fullmatch(word) and word.partition(".")[0] in names:
            return list(words[:index]), list(words[index:])
    return list(words), []


def _check_options(args: argparse.Namespace, words: Sequence[str]) -> None:
    late = next((word for word in words if word.startswith("-")), None)
    if late is not None:
        raise InputError(f"fastreid predict: {late} follows an image; options come before the images")
    if not words:
        raise InputError("fastreid predict: no image given; add image files or folders after the options")
    if args.output is None and args.gallery is None:
        raise InputError("fastreid predict: nothing to do; add --output FILE.npy, --gallery DIR or both")
    if args.output is not None and args.output.suffix not in (".npy", ".csv"):
        raise InputError(f"--output is {args.output}; the name must end in .npy or .csv")
    if args.k is not None and args.gallery is None:
        raise InputError("-k is the number of nearest drawings of --gallery, which is missing; add --gallery DIR")


def list_images(paths: Sequence[str]) -> list[str]:
    """Return the given files, and all drawings of the given folders and their subfolders, by page.

    Raises:
        InputError: a path does not exist, or a folder contains no drawing or cannot be read; the message has all.
    """
    images, faults = _find_images(paths)
    _raise_faults(faults, "unreadable images")
    return images


def _find_images(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the drawings as `list_images` does, and the reasons for those that are missing or cannot be listed."""
    from fastreid.data.datasets.folder_tree import SUFFIXES, list_pages, scan_folder
    from fastreid.utils.page_address import split_page_address

    images: list[str] = []
    faults: list[str] = []
    for path in map(parse_path, paths):
        if path.is_dir():
            tree = scan_folder(path)
            faults += [f"{path}: {fault}" for fault in tree.faults]
            if not tree.num_files and not tree.faults:
                faults.append(f"{path}: contains no drawing ({', '.join(SUFFIXES)})")
            for *parts, file in sorted((*parts, file) for parts, names in tree.drawings.items() for file in names):
                try:
                    images += [address for address, _ in list_pages(tree, tuple(parts), file)]
                except InputError as error:
                    faults.append(f"{path}: {error}")
        elif Path(split_page_address(path)[0]).exists():
            images.append(str(path))
        else:
            faults.append(f"{path}: no such file or folder; check the path")
    return images, faults


def write_features(path: Path, images: Sequence[str], features: "Tensor") -> None:
    """Write features (N, D) as .npy, float32 in the order of the images, or as .csv with the path first."""
    import numpy as np

    from fastreid.utils.files import atomic_write

    if path.suffix == ".npy":
        content = io.BytesIO()
        np.save(content, features.numpy())  # into memory: NumPy's own error for a full disk has no cause
        with atomic_write(path) as file:
            file.write(content.getbuffer())
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["image", *range(features.shape[1])])
    writer.writerows([image, *(f"{value:.9g}" for value in row)] for image, row in zip(images, features.tolist()))
    with atomic_write(path) as file:
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))  # names of files keep their bytes


COMMAND = Command(
    "predict",
    "Compute features of image files, and find the nearest drawings of a folder.",
    "fastreid predict --gallery drawings -k 10 query.png",
    add_options,
    run,
)
