"""Set up a command: arguments, config, output folder, log and seeds."""

import argparse
import functools
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fastreid import __version__
from fastreid.config import CfgNode, get_cfg
from fastreid.config.reader import parse_settings
from fastreid.engine.checkpoint.index import BEST_FILE
from fastreid.engine.model.directory import CONFIG_FILE as MODEL_CONFIG_FILE
from fastreid.engine.model.directory import find_model_directory
from fastreid.modeling.network_settings import resolve_network_settings
from fastreid.utils import comm
from fastreid.utils.arguments import CommandParser, add_config_options, add_output_options, add_process_options
from fastreid.utils.errors import EnvironmentSetupError, FastreidError, InputError, StorageError
from fastreid.utils.files import open_own_file, remove_temporary_files, write_text
from fastreid.utils.locks import try_lock
from fastreid.utils.logger import get_logger, setup_logger
from fastreid.utils.resources import find_resource_error
from fastreid.utils.seeding import derive_seed

CONFIG_FILE = "config.yaml"

_held_locks: dict[str, int] = {}  # absolute path of each OUTPUT_DIR of this process -> handle of its lock file


def default_argument_parser(description: str = "") -> CommandParser:
    """Return a parser of the arguments that users of fast-reid know."""
    parser = CommandParser(description=description)
    add_config_options(parser)
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, do not train")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    add_process_options(parser)
    add_output_options(parser)
    return parser


def load_config(config_file: str | Path | None, opts: Sequence[Any] = (), *, base: CfgNode | None = None) -> CfgNode:
    """Return the frozen settings of a config file with `KEY VALUE` pairs that override it.

    If MODEL.WEIGHTS is a model directory or the name of a shipped model, its settings are the defaults.
    MODEL.DEVICE `auto` is replaced by the device that it selects, and empty pixel statistics and image sizes by those
    of the backbone.

    Args:
        config_file: path or name of a shipped config, see `fastreid.config.locate.find_config`; None: the defaults.
        opts: KEY VALUE pairs, one list.
        base: settings to start from, such as `get_cfg()` with settings of your own; None: the defaults.

    Raises:
        InputError: a setting is invalid, or `config.yaml`, from which a run is resumed, could not be read again.
    """
    late = [word for index, word in enumerate(opts) if str(word).startswith("--" if index % 2 else "-")]
    if late:
        raise InputError(f"command line: {late[0]} follows a setting; options come before the KEY VALUE pairs")
    start = get_cfg() if base is None else base
    cfg = _merge(start, config_file, opts)
    directory = find_model_directory(cfg.MODEL.WEIGHTS)
    if directory is not None:  # its settings come before those of the config file and the command line
        cfg = _merge(_merge(start, directory / MODEL_CONFIG_FILE, ()), config_file, opts)
        cfg.MODEL.WEIGHTS = str(directory)
    if cfg.MODEL.DEVICE == "auto":
        cfg.MODEL.DEVICE = find_device()
    cfg.freeze()
    parse_settings(cfg.dump(), "command line")
    return resolve_network_settings(cfg)


def _merge(start: CfgNode, config_file: str | Path | None, opts: Sequence[Any]) -> CfgNode:
    cfg = start.clone()
    if config_file is not None:
        cfg.merge_from_file(config_file)
    cfg.merge_from_list(list(opts))
    return cfg


def load_test_config(config_file: str | Path | None, opts: Sequence[Any] = ()) -> CfgNode:
    """Return the settings of a test, as `load_config` does; the `config.yaml` of a training run tests its best weights.

    In the `config.yaml` that a run writes to its OUTPUT_DIR, MODEL.WEIGHTS are the weights from which it started, so
    `model_best.pth` of the same folder replaces them, with a message, unless `opts` contain MODEL.WEIGHTS.

    Args:
        config_file: as for `load_config`.
        opts: as for `load_config`.

    Raises:
        InputError: as for `load_config`.
    """
    cfg = load_config(config_file, opts)
    path = Path(config_file) if config_file is not None else Path()
    best = path.with_name(BEST_FILE) if path.name == CONFIG_FILE else path
    if path.name != CONFIG_FILE or not best.is_file() or "MODEL.WEIGHTS" in [str(key) for key in opts[::2]]:
        return cfg
    start = (
        f"; MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} in {path} are the weights it started from" if cfg.MODEL.WEIGHTS else ""
    )
    if comm.is_main_process():
        get_logger().info(f"using {best}, the best weights of this run{start}")
    return load_config(config_file, [*opts, "MODEL.WEIGHTS", str(best)])


