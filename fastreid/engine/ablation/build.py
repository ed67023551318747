"""From a config and rows to trainings, and from their scores to a table."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.engine.ablation.rows import GROUND, Row
from fastreid.engine.build import DefaultTrainer
from fastreid.engine.checkpoint import FINAL, LAST
from fastreid.engine.setup import default_setup, load_config
from fastreid.engine.testing.build import run_test
from fastreid.evaluation.comparison import Change, compare
from fastreid.evaluation.per_query import QueryScores
from fastreid.evaluation.report import read_query_table
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

TABLE = "queries.csv"


@dataclass(frozen=True)
class Run:
    """One training of an ablation: a row, a seed, and all of its settings, which name its folder."""

    row: str
    seed: int
    cfg: CfgNode

    @property
    def folder(self) -> Path:
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def is_done(self) -> bool:
        """Whether it was trained and tested, by these very settings."""
        return (self.folder / TABLE).is_file()


def plan_runs(config_file: str, opts: Sequence[str], rows: Sequence[Row], seeds: Sequence[int]) -> list[Run]:
    """All runs, the ground's first for each seed, so that what is there can be compared at any time.

    Every config is read and checked here, before the first run starts.

    Raises:
        InputError: a setting that does not fit, or a folder that holds a run by other settings.
    """
    folder = Path(load_config(config_file, opts).OUTPUT_DIR)
    runs = []
    for seed in seeds:
        for row in rows:
            words = [*opts, *row.opts, "SEED", seed, "OUTPUT_DIR", str(folder / row.name / f"seed{seed}")]
            try:
                cfg = load_config(config_file, [*words, "TEST.SCORE.TABLE", TABLE])
            except InputError as error:
                raise InputError(f"row '{row.name}': {str(error).removeprefix('command line: ')}")
            runs.append(Run(row.name, seed, cfg))
    for run in runs:
        _check_folder(run)
    return runs


def _check_folder(run: Run) -> None:
    """A setting that the kept run did not know yet had its default there."""
    kept = run.folder / "config.yaml"
    if kept.is_file() and load_config(kept) != run.cfg:
        raise InputError(f"{run.folder} holds a run by other settings; remove it, or choose another OUTPUT_DIR")


def train_and_test(run: Run, args: argparse.Namespace) -> None:
    """Train to the end, going on where an earlier start was stopped, test the last weights, and leave the scores.

    The last and not the best: the best was chosen by the test itself. The weights are removed in the end, unless
    `args.keep_weights`: those of a hundred runs fill a disk.

    Args:
        run: what to train.
        args: as the command has them.
    """
    default_setup(run.cfg, argparse.Namespace(**{**vars(args), "resume": False}))
    trainer = DefaultTrainer(run.cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    comm.gather(None)  # the others wait until process 0 has written the last weights
    tested = run.cfg.clone()
    tested.MODEL.WEIGHTS = str(run.folder / FINAL)
    tested.freeze()
    run_test(tested)
    if comm.is_main() and not args.keep_weights:
        for path in (*run.folder.glob("*.pth"), run.folder / LAST):
            path.unlink()


def compare_runs(runs: Sequence[Run]) -> Mapping[str, Mapping[str, Change]]:
    """Every row beside the ground, by the seeds that both have; the ground first, beside itself.

    Rows none of whose runs are done yet are left out, with a warning.
    """
    scores: dict[str, dict[int, QueryScores]] = {}
    for run in runs:
        of_row = scores.setdefault(run.row, {})
        if run.is_done:
            of_row[run.seed] = read_query_table(run.folder / TABLE)
    ground, found = scores[GROUND], {}
    for row, by_seed in scores.items():
        seeds = [seed for seed in ground if seed in by_seed]
        if seeds:
            found[row] = compare([by_seed[seed] for seed in seeds], [ground[seed] for seed in seeds])
        elif comm.is_main():
            get_logger().warning(f"row '{row}': no run is done beside the ground's; it is left out")
    return found
