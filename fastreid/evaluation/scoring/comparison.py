"""Comparison of several runs of a variant with the runs of a baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fastreid.evaluation.scoring.bootstrap import bootstrap_means, check_level
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.utils.errors import InputError


@dataclass(frozen=True)
class Delta:
    """One score of a variant and its difference from the baseline.

    Args:
        mean: mean over runs and queries, x100.
        std: standard deviation of the runs' scores, in points; NaN for a single run.
        difference: score of the variant minus score of the baseline, in points.
        low, high: confidence interval of the difference, in points.
        num_runs: number of runs of the variant.
    """

    mean: float
    std: float
    difference: float
    low: float
    high: float
    num_runs: int


def compare_runs(
    runs: Sequence[QueryScores],
    baseline: Sequence[QueryScores],
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Delta]:
    """Return the difference between a variant and a baseline for each score that all runs have.

    Run i of the variant and run i of the baseline share their random numbers: seed, order of drawings, initial weights.
    The interval covers other patents and other seeds. Its variance is the sum of the contributions of patents, pairs of
    runs and residual to the mean (Cornfield and Tukey, Average values of mean squares in factorials, Annals of
    Mathematical Statistics 27, 1956), that of the patents from a bootstrap. Its width is Student's t for the degrees of
    freedom of that sum (Satterthwaite, Biometrics Bulletin 2, 1946), so two or three runs that disagree give a wide
    interval. With one run the interval covers other patents only; with one patent it is infinite.

    Args:
        runs: scores of each run of the variant, on one test set.
        baseline: scores of the same number of baseline runs, with the same seeds in the same order.
        level: confidence level, between 0 and 1.
        num_resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Raises:
        InputError: no runs, different numbers of runs, scores of different test sets, or an invalid level.
    """
    check_level(level)
    if not runs or len(runs) != len(baseline):
        raise InputError(
            f"{len(runs)} runs and {len(baseline)} baseline runs do not pair up; give one baseline run of the same "
            "seed for each run"
        )
    for scores in (*runs, *baseline):
        scores.check_same_test(baseline[0])
    has_match, patents = baseline[0].has_match, baseline[0].patents[baseline[0].has_match]
    num_patents = len(np.unique(patents))
    deltas = {}
    for name in baseline[0].values:
        if not all(name in scores.values for scores in (*runs, *baseline)):
            continue
        values, baseline_values = (
            np.stack([scores.values[name][has_match] for scores in side]) for side in (runs, baseline)
        )
        differences = values - baseline_values
        columns = {str(run): column for run, column in enumerate(differences)}
        resampled = bootstrap_means(columns, patents, num_resamples=num_resamples, seed=seed)
        run_means = values.mean(axis=1)
        std = run_means.std(ddof=1) if len(runs) > 1 else np.nan
        difference = differences.mean()
        half = _half_width(differences.mean(axis=1), resampled, num_patents=num_patents, level=level)
        deltas[name] = Delta(
            mean=float(run_means.mean()),
            std=float(std),
            difference=float(difference),
            low=float(difference - half),
            high=float(difference + half),
            num_runs=len(runs),
        )
    return deltas


def _half_width(
    differences: NDArray[np.float64], resampled: NDArray[np.float64], *, num_patents: int, level: float
) -> float:
    """Return half the width of the confidence interval of the mean difference.

    Args:
        differences: (R,), one per pair of runs.
        resampled: (num_resamples, R), the same in each bootstrap resample of patents.
        num_patents: number of patents of the test set.
        level: as in `compare_runs`.
    """
    if num_patents == 1:
        return np.inf
    patent_variance, freedom = resampled.mean(axis=1).var(), num_patents - 1.0
    total = patent_variance
    if len(differences) > 1:
        pair_variance = differences.var(ddof=1) / len(differences)
        # both variances contain the residual of patents and pairs, so it is subtracted from one of them
        residual = (resampled.var(axis=0).mean() - patent_variance) / (len(differences) - 1)
        pure_patent_variance = max(patent_variance - residual, 0.0)
        # pairs that agree better than chance: the patent variance is the lower bound
        if (combined := pure_patent_variance + pair_variance) > patent_variance:
            total = combined
            freedom = combined**2 / (
                pure_patent_variance**2 / (num_patents - 1) + pair_variance**2 / (len(differences) - 1)
            )
    return float(special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(total))


def build_comparison_table(rows: Mapping[str, Mapping[str, Delta]], scores: Sequence[str]) -> list[dict[str, str]]:
    """Return one table row per variant of an ablation: its scores and their differences from the baseline.

    Args:
        rows: name -> deltas by score, as `compare_runs` returns them; the first is the baseline, compared with itself.
        scores: names of the scores to include.
    """
    table = []
    for index, (name, deltas) in enumerate(rows.items()):
        cells = {"row": name, "runs": str(next(iter(deltas.values())).num_runs)}
        for score in scores:
            delta = deltas[score]
            std = "" if np.isnan(delta.std) else f" ± {delta.std:.1f}"
            cells[score] = f"{delta.mean:.1f}{std}"
            cells[f"{score}, change"] = (
                f"{delta.difference:+.1f} [{delta.low:+.1f}, {delta.high:+.1f}]" if index else ""
            )
        table.append(cells)
    return table
