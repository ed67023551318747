"""How far means over queries would differ had other patents been drawn for the test."""

from collections.abc import Mapping

import numpy as np

from fastreid.evaluation.features import check_count
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

_AT_ONCE = 1 << 19  # drawn patents: 4 MiB of them, 75 draws of the 6,927 patents of DeepPatent's test

Intervals = dict[str, tuple[float, float]]


def percentile_intervals(
    values: Mapping[str, np.ndarray], patents: np.ndarray, *, level: float, num_draws: int, seed: int
) -> Intervals:
    """The middle share `level` of the means of values over queries, when patents are drawn with replacement.

    The percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3) of whole
    patents: as many as there are, each with all of its queries, since drawings of one patent are no independent
    trials. The draws follow from the seed and the number of patents alone, so two runs on one test meet the same.

    Args:
        values: float64 (Q,) under each name, no NaN.
        patents: int64 (Q,), equal where queries show one patent; Q is at least 1.
        level: a share between 0 and 1.
        num_draws: at least 1; a thousand for two good digits.
        seed: any integer.

    Returns:
        (low, high) for each name.

    Raises:
        InputError: a level that is no share between 0 and 1, or no draws.
    """
    check_level(level)
    means = drawn_means(values, patents, num_draws=num_draws, seed=seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: (float(low[at]), float(high[at])) for at, name in enumerate(values)}


def check_level(level: float) -> None:
    """Refuse a level that is no share between 0 and 1."""
    if not (isinstance(level, (int, float)) and 0 < level < 1):
        raise InputError(f"level is a share between 0 and 1, not {level!r}")


def drawn_means(values: Mapping[str, np.ndarray], patents: np.ndarray, *, num_draws: int, seed: int) -> np.ndarray:
    """The means that `percentile_intervals` takes its quantiles of: float64 (num_draws, len(values))."""
    check_count("num_draws", num_draws)
    different, patents = np.unique(patents, return_inverse=True)
    columns = [np.ones(len(patents)), *values.values()]
    sums = np.stack([np.bincount(patents, weights=column) for column in columns], axis=1)
    num_patents, generator, means = len(different), keyed_generator("bootstrap", seed), []
    step = max(1, _AT_ONCE // num_patents)
    for start in range(0, num_draws, step):
        num = min(step, num_draws - start)
        drawn = generator.integers(0, num_patents, (num, num_patents)) + num_patents * np.arange(num)[:, None]
        times = np.bincount(drawn.ravel(), minlength=num * num_patents).reshape(num, num_patents)
        totals = times @ sums
        means.append(totals[:, 1:] / totals[:, :1])
    return np.concatenate(means)
