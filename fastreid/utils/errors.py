"""Exceptions with exit codes.

    FastreidError                1
    |-- InputError               2   a config, list, image or argument is invalid
    |-- EnvironmentSetupError    3   no GPU, a missing extra, a folder that is not writable, a lock that is taken
    |-- NumericalError           4   NaN, Inf or zero where a finite non-zero number is needed
    |-- StorageError             5   full disk, missing file, failed download
    `-- WeightsError             6   a checkpoint or weights that do not match or cannot be trusted

A message is one line: the value, the allowed values and the fix.
"""

import difflib
from collections.abc import Iterable

_MAX_COMPARED_CHARACTERS = 100  # of a name, when the nearest one is searched


class FastreidError(Exception):
    """An error with a one-line message and an exit code; commands print the message and exit with the code.

    Attributes:
        exit_code: exit code of the command.
        has_headings: whether the message has several headings with faults below; then all its line breaks are kept.
    """

    exit_code = 1
    has_headings = False


class InputError(FastreidError):
    """A config, list, image or argument is invalid."""

    exit_code = 2


class EnvironmentSetupError(FastreidError):
    """The machine or installation lacks something that was requested."""

    exit_code = 3


class NumericalError(FastreidError):
    """A number is NaN, Inf or zero where it must not be."""

    exit_code = 4


class StorageError(FastreidError):
    """A file cannot be written, read or downloaded."""

    exit_code = 5


class WeightsError(FastreidError):
    """A checkpoint or weights file does not match the model or cannot be trusted."""

    exit_code = 6


def describe_unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return "MODEL.HEADS.POOL_LAYER 'gme' is unknown. Did you mean 'gem'? Available: avg, gem."

    Args:
        what: config key or option that was set to the name.
        name: the unknown name.
        known: the allowed names.
    """
    return f"{what} '{name}' is unknown.{suggest_and_list(name, known)}"


def suggest_and_list(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'gem'? Available: avg, gem." for an unknown name."""
    known = sorted(known)
    return f"{suggest_nearest(name, known)} Available: {', '.join(known)}."


def suggest_nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'gem'?" for a name similar to a known one, else ""."""
    matches = difflib.get_close_matches(name[:_MAX_COMPARED_CHARACTERS], known, n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""
