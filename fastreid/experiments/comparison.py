"""Runs that were made, read from their folders and laid side by side; those of older versions too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.config.reader import settings_of
from fastreid.evaluation.scoring.metrics import score_names
from fastreid.monitoring.writers import METRICS_FILE, read_metrics
from fastreid.utils.errors import InputError

OF_A_PLACE = ("OUTPUT_DIR", "DATASETS.ROOT")  # settings that tell where a run is and not what


@dataclass(frozen=True)
class RunRecord:
    """What a run left behind.

    Args:
        name: what it is called beside others.
        lines: of its `metrics.json`, in order.
        settings: of its `config.yaml` by their full names, with the default where it did not know one yet; empty
            where there is no such file.
    """

    name: str
    lines: Sequence[Mapping[str, float]]
    settings: Mapping[str, Any]

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(steps done, value) of a metric wherever a line has it."""
        return [(line["iteration"], line[name]) for line in self.lines if name in line]

    @property
    def steps(self) -> int:
        return int(self.lines[-1]["iteration"])

    @property
    def seconds(self) -> float | None:
        """Seconds in steps, from each line's median; without evaluations and pauses. None where no time was told."""
        done, total = 0.0, 0.0
        for line in self.lines:
            if "time" not in line:
                return None
            total += line["time"] * (line["iteration"] - done)
            done = line["iteration"]
        return total


def read_runs(folders: Sequence[str], defaults: Mapping[str, Any]) -> list[RunRecord]:
    """Runs by their folders; each is called by the parts of its path that tell it from the others.

    Args:
        folders: OUTPUT_DIRs.
        defaults: of all settings by their full names.

    Raises:
        InputError: fewer than one, one twice, or a folder without a line of `metrics.json`.
    """
    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"{', '.join(folders)}: a run stands twice; name each folder once")
    return [_read(path, name, defaults) for path, name in zip(paths, _names(paths))]


def different_settings(runs: Sequence[RunRecord]) -> list[list[str]]:
    """Rows (setting, value in each run) of the settings that are not the same in all; "-" where a run knows none."""
    keys = sorted({key for run in runs for key in run.settings})
    rows = [[key, *(str(run.settings[key]) if key in run.settings else "-" for run in runs)] for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1 and not row[0].startswith(OF_A_PLACE)]


def outcomes(runs: Sequence[RunRecord], names: Sequence[str]) -> list[list[str]]:
    """Rows (what, in each run): steps, seconds, and each metric's last value with its best where that is another.

    The best of a loss is its lowest. What a run never told is "-".
    """
    rows = [["steps", *(str(run.steps) for run in runs)]]
    rows.append(["seconds in steps", *("-" if run.seconds is None else f"{run.seconds:.0f}" for run in runs)])
    return rows + [[name, *(_last_and_best(run, name) for run in runs)] for name in names]


def told_metrics(runs: Sequence[RunRecord]) -> list[str]:
    """Names of the losses and then of the scores that any of the runs told, of all sets and of means of weights."""
    found = dict.fromkeys(name for run in runs for line in run.lines for name in line)
    depths = {run.settings.get("TEST.TOP_K", 10) for run in runs}
    known = dict.fromkeys(name for k in sorted(depths) for name in score_names(top_k=k, roc=True))
    longest_first = sorted(known, key=len, reverse=True)  # patent/mAP ends in mAP too
    kinds = {name: next((kind for kind in longest_first if f"/{name}".endswith(f"/{kind}")), "") for name in found}
    losses = [name for name in found if "loss" in name]
    return losses + [name for kind in known for name in found if kinds[name] == kind]


def _last_and_best(run: RunRecord, name: str) -> str:
    values = [value for _, value in run.curve(name)]
    if not values:
        return "-"
    best = min(values) if "loss" in name else max(values)
    return f"{values[-1]:.4g}" + (f" (best {best:.4g})" if best != values[-1] else "")


def _read(path: Path, name: str, defaults: Mapping[str, Any]) -> RunRecord:
    lines = read_metrics(path)
    if not lines:
        raise InputError(f"{path}: no line of {METRICS_FILE} in it; name the OUTPUT_DIR of a training run")
    config = path / "config.yaml"
    try:
        if not config.is_file():
            return RunRecord(name, lines, {})
        settings = settings_of(config.read_text(encoding="utf-8"), str(config))
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{config}: not the settings of a run ({' '.join(str(error).split())[:100]}); remove it")
    return RunRecord(name, lines, {**defaults, **settings})


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ, without what all of them end in."""
    parts = [path.resolve().parts for path in paths]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
