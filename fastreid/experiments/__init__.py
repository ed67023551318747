"""Experiments with many runs: ablation, batch-size search, tuning of post-processing, comparison of runs."""

from fastreid.experiments.ablation import Ablation, run_or_record_failure
from fastreid.experiments.batch_size import BatchSizeTrial, find_batch_size, try_batch_sizes
from fastreid.experiments.comparison import RunRecord, different_settings, read_runs, summarize_outcomes
from fastreid.experiments.curves import plot_curves
from fastreid.experiments.tuning import format_tuned_config, tune_saved_features, write_trials
from fastreid.experiments.variants import BASELINE, Variant, read_variants

__all__ = [
    "BASELINE",
    "Ablation",
    "BatchSizeTrial",
    "RunRecord",
    "Variant",
    "different_settings",
    "find_batch_size",
    "format_tuned_config",
    "plot_curves",
    "read_runs",
    "read_variants",
    "run_or_record_failure",
    "summarize_outcomes",
    "try_batch_sizes",
    "tune_saved_features",
    "write_trials",
]
