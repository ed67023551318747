"""Checks of a training run before its first iteration."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from fastreid.config import CfgNode
from fastreid.data.build import SAMPLERS, check_readable, get_dataset_names
from fastreid.data.datasets.base import RetrievalData, raise_faults
from fastreid.data.io.image import REPLACE_OR_REMOVE
from fastreid.data.io.verification import find_unreadable, select_files
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.checkpoint.disk_space import CheckpointPlan, compute_needed_bytes, count_bytes, measure_checkpoints
from fastreid.engine.data import build_dataset
from fastreid.engine.features.options import check_feature_options, check_negatives
from fastreid.engine.model.weights_source import find_weights, uses_pretrained_backbone
from fastreid.engine.precision import inference_dtype
from fastreid.engine.processes.agreement import check_processes_agree
from fastreid.engine.resume.data_fingerprint import DataFingerprint, compute_fingerprint
from fastreid.engine.resume.optimizer_state import estimate_state_bytes
from fastreid.engine.resume.unreadable_record import read_record
from fastreid.engine.step.starting_point import select_backbone
from fastreid.evaluation.build import check_evaluator_names, compute_whitening_sha256
from fastreid.evaluation.scoring.matches import check_matches
from fastreid.evaluation.scoring.metrics import check_score_name
from fastreid.modeling.build import check_model_names
from fastreid.modeling.heads import EmbeddingHead
from fastreid.solver.build import check_solver_names
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.errors import InputError, StorageError
from fastreid.utils.files import write_text
from fastreid.utils.logger import get_logger
from fastreid.utils.progress import show_progress
from fastreid.utils.resources import find_free_bytes, format_bytes

FLOAT32_BYTES = 4
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
    check_feature_options(cfg)
    check_negatives(cfg)
    if training:
        _check_pretrain_path(cfg)
        _check_freezing(cfg)
        check_solver_names(cfg)
        SAMPLERS.get(cfg.DATALOADER.SAMPLER_TRAIN, "DATALOADER.SAMPLER_TRAIN")
    for key in ("NAMES", "TESTS") if training else ("TESTS",):
        for name in get_dataset_names(cfg, key):
            build_dataset(cfg, name)


def _check_pretrain_path(cfg: CfgNode) -> None:
    """Raise an InputError if there is a path of pretrained weights that nothing uses."""
    backbone = cfg.MODEL.BACKBONE
    if not backbone.PRETRAIN_PATH or backbone.PRETRAIN:
        return
    if not cfg.MODEL.WEIGHTS or not uses_pretrained_backbone(find_weights(cfg)):
        raise InputError(
            f"MODEL.BACKBONE.PRETRAIN_PATH is {backbone.PRETRAIN_PATH}, but PRETRAIN is False, so it has no effect; "
            "set MODEL.BACKBONE.PRETRAIN True, or leave the path empty"
        )


def _check_freezing(cfg: CfgNode) -> None:
    """Raise an InputError if there is a duration of freezing, but no layer to freeze."""
    if cfg.SOLVER.FREEZE_ITERS and not cfg.MODEL.FREEZE_LAYERS:
        raise InputError(
            f"SOLVER.FREEZE_ITERS is {cfg.SOLVER.FREEZE_ITERS:g}, but MODEL.FREEZE_LAYERS is empty, so nothing would "
            "be frozen; set MODEL.FREEZE_LAYERS \"['backbone']\", or SOLVER.FREEZE_ITERS 0"
        )


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


def check_test_data(cfg: CfgNode, data: RetrievalData, is_first: bool) -> None:
    """Check that training can use a test dataset.

    Args:
        cfg: settings.
        data: one of DATASETS.TESTS.
        is_first: whether it is the first one.

    Raises:
        InputError: no query has a match, or the first dataset cannot select the best model.
    """
    if is_first:
        check_model_selection(cfg, data)
    else:
        check_matches(data.name, data.queries, data.gallery)


def compute_run_fingerprint(
    cfg: CfgNode, training: Sequence[Drawing], tests: Mapping[str, RetrievalData]
) -> DataFingerprint:
    """Return the fingerprint of the data of a run; every process must call this function.

    Args:
        cfg: settings.
        training: the training list.
        tests: test sets by name.

    Raises:
        InputError: a file no longer exists, or a process has other data or settings.
    """
    fingerprint = compute_fingerprint(
        training,
        tests,
        skips_unreadable=cfg.INPUT.ON_BAD_IMAGE == "skip",
        max_pixels=cfg.INPUT.MAX_PIXELS,
        unreadable=read_record(cfg.OUTPUT_DIR),
        whitening=compute_whitening_sha256(cfg),
    )
    check_processes_agree(fingerprint, cfg.dump())
    return fingerprint


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


def check_disk_space(cfg: CfgNode, checkpointer: Checkpointer, progress: Progress, *, is_new: bool) -> None:
    """Check that the first checkpoints of a run fit on the disk of OUTPUT_DIR; warn if later ones may not.

    A disk of unknown size is not checked. Every process must call this function.

    Args:
        cfg: settings.
        checkpointer: saves the checkpoints.
        progress: state of the run.
        is_new: the run does not resume an earlier one.

    Raises:
        StorageError: the first checkpoints do not fit.
    """
    step, fingerprint = checkpointer.step, checkpointer.data
    average = None if step.average is None else step.average.state_dict()
    model_bytes = count_bytes(step.model.state_dict())
    data = {} if fingerprint is None else fingerprint.state
    other_values = [average, data, progress.hard_identities, checkpointer.config, torch.get_rng_state()]
    if step.starting_point is not None:
        other_values += [select_backbone(group) for group in step.optimizer.param_groups]
    heads = dict(step.model.named_children()).get("heads")
    memory_bytes = 0
    if step.memory is not None and isinstance(heads, EmbeddingHead):
        memory_bytes = step.memory.size * heads.metric_dim * FLOAT32_BYTES
    plan = CheckpointPlan(
        model_bytes + memory_bytes + count_bytes(other_values) + estimate_state_bytes(step.optimizer),
        average_bytes=model_bytes,
        average_start=None if average is None else cfg.SOLVER.AVERAGE.START_EPOCH,
        eval_period=cfg.TEST.EVAL_PERIOD,
        checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
        num_best_models=cfg.SOLVER.SAVE_TOP_K,
        num_epochs=cfg.SOLVER.MAX_EPOCH,
    )
    folder = Path(cfg.OUTPUT_DIR)
    needed_bytes = compute_needed_bytes(
        plan,
        measure_checkpoints(folder),
        first_epoch=progress.iteration // checkpointer.iters_per_epoch + int(not progress.epoch_end_pending),
        is_new=is_new,
        is_scored=progress.best_epoch >= 0,
    )
    # Processes may see different files and numbers, for example if another program writes, and must end together.
    first_bytes, all_bytes, free_bytes = comm.broadcast_object((*needed_bytes, find_free_bytes(folder)))
    if free_bytes is None:
        return
    free, size = format_bytes(free_bytes), format_bytes(plan.checkpoint_bytes)
    if free_bytes < first_bytes:
        raise StorageError(
            f"OUTPUT_DIR {folder}: its first checkpoints cannot be written ({size} each, {format_bytes(first_bytes)} "
            f"needed, {free} free); free space{' or choose another folder' if is_new else ''}"
        )
    if free_bytes < all_bytes:
        get_logger().warning(
            f"OUTPUT_DIR {folder}: all checkpoints of the run need up to {format_bytes(all_bytes)} ({size} each) and "
            f"{free} are free, so a later one may not fit; free space, or raise SOLVER.CHECKPOINT_PERIOD "
            f"{cfg.SOLVER.CHECKPOINT_PERIOD}, which keeps fewer"
        )


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
