"""Checks of a training run before its first iteration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fastreid.config import CfgNode
from fastreid.data.build import SAMPLERS, check_readable, get_dataset_names
from fastreid.data.datasets.base import RetrievalData, raise_faults
from fastreid.data.io.image import REPLACE_OR_REMOVE
from fastreid.data.io.verification import find_unreadable, select_files
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine.data import build_dataset
from fastreid.engine.precision import inference_dtype
from fastreid.evaluation.build import check_evaluator_names
from fastreid.evaluation.scoring.matches import check_matches
from fastreid.evaluation.scoring.metrics import check_score_name
from fastreid.modeling.build import check_model_names
from fastreid.solver.build import check_solver_names
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text
from fastreid.utils.progress import show_progress

MAX_HEADERS_READ = 50_000  # of training files at the start of a run, about 5 s on a local disk
VERIFIED_FILE = "verified_drawings"  # in OUTPUT_DIR: digest of the test files that could be decoded


def check_component_names(cfg: CfgNode, *, training: bool) -> None:
    """Look up the name of every component of a run; cheap, so that a typo is reported before any data is read.

    Args:
        cfg: settings.
        training: also look up what only training uses.

    Raises:
        InputError: a name is unknown, or the settings of a component are invalid.
    """
    check_model_names(cfg)
    check_evaluator_names(cfg)
    if training:
        check_solver_names(cfg)
        SAMPLERS.get(cfg.DATALOADER.SAMPLER_TRAIN, "DATALOADER.SAMPLER_TRAIN")
    for key in ("NAMES", "TESTS") if training else ("TESTS",):
        for name in get_dataset_names(cfg, key):
            build_dataset(cfg, name)


def check_model_selection(cfg: CfgNode, data: RetrievalData) -> None:
    """Check that the first test dataset has the score of TEST.SELECT_BY.

    Args:
        cfg: settings.
        data: the first of DATASETS.TESTS.

    Raises:
        InputError: it has no such score.
    """
    check_score_name(
        cfg.TEST.SELECT_BY, top_k=cfg.TEST.TOP_K, roc=cfg.TEST.ROC.ENABLED, recalls=tuple(cfg.TEST.RECALLS)
    )
    check_matches(data.name, data.queries, data.gallery)
    if not (any(one.patent for one in data.queries) and any(one.patent for one in data.gallery)):
        raise InputError(
            f"{data.name}, the first of DATASETS.TESTS, has no query with a patent in its gallery, so it cannot choose "
            "the best model; put a dataset with known patents first"
        )


def check_test_drawings(cfg: CfgNode, lists: Sequence[Sequence[Drawing]]) -> None:
    """Check that all test drawings can be decoded, so that no evaluation fails hours later.

    Every process must call this function. Files that an earlier run in OUTPUT_DIR has decoded are not decoded again
    unless they changed.

    Args:
        cfg: settings.
        lists: queries and gallery of each test dataset.

    Raises:
        InputError: drawings cannot be decoded; the message has all of them.
    """
    record = Path(cfg.OUTPUT_DIR) / VERIFIED_FILE
    verified = record.read_text(encoding="utf-8", errors="replace") if record.is_file() else ""
    digest = check_readable(cfg, *lists, decode=True, verified=verified)
    if comm.is_main_process() and digest != verified and not cfg.DATASETS.CACHE.ENABLED:
        write_text(record, digest)


def check_training_headers(cfg: CfgNode, drawings: Sequence[Drawing]) -> None:
    """Check that training drawings are images, so that none of another content stops the run after hours.

    Every process must call this function. Only headers are read, of at most MAX_HEADERS_READ files, evenly spaced in
    the list; none are read with DATASETS.CACHE, which decodes all pages, or if unreadable drawings are skipped.

    Args:
        cfg: settings.
        drawings: the training list.

    Raises:
        InputError: drawings are no images; the message has all of them.
    """
    if cfg.DATASETS.CACHE.ENABLED or cfg.INPUT.ON_BAD_IMAGE == "skip":
        return
    files = select_files(drawings)
    rows = np.linspace(0, len(files) - 1, min(len(files), MAX_HEADERS_READ)).round().astype(int)
    own = [files[row] for row in rows.tolist()][comm.get_rank() :: comm.get_world_size()]
    with show_progress("reading headers", unit="drawing") as update:
        own_faults = find_unreadable(own, decode=False, max_pixels=cfg.INPUT.MAX_PIXELS, on_progress=update)
    faults = [
        fault.removesuffix(REPLACE_OR_REMOVE) for part in comm.all_gather_object(own_faults) for fault in part.values()
    ]
    # A resumed run accepts neither a replaced nor a removed file, and skips one that cannot be read.
    raise_faults(faults, "unreadable training drawings; set INPUT.ON_BAD_IMAGE skip, or replace them before a new run")


def describe_finished_epochs(num_epochs: int, max_epochs: int) -> str:
    """Return why a run is finished after a number of epochs, at least SOLVER.MAX_EPOCH."""
    if num_epochs > max_epochs:
        return f"its checkpoint is at epoch {num_epochs}, beyond SOLVER.MAX_EPOCH {max_epochs}"
    return f"all {max_epochs} epochs are done" if max_epochs > 1 else "its only epoch is done"


def check_drawings(cfg: CfgNode, training: Sequence[Drawing], *, tests: Sequence[Sequence[Drawing]]) -> None:
    """Call `check_training_headers` and `check_test_drawings`."""
    check_training_headers(cfg, training)
    check_test_drawings(cfg, tests)


def check_evaluation_period(cfg: CfgNode) -> None:
    """Check that a run with hard identities or early stopping has evaluations before its end.

    Raises:
        InputError: TEST.EVAL_PERIOD is 0.
    """
    if cfg.TEST.EVAL_PERIOD:
        return
    if cfg.DATALOADER.HARD_IDENTITIES:
        raise InputError(
            f"DATALOADER.HARD_IDENTITIES is {cfg.DATALOADER.HARD_IDENTITIES} and TEST.EVAL_PERIOD is 0: hard "
            "identities are mined after evaluations; set EVAL_PERIOD to 1 or more, or HARD_IDENTITIES to 0"
        )
    if cfg.SOLVER.EARLY_STOP_PATIENCE:
        raise InputError(
            f"SOLVER.EARLY_STOP_PATIENCE is {cfg.SOLVER.EARLY_STOP_PATIENCE} evaluations and TEST.EVAL_PERIOD is 0, so "
            "there is one evaluation, at the end; set EVAL_PERIOD to 1 or more, or EARLY_STOP_PATIENCE to 0"
        )


def check_feature_settings(cfg: CfgNode, device: torch.device) -> None:
    """Check the settings of feature extraction, which is first used by the first evaluation.

    Raises:
        InputError: a setting is invalid, or not available on the device.
    """
    build_test_transforms(cfg)
    inference_dtype(cfg.TEST.NETWORK_PRECISION, device)