def find_device() -> str:
    """Return the name of the fastest device of this machine: cuda if there is a GPU, else mps, else cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_device(cfg: CfgNode) -> torch.device:
    """Return the device of MODEL.DEVICE.

    Raises:
        EnvironmentSetupError: this machine has no such device. The CPU is not used instead, unless it is `auto`.
        InputError: MODEL.DEVICE is not the name of a device.
    """
    name = find_device() if cfg.MODEL.DEVICE == "auto" else cfg.MODEL.DEVICE
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise EnvironmentSetupError(
                f"MODEL.DEVICE is {name} but torch finds no GPU; run on the CPU with MODEL.DEVICE cpu, or use auto"
            )
        index = torch.cuda.current_device() if name == "cuda" else int(name.partition(":")[2])
        if index >= torch.cuda.device_count():
            raise EnvironmentSetupError(
                f"MODEL.DEVICE is {name} but the indices of the GPUs are 0 to {torch.cuda.device_count() - 1}"
            )
        return torch.device("cuda", index)
    if name == "mps" and not torch.backends.mps.is_available():
        raise EnvironmentSetupError(
            "MODEL.DEVICE is mps but torch finds no Apple GPU; run on the CPU with MODEL.DEVICE cpu, or use auto"
        )
    if name not in ("cpu", "mps"):
        raise InputError(f"MODEL.DEVICE is '{name}'; allowed are auto, cuda, cuda:N, mps and cpu")
    return torch.device(name)


def resolve_search_device(cfg: CfgNode) -> torch.device:
    """Return the device on which saved features are ranked: MODEL.DEVICE, or the CPU if this machine lacks it.

    The features exist already and the ranking is the same on every device, so a missing GPU is no error.

    Raises:
        InputError: MODEL.DEVICE is not the name of a device.
    """
    try:
        return resolve_device(cfg)
    except EnvironmentSetupError:
        get_logger().info(f"MODEL.DEVICE is {cfg.MODEL.DEVICE}, which this machine lacks; ranking on the CPU")
        return torch.device("cpu")


def default_setup(cfg: CfgNode, args: argparse.Namespace, *, device: torch.device | None = None) -> None:
    """Check the device, lock the output folder, open the log and seed torch.

    `config.yaml` is not written here but by `DefaultTrainer.train`, because it must match the metrics in the folder.

    Args:
        cfg: frozen settings.
        args: parsed arguments, for the log.
        device: device that the command uses; None: MODEL.DEVICE.

    Raises:
        EnvironmentSetupError: the device does not exist, the folder cannot be written, or another run uses it.
    """
    device = resolve_device(cfg) if device is None else device
    folder = Path(cfg.OUTPUT_DIR)
    if comm.is_main_process():
        _held_locks[os.path.abspath(folder)] = _lock_folder(folder.resolve())
        stale = remove_temporary_files(folder)
    comm.all_gather_object(None)  # wait until the folder exists
    _make_folder(folder)  # another machine may have another disk
    logger = setup_logger(folder, rank=comm.get_rank())
    if comm.is_main_process() and stale:
        logger.info(f"removed temporary files of a killed run: {', '.join(stale)}")
    logger.debug(f"arguments: {args}")
    logger.info(_describe_environment(device))
    logger.debug(f"settings:\n{cfg.dump()}")
    torch.manual_seed(derive_seed(cfg.SEED, "torch"))
    _configure_kernels(cfg)


def _configure_kernels(cfg: CfgNode) -> None:
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not cfg.DETERMINISTIC
    torch.use_deterministic_algorithms(cfg.DETERMINISTIC)
    if cfg.DETERMINISTIC:
        if cfg.CUDNN_BENCHMARK:
            get_logger().info(
                "CUDNN_BENCHMARK is ignored because DETERMINISTIC is True: its choices can differ between runs"
            )
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS before its first use


def check_output_folder(folder: str | Path) -> None:
    """Check that OUTPUT_DIR is still the folder that this process has locked; call it before each write.

    A folder that this process has not locked is not checked.

    Args:
        folder: OUTPUT_DIR.

    Raises:
        StorageError: it was deleted, renamed or replaced, so that another run can use the name.
    """
    handle = _held_locks.get(os.path.abspath(folder))
    if handle is None:
        return
    try:
        is_same = os.path.samestat(os.fstat(handle), os.stat(Path(folder) / ".lock"))
    except OSError:
        is_same = False
    if not is_same:
        raise StorageError(
            f"OUTPUT_DIR {folder} was deleted, renamed or replaced while this run was using it, so nothing more is "
            "written there; if the folder was renamed, rename it back and continue with --resume"
        )


def write_config(cfg: CfgNode) -> None:
    """Write all settings of a run to `config.yaml` in OUTPUT_DIR."""
    check_output_folder(cfg.OUTPUT_DIR)
    write_text(Path(cfg.OUTPUT_DIR) / CONFIG_FILE, cfg.dump())


@functools.cache
def _lock_folder(folder: Path) -> int:
    """Create a folder and lock it until this process ends; the system then closes the file and releases the lock.

    A process that locks the same folder again, as in a notebook, keeps its lock.

    Returns:
        The handle of the open lock file.
    """
    _make_folder(folder)
    try:
        handle = open_own_file(folder / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise _describe_folder_error(folder, error)
    if not try_lock(handle, without_locks=True):
        owner = os.read(handle, 100).decode(errors="replace").strip()
        os.close(handle)
        raise EnvironmentSetupError(
            f"OUTPUT_DIR {folder} is in use by process {owner}; wait for it or choose another OUTPUT_DIR"
        )
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    if hasattr(os, "register_at_fork"):  # missing on systems that do not fork
        os.register_at_fork(after_in_child=functools.partial(_release_lock_in_worker, handle, os.getpid()))
    return handle


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _describe_folder_error(folder, error)


def _describe_folder_error(folder: Path, error: OSError) -> FastreidError:
    return find_resource_error(error) or EnvironmentSetupError(
        f"OUTPUT_DIR {folder} cannot be written ({error.strerror}); choose another with OUTPUT_DIR"
    )


def _release_lock_in_worker(handle: int, owner: int) -> None:
    """Close the inherited lock file in a worker process of the loader.

    The workers of a killed run stay alive for seconds; with an open lock file, `--resume` would fail until they exit.
    """
    if os.getppid() == owner:
        os.close(handle)


def _describe_environment(device: torch.device) -> str:
    names = {"cuda": torch.cuda.get_device_name(device) if device.type == "cuda" else "", "mps": "Apple GPU"}
    name = names.get(device.type, f"{torch.get_num_threads()} threads")
    return (
        f"fastreid {__version__}, torch {torch.__version__}, torchvision {importlib.metadata.version('torchvision')}, "
        f"Python {platform.python_version()}, device {device} ({name}), {comm.get_world_size()} process(es)"
    )
