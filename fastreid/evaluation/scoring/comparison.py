"""Several trainings of one choice beside several of another: what they score, and what the choice changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from fastreid.evaluation.scoring.bootstrap import check_level, drawn_means
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.utils.errors import InputError


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
    of the weights. The interval tells of other patents and of other seeds: its variance is the sum of what patents, pairs
    of runs and what is left add to the mean (Cornfield and Tukey, Average values of mean squares in factorials, Annals of
    Mathematical Statistics 27, 1956), those of the patents from a bootstrap, and its width is Student's t for the degrees
    of freedom of that sum (Satterthwaite, Biometrics Bulletin 2, 1946). So two or three runs that lie apart give a wide
    interval. With one run it tells of patents alone; with one patent it is without bounds.

    Args:
        runs: the scores of each run of the choice, on one test.
        ground: those of the runs it is compared with, as many, by the same seeds in the same order.
        level: share of such intervals that hold the true change.
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
    num_patents = len(np.unique(patents))
    found = {}
    for name in ground[0].values:
        if not all(name in scores.values for scores in (*runs, *ground)):
            continue
        mine, theirs = (np.stack([scores.values[name][counted] for scores in side]) for side in (runs, ground))
        columns = {str(at): column for at, column in enumerate(mine - theirs)}
        drawn = drawn_means(columns, patents, num_draws=num_draws, seed=seed)
        each = mine.mean(axis=1)
        spread = each.std(ddof=1) if len(runs) > 1 else np.nan
        change = (mine - theirs).mean()
        half = _half_width((mine - theirs).mean(axis=1), drawn, num_patents=num_patents, level=level)
        found[name] = Change(
            float(each.mean()), float(spread), float(change), float(change - half), float(change + half), len(runs)
        )
    return found


def _half_width(changes: np.ndarray, drawn: np.ndarray, *, num_patents: int, level: float) -> float:
    """How far the mean of changes (R,) reaches to either side.

    Args:
        changes: one of each pair of runs.
        drawn: (D, R), the same with patents drawn anew.
        num_patents: of which were drawn.
        level: as `compare` has it.
    """
    if num_patents == 1:
        return np.inf
    of_patents, freedom = drawn.mean(axis=1).var(), num_patents - 1.0
    total = of_patents
    if len(changes) > 1:
        of_pairs = changes.var(ddof=1) / len(changes)
        # what neither patents nor pairs explain is in both variances: once is enough
        rest = (drawn.var(axis=0).mean() - of_patents) / (len(changes) - 1)
        of_patents_alone = max(of_patents - rest, 0.0)
        # pairs that lie closer together than chance lets them: the patents' own variance is the least
        if (both := of_patents_alone + of_pairs) > of_patents:
            total = both
            freedom = both**2 / (of_patents_alone**2 / (num_patents - 1) + of_pairs**2 / (len(changes) - 1))
    return float(special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(total))


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
