"""Train the variants of a config with several seeds and compare their scores with the baseline."""

import argparse
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode, get_cfg
from fastreid.data.datasets.base import RetrievalData
from fastreid.engine.checkpoint.index import FINAL_FILE
from fastreid.engine.data import build_datasets
from fastreid.engine.evaluate import run_test
from fastreid.engine.hooks.signals import restore_default_signals
from fastreid.engine.model.network import load_initial_weights
from fastreid.engine.model.weights_source import check_initial_weights
from fastreid.engine.resume.settings import diff_settings
from fastreid.engine.run_checks import check_component_names
from fastreid.engine.setup import default_setup, load_config
from fastreid.engine.step.train_step import NonFiniteLossError
from fastreid.engine.trainer import DefaultTrainer
from fastreid.evaluation.scoring.comparison import Delta, compare_runs
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.experiments.run_folder import (
    TABLE_FILE,
    UNFINISHED_TABLE_FILE,
    check_settings,
    finish_run,
    is_finished,
    read_scores,
    remove_weights,
)
from fastreid.experiments.variants import BASELINE, RESERVED_SETTINGS, Variant, select_variants
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.cli import StoppedBySignalError, UserFacingError
from fastreid.utils.errors import FastreidError, InputError, StorageError
from fastreid.utils.logger import get_logger
from fastreid.utils.termination import describe_signal

# Settings (or the start of their names) that must be equal in all variants, or scores are not comparable.
TEST_SETTINGS = ("DATASETS.TESTS", "TEST.SCORE.", "TEST.TOP_K")
DatasetLists = tuple[tuple[Drawing, ...], dict[str, RetrievalData]]


@dataclass(frozen=True)
class Run:
    """One training of an ablation.

    Args:
        variant: name of the variant.
        seed: seed of the run.
        cfg: all settings; OUTPUT_DIR is the folder of the run.
    """

    variant: str
    seed: int
    cfg: CfgNode

    @property
    def folder(self) -> Path:
        """The run's OUTPUT_DIR."""
        return Path(self.cfg.OUTPUT_DIR)

    def __str__(self) -> str:
        return f"variant '{self.variant}', seed {self.seed}"


@dataclass(frozen=True)
class Failure:
    """A run that failed, with the message and exit code of its error."""

    run: Run
    message: str
    exit_code: int

    def __str__(self) -> str:
        return f"{self.run}: {self.message}"


