"""fastreid data show: plot what each augmentation does."""

import argparse

from fastreid.cli.command import Command
from fastreid.utils.files import expand_home
from fastreid.utils.option_values import NumberParser, parse_png_path
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid data show`."""
    parser.add_argument("--output", type=parse_png_path, required=True, metavar="FILE", help="PNG file to write")
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="config with strengths, image size and SEED; a last row shows all its augmentations together",
    )
    parser.add_argument(
        "--image",
        type=expand_home,
        nargs="+",
        default=[],
        metavar="FILE",
        help="drawings to show (default: a synthetic drawing)",
    )
    samples = NumberParser(int, 1, example="5")
    parser.add_argument("--samples", type=samples, default=5, metavar="N", help="images per augmentation")


def run(args: argparse.Namespace) -> int:
    """Write the sheet."""
    from fastreid.experiments.augmentation_sheet import plot_augmentations, show_augmentations
    from fastreid.synthetic import png_bytes
    from fastreid.utils.files import atomic_write, check_writable

    check_writable(args.output)
    rows = show_augmentations(args.config_file, args.image, num_samples=args.samples)
    with atomic_write(args.output) as file:
        file.write(png_bytes(plot_augmentations(rows)))
    print_message(f"{args.output}: {len(rows)} rows; at the left the original drawing, then {args.samples} samples")
    return 0


COMMAND = Command(
    "data show",
    "Plot what each augmentation does to a drawing.",
    "fastreid data show --config-file demo/stage1.yml --output augmentations.png",
    add_options,
    run,
)
