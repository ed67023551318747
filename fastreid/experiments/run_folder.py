"""The folder of one ablation run: whether the run is finished, and which checkpoints can be removed.

A run is finished when its query table has its final name. The test writes the table under a temporary name, and it is
renamed after every test dataset has been tested, so a killed run is either finished or tested again. If the checkpoints
are to be removed, a marker file is written before that. So after a kill the next start removes them, and it never
removes checkpoints that were to be kept.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from fastreid.engine.checkpoint.index import remove_checkpoints
from fastreid.engine.resume.settings import RESULT_AFFECTING_SETTINGS, RESUME_SAFE_SETTINGS, diff_settings
from fastreid.evaluation.reporting.results import read_per_query_table
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text

TABLE_FILE = "queries.csv"
UNFINISHED_TABLE_FILE = "queries.unfinished.csv"
CONFIG_FILE = "config.yaml"
REMOVE_WEIGHTS_MARKER = "checkpoints_to_remove"


def is_finished(folder: Path) -> bool:
    """Return whether the run was trained and tested on every dataset."""
    return (folder / TABLE_FILE).is_file()


def finish_run(folder: Path, further_sets: Sequence[str], *, keep_weights: bool) -> None:
    """Mark a tested run as finished and remove its checkpoints.

    Args:
        folder: folder of the run.
        further_sets: names of the test datasets after the first; each has a folder below.
        keep_weights: keep the checkpoints.
    """
    if keep_weights:
        (folder / REMOVE_WEIGHTS_MARKER).unlink(missing_ok=True)
    else:
        write_text(
            folder / REMOVE_WEIGHTS_MARKER,
            "The checkpoints in this folder are removed, because --keep-weights is not set.\n",
        )
    for table_folder in (*(folder / name for name in further_sets), folder):
        if (table_folder / UNFINISHED_TABLE_FILE).is_file():  # a dataset without patents has no scores
            os.replace(table_folder / UNFINISHED_TABLE_FILE, table_folder / TABLE_FILE)
    remove_weights(folder)


def remove_weights(folder: Path) -> None:
    """Remove the checkpoints of a finished run, if they are marked for removal."""
    if (folder / REMOVE_WEIGHTS_MARKER).is_file() and is_finished(folder):
        remove_checkpoints(folder)
        (folder / REMOVE_WEIGHTS_MARKER).unlink(missing_ok=True)


def check_settings(folder: Path, settings: str, *, defaults: str) -> None:
    """Check that a folder contains no run whose results depend on other settings.

    Args:
        folder: folder of the run.
        settings: current settings as YAML text.
        defaults: default settings as YAML text, for settings that did not exist when the run was made.

    Raises:
        InputError: the run has other settings, or it is finished and has no record of its settings.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        if is_finished(folder):
            raise InputError(
                f"{folder} contains {TABLE_FILE} but no {CONFIG_FILE}, so its settings are unknown; remove the folder"
            )
        return
    try:
        changes = diff_settings(path.read_text(encoding="utf-8"), settings, defaults=defaults)
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{path}: cannot be read as settings ({' '.join(str(error).split())[:200]}); remove {folder}")
    relevant = [f"{key} {change}" for key, change in changes.items() if _affects_result(key)]
    if relevant:
        raise InputError(
            f"{folder} contains a run with other settings ({'; '.join(relevant[:5])}); remove it, or choose another "
            "OUTPUT_DIR"
        )


def _affects_result(key: str) -> bool:
    return key.startswith(RESULT_AFFECTING_SETTINGS) or not key.startswith(RESUME_SAFE_SETTINGS)


def read_scores(folder: Path, metrics: Sequence[str]) -> QueryScores:
    """Read the scores of a finished run.

    Raises:
        InputError: the table is damaged, or one of `metrics` is missing.
    """
    scores = read_per_query_table(folder / TABLE_FILE)
    missing = [name for name in metrics if name not in scores.values]
    if missing:
        raise InputError(
            f"{folder / TABLE_FILE}: no column {', '.join(missing)}; remove the file to test the run again"
        )
    return scores