class Ablation:
    """The runs of a baseline config and its variants, each in its own folder below OUTPUT_DIR.

    Args:
        config_file: settings of the baseline.
        opts: KEY VALUE pairs that override the config in all variants.
        variants: the baseline and the other variants.

    Raises:
        InputError: the settings of the baseline are invalid.
    """

    def __init__(self, config_file: str | Path, opts: Sequence[str], variants: Sequence[Variant]):
        self._file, self._opts, self._variants = config_file, tuple(opts), tuple(variants)
        for key in (key for key in opts[::2] if key in RESERVED_SETTINGS.keys() - {"OUTPUT_DIR"}):
            raise InputError(f"command line: {key} cannot be set here, since {RESERVED_SETTINGS[key]}; remove it")
        baseline = load_config(config_file, opts)
        self.folder = Path(baseline.OUTPUT_DIR)
        self.metrics = ("mAP", f"mAP@{baseline.TEST.TOP_K}", "Rank-1")
        self._scores: dict[Path, QueryScores] = {}
        self._skipped_folders: set[Path] = set()

    def plan(self, seeds: Sequence[int], *, only: Sequence[str] = ()) -> list[Run]:
        """Return the pending runs, the baseline first for each seed, so that scores can be compared at any time.

        All runs are validated here, before the first one starts. Every process must call this method; all receive the
        result of process 0.

        Args:
            seeds: seeds of the runs.
            only: names of the variants to run besides the baseline; empty: all.

        Raises:
            FastreidError: as `DefaultTrainer`, with the name of the variant.
            InputError: a variant changes nothing or changes the test, or a folder contains a run with other settings
                or a damaged table.
        """
        variants = select_variants(self._variants, only)
        runs = [self._build_run(variant, seed) for seed in seeds for variant in variants]
        first_seed_runs = runs[: len(variants)]
        for run in first_seed_runs[1:]:
            _check_variant(run, first_seed_runs[0])
        pending = comm.broadcast_object(
            [run for run in runs if not self._load_if_finished(run)] if comm.is_main_process() else []
        )
        first_pending = {run.variant: run for run in reversed(pending)}  # of each variant
        _check_parts_build(list(first_pending.values())[::-1], first_seed_runs[0])
        return pending

    def compare(self) -> Mapping[str, Mapping[str, Delta]]:
        """Return variant -> metric -> change from the baseline, over the seeds for which both are finished.

        The baseline is the first entry, compared with itself.
        """
        scores = {variant.name: self._read_variant_scores(variant) for variant in self._variants}
        baseline, changes = scores[BASELINE], {}
        for variant, by_seed in scores.items():
            seeds = [seed for seed in baseline if seed in by_seed]
            if seeds:
                changes[variant] = compare_runs([by_seed[seed] for seed in seeds], [baseline[seed] for seed in seeds])
        return changes

    def _build_run(self, variant: Variant, seed: int) -> Run:
        folder = str(self.folder / variant.name / f"seed{seed}")
        run_opts = ["SEED", str(seed), "OUTPUT_DIR", folder, "TEST.SCORE.PER_QUERY_FILE", TABLE_FILE]
        try:
            return Run(variant.name, seed, load_config(self._file, [*self._opts, *variant.opts, *run_opts]))
        except InputError as error:
            raise InputError(f"variant '{variant.name}': {str(error).removeprefix('command line: ')}")

    def _read_variant_scores(self, variant: Variant) -> dict[int, QueryScores]:
        """Return the scores of a variant's finished runs by seed, also of those that an earlier command ran."""
        by_seed = {}
        folders = (self.folder / variant.name).glob("seed*")
        seeds = [re.fullmatch(r"seed(\d+)", path.name) for path in folders]
        for seed in sorted(int(match[1]) for match in seeds if match):
            folder = self.folder / variant.name / f"seed{seed}"
            if folder in self._skipped_folders or not is_finished(folder):
                continue
            try:
                self._load_if_finished(run := self._build_run(variant, seed))
                by_seed[seed] = self._scores[run.folder]
            except InputError as error:
                self._skipped_folders.add(folder)
                get_logger().warning(f"not in the table: {error}")
        return by_seed

    def _load_if_finished(self, run: Run) -> bool:
        """Return whether a run is finished; if so, read its scores and remove the checkpoints it should not keep."""
        if run.folder not in self._scores:
            check_settings(run.folder, run.cfg.dump(), defaults=get_cfg().dump())
            if is_finished(run.folder):
                scores = read_scores(run.folder, self.metrics)
                for other_folder, other_scores in self._scores.items():
                    _check_same_queries(run.folder, scores, other_folder=other_folder, other_scores=other_scores)
                    break
                remove_weights(run.folder)
                self._scores[run.folder] = scores
        return run.folder in self._scores


def run_or_record_failure(run: Run, *, keep_weights: bool) -> Failure | None:
    """Train and test a run; if it fails, log and return the failure, so that the other runs can continue.

    With several processes only a non-finite loss ends all of them in the same way. After any other error the others
    would wait for the failed process, so that error is raised.

    Args:
        run: the run.
        keep_weights: keep its checkpoints when it is finished.

    Raises:
        UserFacingError: a signal stopped the run, or the error would affect the other runs too, such as a full disk.
    """
    try:
        train_and_test(run, keep_weights=keep_weights)
    except StoppedBySignalError as stop:
        name = describe_signal(stop.signal_number)
        message = f"stopped by {name} in {run}; saved {stop.saved}; the same command resumes from there"
        raise UserFacingError(message, stop.exit_code)
    except FastreidError as error:
        restore_default_signals()
        failure = Failure(run, str(error), error.exit_code)
        if isinstance(error, StorageError) or (comm.get_world_size() > 1 and not isinstance(error, NonFiniteLossError)):
            raise UserFacingError(str(failure), failure.exit_code)
        if comm.is_main_process():
            get_logger().warning(f"{failure}; continuing with the other runs")
        return failure
    return None


