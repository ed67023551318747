"""fastreid average: average the weights of several checkpoints."""

import argparse
from pathlib import Path
from typing import Any

from fastreid.cli.command import Command
from fastreid.utils.errors import InputError
from fastreid.utils.files import check_writable, expand_home
from fastreid.utils.option_values import NumberParser, parse_path
from fastreid.utils.text import format_count, print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid average`."""
    parser.add_argument(
        "models", type=expand_home, nargs="+", metavar="MODEL", help="checkpoints or model directories of one network"
    )
    parser.add_argument("--output", type=parse_path, required=True, metavar="FILE", help=".pth file of the average")
    parser.add_argument(
        "--weights",
        type=NumberParser(float, 0, example="0.5"),
        nargs="+",
        metavar="W",
        help="weight of each checkpoint, divided by their sum (default: equal weights)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the weighted mean of the checkpoints."""
    from fastreid.engine.model.network import CLASSIFIER_WEIGHT, read_network
    from fastreid.engine.resume.data_fingerprint import get_classes
    from fastreid.modeling.soup import average_states
    from fastreid.modeling.weights import check_finite

    weights = args.weights or [1.0] * len(args.models)
    _check_options(args.models, args.output, weights)
    contents = {path: read_network(path) for path in args.models}
    states = {path: content["model"] for path, content in contents.items()}
    for path, state in states.items():
        check_finite(state, source=path)
    classes = {path: get_classes(content.get("data")) for path, content in contents.items()}
    average, dropped = average_states(
        states, weights, may_drop=CLASSIFIER_WEIGHT, why_drop=_describe_other_patents(classes)
    )
    first = contents[args.models[0]]
    content = {"model": average, **({"config": first["config"]} if isinstance(first.get("config"), str) else {})}
    known = [record for record in classes.values() if record]
    _save(content | ({"data": known[0]} if known and not dropped else {}), args.output)
    if dropped:
        print_message(f"dropped {dropped}")
    shares = ", ".join(f"{weight / sum(weights):.3g} {path}" for path, weight in zip(args.models, weights))
    print_message(f"{args.output}: mean of {format_count(len(average), 'tensor')}: {shares}")
    return 0


def _describe_other_patents(classes: dict[str, dict[str, Any]]) -> str:
    """Return which two checkpoints were trained on other patents; "" if no record shows that."""
    (first, record), *others = [(path, record) for path, record in classes.items() if record] or [("", {})]
    differ = [path for path, other in others if other["labels"] != record["labels"]]
    return f"{first} and {differ[0]} have other training patents" if differ else ""


def _check_options(models: list[str], output: Path, weights: list[float]) -> None:
    """Check, before any file is read, that the options fit together."""
    if len(models) < 2 or len({Path(path).resolve() for path in models}) < len(models):
        raise InputError(f"the checkpoints must be two or more different files, not {', '.join(models)}")
    if len(weights) != len(models):
        raise InputError(
            f"--weights has {format_count(len(weights), 'number')} for {format_count(len(models), 'checkpoint')}; "
            "give one for each, after the checkpoints"
        )
    if sum(weights) == 0:
        raise InputError("--weights must have a number above 0")
    if output.suffix != ".pth":
        raise InputError(f"--output {output} must end in .pth")
    if output.resolve() in {Path(path).resolve() for path in models}:
        raise InputError(f"--output {output} is one of the checkpoints; choose another name")
    check_writable(output)


def _save(content: dict[str, object], path: Path) -> None:
    import torch

    from fastreid.utils.checksums import write_with_checksum

    with write_with_checksum(path) as file:
        torch.save(content, file)


COMMAND = Command(
    "average",
    "Average the weights of several checkpoints.",
    "fastreid average logs/a/model_final.pth logs/b/model_final.pth --output soup.pth --weights 0.7 0.3",
    add_options,
    run,
)
