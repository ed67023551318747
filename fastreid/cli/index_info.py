"""fastreid index info: describe a collection."""

import argparse
import json

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid index info`."""
    add_collection(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the properties of the collection."""
    from fastreid import index
    from fastreid.utils.resources import format_bytes
    from fastreid.utils.text import escape_unprintable

    info = index.open(args.collection).info()
    if args.json:
        print_message(json.dumps(info, indent=1))
        return 0
    lines = {
        "drawings": f"{info['drawings']:,} of {info['patents']:,} patents",
        "model": f"{info['model']} (sha256 {info['weights_sha256'][:12]}), {info['dimension']} values a feature",
        "search": info["search"],
        "size": "unknown, on the server" if info["bytes"] is None else format_bytes(info["bytes"]),
        "created": info["created"],
        "columns": ", ".join(f"{name} ({kind})" for name, kind in info["columns"].items()),
    }
    lines |= {f"source {number}": source["path"] for number, source in enumerate(info["sources"], 1)}
    width = max(map(len, lines)) + 2
    print_message("\n".join(f"{name:{width}}{escape_unprintable(str(value))}" for name, value in lines.items()))
    return 0


COMMAND = Command(
    "index info",
    "Print the size, model, sources and columns of a collection.",
    "fastreid index info patents.index",
    add_options,
    run,
)
