"""Options that several commands of collections share."""

import argparse

from fastreid.utils.files import expand_home


def add_collection(parser: argparse.ArgumentParser, *, is_required: bool = True) -> None:
    """Add the folder or address of the collection."""
    help_text = "folder of the collection, or its address on a Milvus server: http://HOST:PORT/NAME"
    nargs = None if is_required else "?"
    parser.add_argument("collection", nargs=nargs, type=expand_home, metavar="COLLECTION", help=help_text)


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
