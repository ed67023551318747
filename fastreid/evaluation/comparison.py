"""Several trainings of one choice beside several of another: what they score, and what the choice changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastreid.evaluation.bootstrap import check_level, drawn_means
from fastreid.evaluation.per_query import QueryScores
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator


@dataclass(frozen=True)
class Change:
    """One score of a choice beside the same score of the ground it is measured from.

    Args:
        mean: over runs and queries, x100.
        spread: standard deviation of the runs' scores, in points; NaN for a single run.
        change: by how much the choice scores higher than the ground, in points.
        low, high: between which two numbers the change lies.
        num_runs: how many runs of the choice there are.
    """

    mean: float
    spread: float
    change: float
    low: float
    high: float
    num_runs: int


def compare(
    runs: Sequence[QueryScores],
    ground: Sequence[QueryScores],
    *,
    level: float = 0.95,
    num_draws: int = 1000,
    seed: int = 0,
) -> dict[str, Change]:
    """What a choice changes, for each score that all runs have.

    Run i of the choice and run i of the ground share what chance gave them: the seed, the order of drawings, the start
    of the weights. The interval is a bootstrap in two directions (Owen, The pigeonhole bootstrap, Annals of Applied
    Statistics 1, 2007): each draw takes patents of the test and pairs of runs with replacement, so it tells of other
    patents and of other seeds. With few runs it is much too narrow in that second direction, where it is about as wide as
    the runs lie apart: on a large test, 15 to 29 % of the intervals of 2 or 3 runs leave out a change of 0 that is true.
    With one run it tells of patents alone.

    Args:
        runs: the scores of each run of the choice, on one test.
        ground: those of the runs it is compared with, as many, by the same seeds in the same order.
        level: share of the draws within the interval.
        num_draws: of the bootstrap.
        seed: of the draws.

    Raises:
        InputError: no runs, not as many on both sides, scores of other tests, a level that is no share.
    """
    check_level(level)
    if not runs or len(runs) != len(ground):
        raise InputError(f"{len(runs)} runs beside {len(ground)}; each run needs the one of the same seed beside it")
    for scores in (*runs, *ground):
        scores.check_same_test(ground[0])
    counted, patents = ground[0].counted, ground[0].patents[ground[0].counted]
    pairs = keyed_generator("pairs of runs", seed).integers(0, len(runs), (num_draws, len(runs)))
    found = {}
    for name in ground[0].values:
        if not all(name in scores.values for scores in (*runs, *ground)):
            continue
        mine, theirs = (np.stack([scores.values[name][counted] for scores in side]) for side in (runs, ground))
        columns = {str(at): column for at, column in enumerate(mine - theirs)}
        drawn = drawn_means(columns, patents, num_draws=num_draws, seed=seed)
        low, high = np.quantile(
            np.take_along_axis(drawn, pairs, axis=1).mean(axis=1), [(1 - level) / 2, (1 + level) / 2]
        )
        each = mine.mean(axis=1)
        spread = each.std(ddof=1) if len(runs) > 1 else np.nan
        change = (mine - theirs).mean()
        found[name] = Change(float(each.mean()), float(spread), float(change), float(low), float(high), len(runs))
    return found


def comparison_table(rows: Mapping[str, Mapping[str, Change]], scores: Sequence[str]) -> list[dict[str, str]]:
    """A line for each row of an ablation, the ground first: its scores, and what it changes where it is not the ground.

    Args:
        rows: name -> changes, as `compare` gives them; the first is the ground, compared with itself.
        scores: which scores to show.
    """
    lines = []
    for number, (name, changes) in enumerate(rows.items()):
        line = {"row": name, "runs": str(next(iter(changes.values())).num_runs)}
        for measure in scores:
            one = changes[measure]
            spread = "" if np.isnan(one.spread) else f" ± {one.spread:.1f}"
            line[measure] = f"{one.mean:.1f}{spread}"
            line[f"{measure}, change"] = f"{one.change:+.1f} [{one.low:+.1f}, {one.high:+.1f}]" if number else ""
        lines.append(line)
    return lines
