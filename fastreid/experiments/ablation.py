"""From a config and rows to trainings, and from their scores to a table."""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode, get_cfg
from fastreid.data.build import build_datasets
from fastreid.data.datasets.base import RetrievalData
from fastreid.engine.checkpoint import FINAL, differences
from fastreid.engine.evaluate import run_test
from fastreid.engine.hooks.basic import release_signals
from fastreid.engine.setup import default_setup, load_config
from fastreid.engine.train_step import NonFiniteLossError
from fastreid.engine.trainer import DefaultTrainer, start_from
from fastreid.evaluation.scoring.comparison import Change, compare
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.experiments.run_folder import (
    TABLE,
    UNFINISHED,
    check_settings,
    finish,
    is_done,
    read_scores,
    remove_weights,
)
from fastreid.experiments.variants import GROUND, SET_BY_THE_COMMAND, Row, chosen
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.cli import StoppedBySignalError, UserFacingError
from fastreid.utils.errors import FastreidError, InputError, StorageError
from fastreid.utils.logger import get_logger

OF_THE_TEST = ("DATASETS.TESTS", "TEST.SCORE.", "TEST.TOP_K")  # settings, or beginnings of their names
Data = tuple[tuple[Drawing, ...], dict[str, RetrievalData]]


@dataclass(frozen=True)
class Run:
    """One training of an ablation: a row, a seed, and all of its settings, which name its folder."""

    row: str
    seed: int
    cfg: CfgNode

    @property
    def folder(self) -> Path:
        return Path(self.cfg.OUTPUT_DIR)

    def __str__(self) -> str:
        return f"row '{self.row}', seed {self.seed}"


@dataclass(frozen=True)
class Failure:
    """A run that ended by an error of its own, with the error's exit code."""

    run: Run
    message: str
    exit_code: int

    def __str__(self) -> str:
        return f"{self.run}: {self.message}"


class Ablation:
    """The runs of a config and of rows over it, in folders of their own below OUTPUT_DIR.

    Args:
        config_file: settings of the ground.
        opts: KEY VALUE pairs over it, for all rows.
        rows: the ground and the others.

    Raises:
        InputError: the ground's settings are at fault.
    """

    def __init__(self, config_file: str | Path, opts: Sequence[str], rows: Sequence[Row]):
        self._file, self._opts, self._rows = config_file, tuple(opts), tuple(rows)
        for key in (key for key in opts[::2] if key in SET_BY_THE_COMMAND.keys() - {"OUTPUT_DIR"}):
            raise InputError(f"command line: {key} stands there, but {SET_BY_THE_COMMAND[key]}; take it out")
        ground = load_config(config_file, opts)
        self.folder = Path(ground.OUTPUT_DIR)
        self.measures = ("mAP", f"mAP@{ground.TEST.TOP_K}", "Rank-1")
        self._scores: dict[Path, QueryScores] = {}
        self._refused: set[Path] = set()

    def plan(self, seeds: Sequence[int], *, only: Sequence[str] = ()) -> list[Run]:
        """The runs that are left to do, the ground's first for each seed, so that they can be compared at any time.

        All that can be known to be wrong with any of them is told here, before the first starts. Every process must
        ask, and gets the answer of process 0.

        Args:
            seeds: of the runs.
            only: names of the rows to take beside the ground; all when empty.

        Raises:
            FastreidError: as `DefaultTrainer`, with the row's name.
            InputError: a row that changes nothing, or the test; a folder with a run by other settings or a damaged table.
        """
        rows = chosen(self._rows, only)
        runs = [self._run(row, seed) for seed in seeds for row in rows]
        first = runs[: len(rows)]
        for run in first[1:]:
            _check_row(run, first[0])
        left = comm.from_main([run for run in runs if not self._take(run)] if comm.is_main() else [])
        of_rows = {run.row: run for run in reversed(left)}  # the first of each row
        _check_buildable(list(of_rows.values())[::-1], first[0])
        return left

    def compare(self) -> Mapping[str, Mapping[str, Change]]:
        """Every row beside the ground, by the seeds that both have on the disk; the ground first, beside itself."""
        scores = {row.name: self._scores_of(row) for row in self._rows}
        ground, found = scores[GROUND], {}
        for row, by_seed in scores.items():
            seeds = [seed for seed in ground if seed in by_seed]
            if seeds:
                found[row] = compare([by_seed[seed] for seed in seeds], [ground[seed] for seed in seeds])
        return found

    def _run(self, row: Row, seed: int) -> Run:
        folder = str(self.folder / row.name / f"seed{seed}")
        opts = [*self._opts, *row.opts, "SEED", str(seed), "OUTPUT_DIR", folder, "TEST.SCORE.PER_QUERY_FILE", TABLE]
        try:
            return Run(row.name, seed, load_config(self._file, opts))
        except InputError as error:
            raise InputError(f"row '{row.name}': {str(error).removeprefix('command line: ')}")

    def _scores_of(self, row: Row) -> dict[int, QueryScores]:
        """By seed, of all runs of a row that are done, by whatever command."""
        found = {}
        seeds = [re.fullmatch(r"seed(\d+)", path.name) for path in (self.folder / row.name).glob("seed*")]
        for seed in sorted(int(match[1]) for match in seeds if match):
            folder = self.folder / row.name / f"seed{seed}"
            if folder in self._refused or not is_done(folder):
                continue
            try:
                self._take(run := self._run(row, seed))
                found[seed] = self._scores[run.folder]
            except InputError as error:
                self._refused.add(folder)
                get_logger().warning(f"left out of the table: {error}")
        return found

    def _take(self, run: Run) -> bool:
        """Whether the run is done; its scores are then read, and what it should not have kept is removed."""
        if run.folder not in self._scores:
            check_settings(run.folder, run.cfg.dump(), defaults=get_cfg().dump())
            if is_done(run.folder):
                scores = read_scores(run.folder, self.measures)
                for folder, others in self._scores.items():
                    _check_same_test(run.folder, scores, folder=folder, others=others)
                    break
                remove_weights(run.folder)
                self._scores[run.folder] = scores
        return run.folder in self._scores


