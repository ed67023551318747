"""What the folder of one run holds: how it tells that the run is done, and which checkpoints may go.

A run is done when its table of queries lies under its name. The test writes it under another one, and it is renamed when
every test set has been tested, so a kill leaves a run that is done or one that is tested again. Before that a mark is
written if the checkpoints are to go, so that a kill does not keep them for ever, nor a later start take those that were
to be kept.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from fastreid.engine.checkpoint import MAY_CHANGE, RESULT_FOLLOWS, differences
from fastreid.engine.checkpoint_index import remove_checkpoints
from fastreid.evaluation.reporting.results import read_query_table
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text

TABLE = "queries.csv"
UNFINISHED = "queries.unfinished.csv"
SETTINGS = "config.yaml"
TO_REMOVE = "checkpoints_to_remove"


def is_done(folder: Path) -> bool:
    """Whether the run was trained and tested on every set."""
    return (folder / TABLE).is_file()


def finish(folder: Path, further_sets: Sequence[str], *, keep_weights: bool) -> None:
    """Make a run whose tests are over a done one, and remove its checkpoints.

    Args:
        folder: of the run.
        further_sets: names of the test sets behind the first, each with a folder of its own below.
        keep_weights: leave the checkpoints.
    """
    if keep_weights:
        (folder / TO_REMOVE).unlink(missing_ok=True)
    else:
        write_text(folder / TO_REMOVE, "tools/ablate.py was asked to leave no checkpoints here\n")
    for place in (*(folder / name for name in further_sets), folder):
        if (place / UNFINISHED).is_file():  # a set whose patents are not told has no scores
            os.replace(place / UNFINISHED, place / TABLE)
    remove_weights(folder)


def remove_weights(folder: Path) -> None:
    """Remove the checkpoints of a done run, if they were to go."""
    if (folder / TO_REMOVE).is_file() and is_done(folder):
        remove_checkpoints(folder)
        (folder / TO_REMOVE).unlink(missing_ok=True)


def check_settings(folder: Path, now: str, *, defaults: str) -> None:
    """Refuse a folder that holds a run whose result does not follow from these settings.

    Args:
        folder: of the run.
        now: the settings, as text.
        defaults: of all settings; a run that did not know a setting yet had its default.

    Raises:
        InputError: such a run, or a done one of which nothing tells the settings.
    """
    path = folder / SETTINGS
    if not path.is_file():
        if is_done(folder):
            raise InputError(f"{folder} holds {TABLE} and no {SETTINGS} that tells how it was made; remove the folder")
        return
    try:
        apart = differences(path.read_text(encoding="utf-8"), now, defaults=defaults)
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{path}: cannot be read as settings ({' '.join(str(error).split())[:200]}); remove {folder}")
    told = [f"{key} {words}" for key, words in apart.items() if _matters(key)]
    if told:
        raise InputError(
            f"{folder} holds a run by other settings ({'; '.join(told[:5])}); remove it, or choose another OUTPUT_DIR"
        )


def _matters(key: str) -> bool:
    return key.startswith(RESULT_FOLLOWS) or not key.startswith(MAY_CHANGE)


def read_scores(folder: Path, needed: Sequence[str]) -> QueryScores:
    """The scores that a done run left.

    Raises:
        InputError: the table is damaged, or lacks a score that is needed.
    """
    scores = read_query_table(folder / TABLE)
    lacking = [name for name in needed if name not in scores.values]
    if lacking:
        raise InputError(
            f"{folder / TABLE}: no column {', '.join(lacking)}; remove the file, and the run is tested anew"
        )
    return scores
