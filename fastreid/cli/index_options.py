"""Options that several commands of collections share."""

import argparse

from fastreid.utils.files import expand_home


def add_collection(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the collection."""
    parser.add_argument("collection", type=expand_home, metavar="COLLECTION", help="folder of the collection")


def add_model(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --model."""
    parser.add_argument(
        "--model",
        type=expand_home,
        metavar="MODEL",
        help=f"model directory, name of a shipped model or of a timm network (default: {default})",
    )


def add_filter(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add --filter."""
    parser.add_argument("--filter", metavar="FILTER", help=f'{purpose}, such as "locarno STARTSWITH 06 AND page = 1"')
