"""fastreid index create: make an empty collection of drawings."""

import argparse

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection, add_model
from fastreid.utils.option_values import NumberParser
from fastreid.utils.text import print_message

SETTINGS = {  # option -> meaning; the names are those of `IndexSettings`
    "exact-max-rows": "search exactly up to this number of drawings, and with an index above",
    "num-partitions": "partitions of the index; 0: the square root of the number of drawings",
    "num-sub-vectors": "bytes of a feature in an IVF-PQ index; 0: an IVF-RQ index, with a bit for each value",
    "num-probes": "partitions that a search reads; 0: chosen for a recall of 0.95, measured when the index is built",
    "refine-factor": "candidates per result that are ranked again by their full features",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid index create`."""
    add_collection(parser)
    add_model(parser, "the default model")
    for name, meaning in SETTINGS.items():
        minimum = 1 if name == "refine-factor" else 0
        parser.add_argument(f"--{name}", type=NumberParser(int, minimum, example="50"), metavar="N", help=meaning)


def run(args: argparse.Namespace) -> int:
    """Create the collection."""
    from fastreid import index
    from fastreid.engine.model.directory import DEFAULT_MODEL

    names = [name.replace("-", "_") for name in SETTINGS]
    settings = {name: value for name in names if (value := getattr(args, name)) is not None}
    collection = index.create(
        args.collection, model=args.model or DEFAULT_MODEL, settings=index.IndexSettings(**settings)
    )
    print_message(f"{args.collection}: an empty collection of the model {collection.manifest.model.name}")
    return 0


COMMAND = Command(
    "index create",
    "Create an empty collection of drawings.",
    "fastreid index create patents.index --model lines-mobilenetv2",
    add_options,
    run,
)
