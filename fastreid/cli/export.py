"""fastreid export: write the network of a config for another runtime."""

import argparse

from fastreid.cli.command import Command
from fastreid.utils.arguments import add_config_options
from fastreid.utils.errors import InputError
from fastreid.utils.option_values import NumberParser, parse_path
from fastreid.utils.text import print_message

TARGETS = ("onnx", "torch-export", "dir")
PRECISIONS = ("float32", "float16", "int8")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid export`."""
    add_config_options(parser, required=False)
    parser.add_argument(
        "--to",
        required=True,
        choices=TARGETS,
        help="onnx: a folder for onnxruntime; torch-export: a program for torch.export.load; dir: a model directory "
        "with weights and an ONNX file",
    )
    parser.add_argument("--output", required=True, type=parse_path, metavar="DIR", help="folder to write")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the ONNX file")
    parser.add_argument(
        "--include-flip", action="store_true", help="the file averages the features of an image and its mirror image"
    )
    parser.add_argument(
        "--drawings",
        type=parse_path,
        metavar="DIR",
        help="folder of drawings with which the file is checked and int8 is calibrated; default: the "
        "gallery of DATASETS.TESTS; for synthetic ones, a few",
    )
    parser.add_argument("--any-size", action="store_true", help="accept images of any size, not only INPUT.SIZE_TEST")
    number = NumberParser(int, 1, example="64")
    parser.add_argument("--num-drawings", type=number, default=64, metavar="N", help="how many drawings are used")
    parser.add_argument("--opset", type=int, metavar="N", help="version of the ONNX operators, 18 to 23 (default 20)")
    parser.add_argument(
        "--scores", action="store_true", help="also test the network in torch and the file on DATASETS.TESTS"
    )
    parser.add_argument(
        "--card", type=parse_path, metavar="FILE", help="YAML file of the model card, as in models save"
    )


def run(args: argparse.Namespace) -> int:
    """Export the network and print how far its features are from those of torch."""
    from fastreid.cli.models_save import read_card
    from fastreid.cli.predict import list_images
    from fastreid.engine.export.check_drawings import find_drawings
    from fastreid.engine.export.exporting import ExportOptions, check_export, export_network
    from fastreid.engine.export.onnx_graph import DEFAULT_OPSET
    from fastreid.engine.export.scores import add_scores, check_tests
    from fastreid.engine.model.directory import ModelCard
    from fastreid.engine.setup import load_test_config
    from fastreid.utils.temporary_folders import make_temporary_folder

    if args.scores and args.to == "torch-export":
        raise InputError("--scores is for --to onnx and --to dir")
    if args.opset is not None and args.to == "torch-export":
        raise InputError("--opset is for --to onnx and --to dir")
    options = ExportOptions(
        target=args.to,
        precision=args.precision,
        flip=args.include_flip,
        any_size=args.any_size,
        opset=DEFAULT_OPSET if args.opset is None else args.opset,
    )
    card = ModelCard(title=args.output.name) if args.card is None else read_card(args.card)
    cfg = load_test_config(args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"])
    check_export(cfg, args.output, options)
    if args.scores:
        check_tests(cfg)
    given = None if args.drawings is None else list_images([str(args.drawings)])
    with make_temporary_folder("fastreid-export-") as folder:
        drawings = find_drawings(cfg, folder, all_tests=args.scores) if given is None else given
        step = max(len(drawings) // args.num_drawings, 1)
        record = export_network(cfg, args.output, drawings[::step][: args.num_drawings], options, card)
    size = f"{record.size_px[0]} x {record.size_px[1]} px" if record.size_px else "any size"
    print_message(
        f"{args.output / record.file}: {record.precision}, {size}, {record.num_features} features; on "
        f"{record.num_checked} drawings they differ from torch by at most {record.difference:.1e} of the largest value"
    )
    if args.scores:
        for line in add_scores(cfg, args.output, record):
            print_message(line)
    if args.to != "torch-export":
        print_message(f"use it with MODEL.WEIGHTS {args.output}, or --model {args.output}")
    return 0


COMMAND = Command(
    "export",
    "Write a network for onnxruntime or torch.export, and check it on drawings.",
    "fastreid export --to onnx --output exported/lines MODEL.WEIGHTS lines-mobilenetv2",
    add_options,
    run,
)
