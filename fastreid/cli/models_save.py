"""fastreid models save: write a model directory from a training run."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.cli.command import Command
from fastreid.utils.arguments import add_config_options
from fastreid.utils.errors import InputError, describe_unknown
from fastreid.utils.option_values import parse_path
from fastreid.utils.text import print_message

if TYPE_CHECKING:
    from fastreid.engine.model.directory import ModelCard


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid models save`."""
    add_config_options(parser)
    parser.add_argument("--output", required=True, type=parse_path, metavar="DIR", help="model directory to write")
    parser.add_argument(
        "--card",
        required=True,
        type=parse_path,
        metavar="FILE",
        help="YAML file with the content of the model card: title, license, description, data, command, scores, "
        "intended_use",
    )


def run(args: argparse.Namespace) -> int:
    """Load the weights of the config, and write them with their settings and the card."""
    from fastreid.engine.predictor import Predictor
    from fastreid.engine.setup import load_test_config

    card = read_card(args.card)
    predictor = Predictor.from_cfg(load_test_config(args.config_file, args.opts))
    folder = predictor.save_pretrained(args.output, card)
    print_message(f"{folder}: saved; use it with MODEL.WEIGHTS {folder}")
    return 0


def read_card(path: Path) -> "ModelCard":
    """Return the model card in a YAML file.

    Raises:
        InputError: the file does not exist, or has an unknown, missing or invalid entry.
    """
    from fastreid.config.reader import read_settings
    from fastreid.engine.model.directory import ModelCard

    if not path.is_file():
        raise InputError(f"--card {path}: no such file; check the path")
    names = [field.name for field in fields(ModelCard)]
    texts: dict[str, str] = {}
    scores: dict[str, dict[str, float]] = {}
    for setting in read_settings(str(path)):
        name, *rest = setting.key.split(".")
        if name not in names:
            raise InputError(f"{setting.location}: {describe_unknown('entry', name, names)}")
        if name != "scores" and isinstance(setting.value, str) and not rest:
            texts[name] = setting.value
        elif name == "scores" and isinstance(setting.value, (int, float)) and len(rest) == 2:
            scores.setdefault(rest[0], {})[rest[1]] = float(setting.value)
        else:
            allowed = "a test and its scores, such as my_test: {mAP: 60.1}" if name == "scores" else "a text"
            raise InputError(f"{setting.location}: {name} must be {allowed}, not {setting.value!r}")
    if "title" not in texts:
        raise InputError(f"{path}: has no title; add a line such as title: my-model")
    return ModelCard(**texts, scores=scores)


COMMAND = Command(
    "models save",
    "Write a training run as a model directory, with a model card.",
    "fastreid models save --config-file recipes/head_only.yml --card card.yml --output models/mine "
    "MODEL.WEIGHTS logs/recipes/head_only/model_final.pth",
    add_options,
    run,
)
