"""What every command does first: arguments, config, output folder, log, seeds."""

import argparse
import fcntl
import functools
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision
from torch import nn

from fastreid import __version__
from fastreid.config import CfgNode, get_cfg
from fastreid.config.reader import settings_of
from fastreid.utils import comm
from fastreid.utils.cli import CommandParser
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import remove_stale, write_text
from fastreid.utils.logger import get_logger, setup_logger
from fastreid.utils.seeding import key


def config_parser(description: str = "") -> argparse.ArgumentParser:
    """What every command with settings takes: a file of them, and behind all options `KEY VALUE` pairs over it."""
    parser = CommandParser(description=description)
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="YAML settings, such as configs/demo/stage1.yml"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings that win over the file")
    return parser


def default_argument_parser(description: str = "") -> argparse.ArgumentParser:
    """The arguments users of fast-reid know, beside those of `config_parser`."""
    parser = config_parser(description)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="test MODEL.WEIGHTS, do not train")
    parser.add_argument("--random-weights", action="store_true", help="test a network that has not learnt anything")
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N", help="processes on this machine, one a GPU")
    parser.add_argument("--num-machines", type=int, default=1, metavar="N", help="machines in all")
    parser.add_argument("--machine-rank", type=int, default=0, metavar="N", help="number of this machine, from 0")
    parser.add_argument(
        "--dist-url", default="auto", metavar="URL", help="where machine 0 listens; auto: a free port here"
    )
    return parser


def load_config(config_file: str | Path, opts: Sequence[str] = ()) -> CfgNode:
    """The frozen settings of a file and `KEY VALUE` pairs over it.

    Raises:
        InputError: a setting that is none, or that `config.yaml` could not be read back with, as a resume does.
    """
    late = [word for word in opts if str(word).startswith("--")]
    if late:
        raise InputError(f"command line: {late[0]} stands after a setting; options come before the KEY VALUE pairs")
    cfg = get_cfg()
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(list(opts))
    cfg.freeze()
    settings_of(cfg.dump(), "command line")
    return cfg


def resolve_device(cfg: CfgNode) -> torch.device:
    """The device to run on.

    Raises:
        EnvironmentSetupError: MODEL.DEVICE asks for a GPU and there is none; it is never switched in silence.
        InputError: MODEL.DEVICE is no device.
    """
    name = cfg.MODEL.DEVICE
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise EnvironmentSetupError(
                f"MODEL.DEVICE is {name} but torch sees no GPU; add MODEL.DEVICE cpu to run without one"
            )
        index = torch.cuda.current_device() if name == "cuda" else int(name.partition(":")[2])
        if index >= torch.cuda.device_count():
            raise EnvironmentSetupError(
                f"MODEL.DEVICE is {name} but there are {torch.cuda.device_count()} GPUs, counted from 0"
            )
        return torch.device("cuda", index)
    if name != "cpu":
        raise InputError(f"MODEL.DEVICE is '{name}'; it is cuda, cuda:N or cpu")
    return torch.device("cpu")


def to_device(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The network on its device, its kernels in the order of memory of MODEL.CHANNELS_LAST, which maps then follow."""
    layout = torch.channels_last if cfg.MODEL.CHANNELS_LAST else torch.preserve_format
    return model.to(resolve_device(cfg), memory_format=layout)  # type: ignore[call-overload]  # torch declares it for tensors


def default_setup(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Check the device, take the output folder, open the log, seed torch.

    `config.yaml` is left to what trains, once nothing can be refused any more: it belongs to the metrics beside it.

    Raises:
        EnvironmentSetupError: no such device, the folder cannot be written, or another run holds it.
    """
    device = resolve_device(cfg)
    folder = Path(cfg.OUTPUT_DIR)
    if comm.is_main():
        _take(folder.resolve())
        stale = remove_stale(folder)
    comm.gather(None)  # the others wait until the folder is there
    logger = setup_logger(folder, rank=comm.rank())
    if comm.is_main() and stale:
        logger.info(f"removed what a killed run left: {', '.join(stale)}")
    logger.debug(f"arguments: {args}")
    logger.info(_versions(device))
    logger.debug(f"settings:\n{cfg.dump()}")
    torch.manual_seed(key(cfg.SEED, "torch"))
    _choose_kernels(cfg)


def _choose_kernels(cfg: CfgNode) -> None:
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not cfg.DETERMINISTIC
    torch.use_deterministic_algorithms(cfg.DETERMINISTIC)
    if cfg.DETERMINISTIC:
        if cfg.CUDNN_BENCHMARK:
            get_logger().info(
                "DETERMINISTIC is True, so CUDNN_BENCHMARK, whose choice may differ from run to run, is off"
            )
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS asks for, before its first product


def write_config(cfg: CfgNode) -> None:
    """Leave all settings of a run in its folder, as `config.yaml`."""
    write_text(Path(cfg.OUTPUT_DIR) / "config.yaml", cfg.dump())


@functools.cache
def _take(folder: Path) -> int:
    """Make the folder ours until this process ends: the lock is held by the open file, which the system closes.

    A process that asks again for the same folder, as a notebook does, gets the handle it has.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise EnvironmentSetupError(
            f"OUTPUT_DIR {folder} cannot be written ({error.strerror}); choose another with OUTPUT_DIR"
        )
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(handle, 100).decode(errors="replace").strip()
        os.close(handle)
        raise EnvironmentSetupError(
            f"OUTPUT_DIR {folder} is in use by process {owner}; wait for it or choose another OUTPUT_DIR"
        )
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    os.register_at_fork(after_in_child=functools.partial(_let_go, handle, os.getpid()))
    return handle


def _let_go(handle: int, owner: int) -> None:
    """In a loading process: leave the lock to the main one.

    The workers of a run that was killed live on for seconds, and `--resume` would be refused while they hold it.
    """
    if os.getppid() == owner:
        os.close(handle)


def _versions(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return (
        f"fastreid {__version__}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"Python {platform.python_version()}, {name}, {comm.world_size()} process(es)"
    )
