"""The rows of an ablation: named choices, each some settings over those of the config."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.config.reader import read_settings
from fastreid.utils.errors import InputError, suggest

GROUND = "ground"
SET_BY_THE_COMMAND = {
    "SEED": "each row is trained with every seed of --seeds",
    "OUTPUT_DIR": "each run has its folder below the config's OUTPUT_DIR",
    "TEST.SCORE.PER_QUERY_FILE": "each run leaves the table that rows are compared by",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,59}")
_ALLOWED = "take letters, digits, '-', '_' and '+', at most 60"


@dataclass(frozen=True)
class Row:
    """One choice.

    Args:
        name: also of its folder.
        opts: (KEY, value, KEY, value, ...) over the config and the command line.
    """

    name: str
    opts: tuple[Any, ...] = ()


def read_rows(path: str | Path) -> list[Row]:
    """The ground, which is the config as it is, and the rows of a YAML file in its order.

    The file has a section for each row, and below it settings as a config has them.

    Raises:
        InputError: no such file, no plain YAML, a row without settings or with a name that is no folder's, or a setting
            that the command makes itself.
    """
    found: dict[str, list[Any]] = {}
    for key, value, place in read_settings(str(path), dotted=f"if it is the name of a row, {_ALLOWED}"):
        name, _, setting = key.partition(".")
        if not setting:
            raise InputError(f"{place}: {name} is no row; a row is a name with settings below it, such as INPUT:")
        if not _NAME.fullmatch(name) or name == GROUND:
            raise InputError(
                f"{place}: a row cannot be called '{name}'; {_ALLOWED}, and not '{GROUND}', which is the config as it is"
            )
        if setting in SET_BY_THE_COMMAND:
            raise InputError(f"{place}: row '{name}' sets {setting}, but {SET_BY_THE_COMMAND[setting]}; take it out")
        found.setdefault(name, []).extend((setting, value))
    return [Row(GROUND), *(Row(name, tuple(opts)) for name, opts in found.items())]


def chosen(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """The ground and the rows with these names; all when there are no names.

    Raises:
        InputError: a name that no row has.
    """
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise InputError(f"--only: no row is called '{name}'.{suggest(name, known)}")
    return [row for row in rows if not names or row.name in (GROUND, *names)]
