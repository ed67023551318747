"""Tune post-processing on saved features: search, config of the best trial, table of trials."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from fastreid.config import CfgNode
from fastreid.engine.evaluate_saved import load_saved_dataset
from fastreid.engine.features.options import TESTS_ARE_NEGATIVES
from fastreid.engine.setup import resolve_search_device
from fastreid.evaluation.build import build_evaluator
from fastreid.evaluation.evaluator import Evaluator
from fastreid.evaluation.postprocess.local_rerank import LocalFeatures, LocalSettings
from fastreid.evaluation.postprocess.rerank import RerankSettings
from fastreid.evaluation.postprocess.superglobal import SuperGlobalSettings
from fastreid.evaluation.postprocess.tuning import check_grid, find_unusable_steps, tune
from fastreid.evaluation.postprocess.tuning_grid import TUNABLE_STEPS, Grid, Trial
from fastreid.evaluation.storage.saved_features import find_feature_folders
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text
from fastreid.utils.logger import get_logger

_NO_TRAINING = "features of training drawings; extract them with fastreid extract --split all"
_NO_LOCAL = "local features; extract them with TEST.LOCAL.ENABLED True"


def tune_saved_features(
    cfg: CfgNode,
    folder: str | Path,
    *,
    grid: Grid,
    num_queries: int = 0,
    require_same_weights: bool = False,
    skip_unusable: bool = False,
    on_trial: Callable[[Trial, int, int], None] | None = None,
) -> list[Trial]:
    """Evaluate the choices of a grid on saved features and return all trials, the best by TEST.SELECT_BY first.

    Args:
        cfg: settings; enabled post-processing steps are applied before the tuned ones, so disable those to tune.
        folder: folder of one dataset with known patents.
        grid: choices to try.
        num_queries: number of queries to use, spread evenly over the list; 0: all.
        require_same_weights: as for `run_saved_test`.
        skip_unusable: log a line and leave out NEGATIVE, SUPERGLOBAL or LOCAL if other settings do not allow it, and
            NEGATIVE or LOCAL if there are no features of training drawings or no local features, unless no step is
            left.
        on_trial: as for `tune`.

    Raises:
        InputError: the folder contains several datasets, a re-ranking is enabled but not tuned, or `run_saved_test` or
            `tune` rejects the input.
        WeightsError: a file is damaged.
    """
    evaluator = build_evaluator(cfg, device=resolve_search_device(cfg))
    grid = _select_steps(cfg, evaluator, grid, skip_unusable=skip_unusable)
    check_grid(evaluator, grid, select_by=cfg.TEST.SELECT_BY)
    folders = find_feature_folders(folder)
    if len(folders) > 1:
        raise InputError(f"{folder}: contains several datasets ({', '.join(folders)}); pass the folder of one of them")
    [dataset_folder] = folders.values()
    dataset = load_saved_dataset(
        cfg,
        dataset_folder,
        evaluator,
        require_same_weights=require_same_weights,
        with_training="NEGATIVE" in grid.steps,
        with_local="LOCAL" in grid.steps,
    )
    for step, is_missing, reason in (
        ("NEGATIVE", dataset.training is None, _NO_TRAINING),
        ("LOCAL", dataset.local is None, _NO_LOCAL),
    ):
        if is_missing and skip_unusable and set(grid.steps) > {step}:
            get_logger().info(f"{dataset_folder}: {step} is not tuned, because there are no {reason}")
            grid = _leave_out(grid, step)
    queries, get_local = dataset.queries, dataset.local
    if 0 < num_queries < len(queries.names):
        rows = torch.linspace(0, len(queries.names) - 1, num_queries).long()
        queries = queries.select(rows)
        get_local = None if get_local is None else partial(_select_queries, get_local(), rows)
    return tune(
        evaluator,
        queries,
        dataset.gallery,
        grid=grid,
        select_by=cfg.TEST.SELECT_BY,
        num_resamples=cfg.TEST.SCORE.BOOTSTRAP,
        training=dataset.training,
        model=dataset.model,
        local=get_local,
        on_trial=on_trial,
    )


def _select_queries(local: LocalFeatures, rows: torch.Tensor) -> LocalFeatures:
    return replace(local, queries=local.queries[rows])


def _select_steps(cfg: CfgNode, evaluator: Evaluator, grid: Grid, *, skip_unusable: bool) -> Grid:
    """Return the grid without the steps that the settings do not allow, as `tune_saved_features` describes."""
    for name in ("RERANK", "SUPERGLOBAL", "LOCAL"):
        if cfg.TEST[name].ENABLED and name not in grid.steps:
            raise InputError(
                f"TEST.{name}.ENABLED is True, but no step can be tuned after {name}; add {name} to --steps, or set "
                f"TEST.{name}.ENABLED False"
            )
    reasons = find_unusable_steps(evaluator, grid)
    if "NEGATIVE" in grid.steps and cfg.DATASETS.COMBINEALL:
        reasons["NEGATIVE"] = TESTS_ARE_NEGATIVES
        if not skip_unusable or set(grid.steps) == {"NEGATIVE"}:
            raise InputError(f"{TESTS_ARE_NEGATIVES}, or leave NEGATIVE out of --steps")
    for name in ("NEGATIVE", "SUPERGLOBAL", "LOCAL"):
        if skip_unusable and name in reasons and set(grid.steps) > {name}:
            get_logger().info(f"{name} is not tuned: {reasons[name]}")
            grid = _leave_out(grid, name)
    return grid


def _leave_out(grid: Grid, step: str) -> Grid:
    return replace(grid, steps=[name for name in grid.steps if name != step])


def format_tuned_config(
    trials: Sequence[Trial],
    *,
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    steps: Sequence[str],
    base_config: str,
    select_by: str,
    untuned: Sequence[str] = (),
) -> str:
    """Return the best trial as the text of a self-contained config, which is valid in any folder.

    Args:
        trials: all trials, the best first.
        path: path of the new config, for its comment.
        settings: settings of the trials, from `CfgNode.changes`.
        steps: TEST.STEPS of these settings; the tuned steps are applied after all others.
        base_config: the config file of the settings, for the comment.
        select_by: the score by which the best trial was selected.
        untuned: steps in TUNABLE_STEPS that were enabled by the settings instead of tuned.
    """
    best = trials[0]
    header = [
        f"# The best of {len(trials)} post-processing choices by `fastreid tune`, {date.today()}.",
        f"# fastreid test --config-file {path}",
        f"# Cost: as {base_config}, whose settings are below.",
        f"# Score: {select_by} {best.value:.2f} on the features it was tuned on{best.format_gain()}.",
    ]
    tuned_steps = [name for name in TUNABLE_STEPS if name not in untuned]
    other_steps = [name for name in steps if name not in tuned_steps]
    test = {**settings.get("TEST", {}), "STEPS": [*other_steps, *tuned_steps]}
    for section, choices in _trial_settings(best, untuned).items():
        test[section] = {**test.get(section, {}), **choices}
    return "\n".join(header) + "\n" + yaml.safe_dump({**settings, "TEST": test}, sort_keys=False)


def write_trials(path: str | os.PathLike[str], trials: Sequence[Trial], *, untuned: Sequence[str] = ()) -> None:
    """Write the choices and scores of the trials as a CSV table, in the given order.

    Args:
        path: the table.
        trials: the trials.
        untuned: as for `format_tuned_config`; the table has no columns for these steps.
    """
    rows = []
    for trial in trials:
        choices = _trial_settings(trial, untuned)
        row = {f"{part}.{key}": value for part, keys in choices.items() for key, value in keys.items()}
        low, high = trial.gain or ("", "")
        rows.append(row | {"gain_low": low, "gain_high": high} | trial.scores.means())
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _trial_settings(trial: Trial, untuned: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the settings below TEST that a trial chose."""
    negatives, expansion, reranking = trial.negatives, trial.expansion, trial.reranking
    settings: dict[str, dict[str, Any]] = {
        "NEGATIVE": {"ENABLED": negatives is not None},
        "AQE": {"ENABLED": expansion is not None},
        "RERANK": {"ENABLED": isinstance(reranking, RerankSettings)},
        "SUPERGLOBAL": {"ENABLED": isinstance(reranking, SuperGlobalSettings)},
        "LOCAL": {"ENABLED": isinstance(reranking, LocalSettings)},
    }
    if negatives is not None:
        settings["NEGATIVE"] |= {"K": negatives.k, "BETA": float(negatives.beta), "TIMES": negatives.times}
    if expansion is not None:
        settings["AQE"] |= {"QE_K": expansion.k, "ALPHA": float(expansion.alpha), "QE_TIME": expansion.times}
        settings["AQE"] |= {"QUERIES": expansion.queries_too, "GALLERY": expansion.gallery_too}
    if isinstance(reranking, SuperGlobalSettings):
        settings["SUPERGLOBAL"] |= {"TOP_N": reranking.top_n, "K": reranking.k, "BETA": float(reranking.beta)}
    elif isinstance(reranking, LocalSettings):
        weight = float(reranking.weight)
        settings["LOCAL"] |= {"TOP_N": reranking.top_n, "WEIGHT": weight, "DIM": reranking.dim}
    elif reranking is not None:
        settings["RERANK"] |= {"K1": reranking.k1, "K2": reranking.k2, "LAMBDA": float(reranking.lambda_value)}
        settings["RERANK"] |= {"FORM": reranking.form, "TOP_N": reranking.top_n or 0}
    return {name: choices for name, choices in settings.items() if name not in untuned}
