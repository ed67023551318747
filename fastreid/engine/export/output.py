"""The folder of an exported network: it appears complete, and replaces an earlier export as a whole."""

import os
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from fastreid.config import CfgNode
from fastreid.engine.export.record import (
    ONNX_FILE,
    PROGRAM_FILE,
    RECORD_FILE,
    ExportRecord,
    describes_export,
    write_record,
)
from fastreid.engine.model.directory import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelCard,
    find_model_directory,
    format_settings,
    save_model_directory,
    select_settings,
)
from fastreid.engine.model.weights_source import ONNXRUNTIME
from fastreid.engine.setup import load_config
from fastreid.evaluation.calibration import CALIBRATION_FILE
from fastreid.utils.errors import InputError
from fastreid.utils.files import atomic_write, check_writable, write_text

# Of every kind of export; the record comes last, as it makes a folder an export.
_FILES = (ONNX_FILE, PROGRAM_FILE, WEIGHTS_FILE, CONFIG_FILE, CARD_FILE, CALIBRATION_FILE, RECORD_FILE)
_UNFINISHED = ".unfinished"  # end of the name of the folder next to it, in which an export is written


def check_output(folder: Path) -> None:
    """Check before any work that an export can be written to a folder.

    Raises:
        InputError: it is a file, or has content that is not an earlier export.
        StorageError: it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder}: is a file; choose another folder")
    is_ours = describes_export(folder) or describes_export(_get_unfinished(folder))
    if folder.exists() and any(folder.iterdir()) and not is_ours:
        raise InputError(f"--output {folder}: exists and is no exported network; choose another folder")
    if not _get_unfinished(folder).exists():
        check_writable(_get_unfinished(folder))


def write_export(
    folder: Path, content: bytes, record: ExportRecord, *, cfg: CfgNode, model: nn.Module, card: ModelCard, target: str
) -> None:
    """Write an export; files of an earlier one are removed.

    Args:
        folder: was checked by `check_output`.
        content: of the exported file.
        record: its record.
        cfg: settings of the network in torch.
        model: the network in torch.
        card: the model card.
        target: onnx, torch-export or dir.
    """
    unfinished = _get_unfinished(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    settings = select_settings(cfg)
    if target == "dir":
        save_model_directory(unfinished, cfg, model, card)
    else:  # the file has the backbone
        settings = {name: value for name, value in settings.items() if "PRETRAIN" not in name}
    settings |= _runtime_settings(cfg, record)
    text = format_settings({name: value for name, value in settings.items() if value is not None})
    with atomic_write(unfinished / record.file) as stream:
        stream.write(content)
    write_text(unfinished / CONFIG_FILE, text)
    write_text(unfinished / CARD_FILE, card.format(text.splitlines()))
    if calibration := _find_calibration(cfg, record):
        write_text(unfinished / CALIBRATION_FILE, calibration.read_text(encoding="utf-8"))
    write_record(unfinished, record)
    folder.mkdir(parents=True, exist_ok=True)
    for name in reversed(_FILES):
        (folder / name).unlink(missing_ok=True)
    for name in _FILES:
        if (unfinished / name).exists():
            os.replace(unfinished / name, folder / name)
    shutil.rmtree(unfinished, ignore_errors=True)


def _get_unfinished(folder: Path) -> Path:
    return folder.absolute().with_name(f"{folder.name}{_UNFINISHED}")


def _runtime_settings(cfg: CfgNode, record: ExportRecord) -> dict[str, Any]:
    """Return the settings that differ from those of the network in torch; None: the default."""
    changed: dict[str, Any] = {}
    if record.file == ONNX_FILE:
        changed["TEST.RUNTIME"] = ONNXRUNTIME
    if record.flip:
        changed["TEST.FLIP.ENABLED"] = None
    if cfg.TEST.GEM_POWER:
        changed["TEST.GEM_POWER"] = None
    return changed


def _find_calibration(cfg: CfgNode, record: ExportRecord) -> Path | None:
    """Return the calibration of the model directory that is exported, if the features are the same."""
    source = find_model_directory(cfg.MODEL.WEIGHTS)
    if source is None or record.weights_sha256 != record.network_sha256:
        return None
    path = source / CALIBRATION_FILE
    if not path.is_file():
        return None
    published = load_config(None, ["MODEL.WEIGHTS", str(source), "MODEL.DEVICE", "cpu", "TEST.RUNTIME", "torch"])
    return path if select_settings(published) == select_settings(cfg) else None
