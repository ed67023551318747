"""What a search for the best post-processing leaves: the best choice as a config, and a table of all of them."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import yaml

from fastreid.evaluation.postprocess.tuning import STEPS, Trial
from fastreid.utils.files import write_text


def tuned_config(
    trials: Sequence[Trial],
    *,
    path: str | os.PathLike,
    settings: Mapping[str, Any],
    steps: Sequence[str],
    tried_with: str,
    select_by: str,
) -> str:
    """The best trial as a config that stands by itself, wherever it lies.

    Args:
        trials: the best first.
        path: where the config will lie.
        settings: those it was tried with, as `CfgNode.changes` gives them.
        steps: TEST.STEPS of these settings; what was tried comes after all others, whatever their order says.
        tried_with: the config file they came from, for the reader.
        select_by: the score that chose.
    """
    best = trials[0]
    opening = [
        f"# The best of {len(trials)} choices of post-processing by tools/tune_postprocessing.py, {date.today()}.",
        f"# python tools/test.py --config-file {path} --eval-only",
        f"# Cost: as of {tried_with}, whose settings are below.",
        f"# Score: {select_by} {best.value:.2f} on the features it was tuned on{best.told_gain()}.",
    ]
    test = {**settings.get("TEST", {}), "STEPS": [*(name for name in steps if name not in STEPS), *STEPS]}
    for section, choices in _settings(best).items():
        test[section] = {**test.get(section, {}), **choices}
    return "\n".join(opening) + "\n" + yaml.safe_dump({**settings, "TEST": test}, sort_keys=False)


def write_trials(path: str | os.PathLike, trials: Sequence[Trial]) -> None:
    """A table of all trials, the best first: their choices and their scores."""
    rows = []
    for trial in trials:
        choices = _settings(trial)
        row = {f"{part}.{key}": value for part, keys in choices.items() for key, value in keys.items()}
        low, high = trial.gain or ("", "")
        rows.append(row | {"gain_low": low, "gain_high": high} | trial.scores.means())
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _settings(trial: Trial) -> dict[str, dict[str, Any]]:
    """What a trial chose, as the settings below TEST."""
    expansion, reranking = trial.expansion, trial.reranking
    settings: dict[str, dict[str, Any]] = {
        "AQE": {"ENABLED": expansion is not None},
        "RERANK": {"ENABLED": reranking is not None},
    }
    if expansion is not None:
        settings["AQE"] |= {"QE_K": expansion.k, "ALPHA": float(expansion.alpha), "QE_TIME": expansion.times}
        settings["AQE"] |= {"QUERIES": expansion.queries_too, "DATABASE": expansion.gallery_too}
    if reranking is not None:
        settings["RERANK"] |= {"K1": reranking.k1, "K2": reranking.k2, "LAMBDA": float(reranking.lambda_value)}
        settings["RERANK"] |= {"FORM": reranking.form, "TOP_N": reranking.top_n or 0}
    return settings