def train_and_test(run: Run, *, keep_weights: bool) -> None:
    """Train a run, resuming an earlier start, test the last weights and save the scores.

    The last weights are tested, not the best, because the best were selected on the test set itself. The checkpoints
    are removed at the end unless `keep_weights` is set, because those of many runs can fill a disk.
    """
    default_setup(run.cfg, argparse.Namespace(resume=False, variant=run.variant, seed=run.seed))
    trainer = DefaultTrainer(run.cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    comm.all_gather_object(None)  # wait until process 0 has written the last weights
    test_cfg = run.cfg.clone()
    test_cfg.MODEL.WEIGHTS = str(run.folder / FINAL_FILE)
    test_cfg.TEST.SCORE.PER_QUERY_FILE = UNFINISHED_TABLE_FILE
    test_cfg.freeze()
    _, *further = run_test(test_cfg)
    if comm.is_main_process():
        finish_run(run.folder, further, keep_weights=keep_weights)


def _check_variant(run: Run, baseline: Run) -> None:
    changes = diff_settings(baseline.cfg.dump(), run.cfg.dump())
    keys = [key for key in changes if key != "OUTPUT_DIR"]
    if not keys:
        raise InputError(f"variant '{run.variant}' changes nothing: its settings equal the baseline's; remove it")
    for key in keys:
        if key.startswith(TEST_SETTINGS):
            raise InputError(
                f"variant '{run.variant}': {key} {changes[key]}, so its scores are not comparable with the baseline; "
                "set it for all variants, in the config or on the command line"
            )


def _check_parts_build(runs: Sequence[Run], baseline: Run) -> None:
    """Build the data and the trainer of each run, and check that it has the test set of the baseline."""
    datasets: dict[str, DatasetLists] = {}

    def load_lists(cfg: CfgNode) -> DatasetLists:
        lists = cfg.DATASETS.dump()
        if lists not in datasets:
            datasets[lists] = build_datasets(cfg)
        return datasets[lists]

    for run in runs:  # all of them before any data is read
        with _name_variant_in_errors(run):
            check_component_names(run.cfg, training=True)
            check_initial_weights(run.cfg, resume=True)
    for run in runs:
        with _name_variant_in_errors(run):
            data = load_lists(run.cfg)
            if data[1] != load_lists(baseline.cfg)[1]:
                changes = diff_settings(baseline.cfg.DATASETS.dump(), run.cfg.DATASETS.dump())
                keys = ", ".join(f"DATASETS.{key} {change}" for key, change in changes.items())
                raise InputError(f"the test set differs from the baseline's, so scores are not comparable ({keys})")
            trainer = DefaultTrainer(run.cfg, data=data)
            trainer.loader.close()
            if not trainer.checkpointer.index.names():
                load_initial_weights(run.cfg, trainer.model, trainer.fingerprint.state)


@contextlib.contextmanager
def _name_variant_in_errors(run: Run) -> Iterator[None]:
    try:
        yield
    except FastreidError as error:
        kind = InputError if isinstance(error, InputError) else type(error)  # subclasses of it take other arguments
        raise kind(f"variant '{run.variant}': {error}")


def _check_same_queries(folder: Path, scores: QueryScores, *, other_folder: Path, other_scores: QueryScores) -> None:
    try:
        scores.check_same_test(other_scores)
    except InputError:
        raise InputError(
            f"{folder / TABLE_FILE} has other queries than {other_folder / TABLE_FILE}; remove the one that is damaged "
            "or from another test"
        )
