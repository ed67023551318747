"""What can go wrong, by exit code.

    FastreidError
    |-- InputError          2   a config, list, image or argument is wrong
    |-- EnvironmentSetupError    3   no GPU, a missing extra, a folder that cannot be written, a lock that is held
    |-- NumericalError        4   NaN, Inf or zero where a number must be
    |-- StorageError        5   disk full, a file that is lost, a download that fails
    `-- WeightsError        6   a checkpoint or weights that do not fit or cannot be trusted

A message is one line: what came, what is allowed, and the mend.
"""

import difflib
from collections.abc import Iterable


class FastreidError(Exception):
    """A fault with a plain message and an exit code; tools print the message and leave with the code."""

    exit_code = 1


class InputError(FastreidError):
    """A config, list, image or argument is wrong."""

    exit_code = 2


class EnvironmentSetupError(FastreidError):
    """The machine lacks what was asked for."""

    exit_code = 3


class NumericalError(FastreidError):
    """A number is NaN, Inf or zero where it must not be."""

    exit_code = 4


class StorageError(FastreidError):
    """A file cannot be written, read or fetched."""

    exit_code = 5


class WeightsError(FastreidError):
    """A checkpoint or weights file does not fit the model or cannot be trusted."""

    exit_code = 6


def suggest_and_list(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'gem'? Known: avg, gem.` for a name that is not among the known ones."""
    known = sorted(known)
    return f"{suggest_nearest(name, known)} Known: {', '.join(known)}."


def suggest_nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'gem'?` for a name that is nearly a known one, else nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
