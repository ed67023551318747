"""Read training runs from their folders and compare their settings and results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.config import get_cfg
from fastreid.config.config import iter_settings
from fastreid.config.reader import parse_settings
from fastreid.evaluation.scoring.metrics import score_names
from fastreid.monitoring.writers import METRICS_FILE, read_metrics
from fastreid.utils.errors import InputError

LOCATION_SETTINGS = ("OUTPUT_DIR", "DATASETS.ROOT")  # not compared, since they only say where a run is


@dataclass(frozen=True)
class RunRecord:
    """Metrics and settings of a run.

    Args:
        name: name of the run in comparisons.
        lines: lines of its `metrics.json`, in order.
        settings: settings of its `config.yaml` by full name, with defaults for settings it does not contain; empty if
            there is no such file.
    """

    name: str
    lines: Sequence[Mapping[str, float]]
    settings: Mapping[str, Any]

    def curve(self, name: str) -> list[tuple[float, float]]:
        """Return (iteration, value) of a metric for each line that contains it."""
        return [(line["iteration"], line[name]) for line in self.lines if name in line]

    @property
    def num_iterations(self) -> int:
        """Iterations completed."""
        return int(self.lines[-1]["iteration"])

    @property
    def seconds(self) -> float | None:
        """Seconds spent in steps, from the median of each line, without evaluations and pauses; None if unknown."""
        done, total = 0.0, 0.0
        for line in self.lines:
            if "time" not in line:
                return None
            total += line["time"] * (line["iteration"] - done)
            done = line["iteration"]
        return total


def read_runs(folders: Sequence[str]) -> list[RunRecord]:
    """Read runs from their folders.

    A run is named by the parts of its path that distinguish it from the others.

    Args:
        folders: OUTPUT_DIR of each run.

    Raises:
        InputError: a folder is given twice, or has no line of `metrics.json`.
    """
    defaults = {key: list(value) if isinstance(value, tuple) else value for key, value in iter_settings(get_cfg())}
    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"{', '.join(folders)}: a run is given twice; name each folder once")
    return [_load_run(path, name, defaults) for path, name in zip(paths, _shortest_names(paths))]


def different_settings(runs: Sequence[RunRecord]) -> list[list[str]]:
    """Return rows (setting, value in each run) of the settings that differ between runs; "-" for unknown values."""
    keys = sorted({key for run in runs for key in run.settings})
    rows = [[key, *(str(run.settings[key]) if key in run.settings else "-" for run in runs)] for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1 and not row[0].startswith(LOCATION_SETTINGS)]


def summarize_outcomes(runs: Sequence[RunRecord], names: Sequence[str]) -> list[list[str]]:
    """Return rows (name, value in each run): steps, seconds, and each metric's last value, with the best if it differs.

    The best value of a loss is the lowest. A metric that a run did not log is "-".
    """
    rows = [["steps", *(str(run.num_iterations) for run in runs)]]
    rows.append(["seconds in steps", *("-" if run.seconds is None else f"{run.seconds:.0f}" for run in runs)])
    return rows + [[name, *(_format_last_and_best(run, name) for run in runs)] for name in names]


def logged_metrics(runs: Sequence[RunRecord]) -> list[str]:
    """Return the names of the losses and then of the scores that any run logged, with their prefixes.

    Prefixes are dataset names and "average/" for averaged weights.
    """
    losses = dict.fromkeys(name for run in runs for line in run.lines for name in line if "loss" in name)
    return [*losses, *logged_scores(runs)]


def logged_scores(runs: Sequence[RunRecord]) -> list[str]:
    """Return the names of the scores that any run logged, with their prefixes; their values are in percent."""
    names = dict.fromkeys(name for run in runs for line in run.lines for name in line)
    depths = {run.settings.get("TEST.TOP_K", 10) for run in runs}
    recalls = sorted({k for run in runs for k in run.settings.get("TEST.RECALLS", ())})
    known = dict.fromkeys(name for k in sorted(depths) for name in score_names(top_k=k, roc=True, recalls=recalls))
    longest_first = sorted(known, key=len, reverse=True)  # patent/mAP also ends with mAP
    kinds = {name: next((kind for kind in longest_first if f"/{name}".endswith(f"/{kind}")), "") for name in names}
    return [name for kind in known for name in names if kinds[name] == kind]


def _format_last_and_best(run: RunRecord, name: str) -> str:
    values = [value for _, value in run.curve(name)]
    if not values:
        return "-"
    best = min(values) if "loss" in name else max(values)
    return f"{values[-1]:.4g}" + (f" (best {best:.4g})" if best != values[-1] else "")


def _load_run(path: Path, name: str, defaults: Mapping[str, Any]) -> RunRecord:
    lines = read_metrics(path)
    if not lines:
        raise InputError(f"{path}: contains no line of {METRICS_FILE}; give the OUTPUT_DIR of a training run")
    config = path / "config.yaml"
    try:
        if not config.is_file():
            return RunRecord(name, lines, {})
        settings = parse_settings(config.read_text(encoding="utf-8"), str(config))
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{config}: not the settings of a run ({' '.join(str(error).split())[:100]}); remove it")
    return RunRecord(name, lines, {**defaults, **settings})


def _shortest_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest distinct ends of the paths, after removing the end that all have in common."""
    parts = [path.resolve().parts for path in paths]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
