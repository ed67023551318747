"""The rows of an ablation: named choices, each some settings over those of the config."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.config.reader import read_settings
from fastreid.utils.errors import InputError, suggest

GROUND = "ground"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,59}")


@dataclass(frozen=True)
class Row:
    """One choice.

    Args:
        name: also of its folder.
        opts: (KEY, value, KEY, value, ...) over the config and the command line.
    """

    name: str
    opts: tuple[Any, ...] = ()


def read_rows(path: str | Path, *, only: Sequence[str] = ()) -> list[Row]:
    """The ground, which is the config as it is, and the rows of a YAML file in its order.

    The file has a section for each row, and below it settings as a config has them.

    Args:
        path: of the file.
        only: names of the rows to keep beside the ground; all when empty.

    Raises:
        InputError: no such file, no plain YAML, a row without settings or with a name that is no folder's, or a name in
            `only` that is no row.
    """
    found: dict[str, list[Any]] = {}
    for key, value, place in read_settings(str(path)):
        name, _, setting = key.partition(".")
        if not setting:
            raise InputError(f"{place}: {name} is no row; a row is a name with settings below it, such as INPUT:")
        if not _NAME.fullmatch(name) or name == GROUND:
            raise InputError(
                f"{place}: a row cannot be called '{name}'; take letters, digits, '-', '_' and '+', at most 60, and not "
                f"'{GROUND}', which is the config as it is"
            )
        found.setdefault(name, []).extend((setting, value))
    for name in only:
        if name not in found:
            raise InputError(f"{path}: no row is called '{name}'.{suggest(name, list(found))}")
    return [Row(GROUND), *(Row(name, tuple(opts)) for name, opts in found.items() if not only or name in only)]