def attempt(run: Run, *, keep_weights: bool) -> Failure | None:
    """Train and test a run; an error that is the run's own is told, and the others may go on.

    Among several processes only a step that is not a number ends in all of them alike; after any other error some would
    wait for the one that failed.

    Args:
        run: what to train.
        keep_weights: leave its checkpoints when it is done.

    Raises:
        FastreidError: what would end the other runs too, such as a full disk.
        UserFacingError: a signal asked to stop.
    """
    try:
        train_and_test(run, keep_weights=keep_weights)
    except StoppedBySignalError as stop:
        told = (
            f"stopped by signal {stop.signal_number} in {run}; saved {stop.saved}; the same command goes on from there"
        )
        raise UserFacingError(told, stop.exit_code)
    except FastreidError as error:
        release_signals()
        failure = Failure(run, str(error), error.exit_code)
        if isinstance(error, StorageError) or (comm.world_size() > 1 and not isinstance(error, NonFiniteLossError)):
            raise UserFacingError(str(failure), failure.exit_code)
        if comm.is_main():
            get_logger().warning(f"{failure}; going on with the others")
        return failure
    return None


def train_and_test(run: Run, *, keep_weights: bool) -> None:
    """Train to the end, going on where an earlier start was stopped, test the last weights, and leave the scores.

    The last and not the best: the best was chosen by the test itself. The checkpoints are removed in the end, unless
    `keep_weights`: those of a hundred runs fill a disk.
    """
    default_setup(run.cfg, argparse.Namespace(resume=False, row=run.row, seed=run.seed))
    trainer = DefaultTrainer(run.cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    comm.gather(None)  # the others wait until process 0 has written the last weights
    tested = run.cfg.clone()
    tested.MODEL.WEIGHTS = str(run.folder / FINAL)
    tested.TEST.SCORE.PER_QUERY_FILE = UNFINISHED
    tested.freeze()
    _, *further = run_test(tested)
    if comm.is_main():
        finish(run.folder, further, keep_weights=keep_weights)


def _check_row(run: Run, ground: Run) -> None:
    apart = differences(ground.cfg.dump(), run.cfg.dump())
    keys = [key for key in apart if key != "OUTPUT_DIR"]
    if not keys:
        raise InputError(f"row '{run.row}' changes nothing: all of its settings are the ground's; take it out")
    for key in keys:
        if key.startswith(OF_THE_TEST):
            raise InputError(
                f"row '{run.row}': {key} {apart[key]}, so it is scored by another test than the ground and does not "
                "compare; set it for all rows, in the config or on the command line"
            )


def _check_buildable(runs: Sequence[Run], ground: Run) -> None:
    """Build what each run trains and tests with, and refuse one that is tested on other drawings than the ground."""
    known: dict[str, Data] = {}

    def data_of(cfg: CfgNode) -> Data:
        lists = cfg.DATASETS.dump()
        if lists not in known:
            known[lists] = build_datasets(cfg)
        return known[lists]

    for run in runs:
        try:
            data = data_of(run.cfg)
            if data[1] != data_of(ground.cfg)[1]:
                apart = differences(ground.cfg.DATASETS.dump(), run.cfg.DATASETS.dump())
                keys = ", ".join(f"DATASETS.{key} {told}" for key, told in apart.items())
                raise InputError(f"it is tested on other drawings than the ground and does not compare ({keys})")
            trainer = DefaultTrainer(run.cfg, data=data)
            trainer.loader.close()
            if not trainer.checkpointer.order.names():
                start_from(run.cfg, trainer.model)
        except FastreidError as error:
            kind = InputError if isinstance(error, InputError) else type(error)  # the kinds of it take other arguments
            raise kind(f"row '{run.row}': {error}")


def _check_same_test(mine: Path, scores: QueryScores, *, folder: Path, others: QueryScores) -> None:
    try:
        scores.check_same_test(others)
    except InputError:
        raise InputError(
            f"{mine / TABLE} has other queries than {folder / TABLE}; remove the one that is damaged or of another test"
        )
