"""Read the variants of an ablation: named sets of settings that override a config."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.config.reader import read_settings
from fastreid.utils.errors import InputError, suggest_and_list

BASELINE = "baseline"
RESERVED_SETTINGS = {
    "SEED": "each variant is trained with every seed of --seeds",
    "OUTPUT_DIR": "each run has its own folder below the config's OUTPUT_DIR",
    "TEST.SCORE.PER_QUERY_FILE": "each run writes the table for the comparison",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,59}")
_NAME_RULE = "use at most 60 letters, digits, '-', '_' and '+'"


@dataclass(frozen=True)
class Variant:
    """One variant.

    Args:
        name: name of the variant and of its folder.
        opts: (KEY, value, KEY, value, ...), which override the config and the command line.
    """

    name: str
    opts: tuple[Any, ...] = ()


def read_variants(path: str | Path) -> list[Variant]:
    """Return the baseline, which is the unchanged config, and the variants of a YAML file in its order.

    The file has one section per variant, which contains settings as in a config.

    Raises:
        InputError: the file does not exist or is not plain YAML, a variant has no settings or an invalid name, or it
            overrides a setting that the ablation itself sets.
    """
    options: dict[str, list[Any]] = {}
    hint = f"if it is the name of a variant, {_NAME_RULE}"
    for key, value, location, _ in read_settings(str(path), dotted_name_hint=hint):
        name, _, setting = key.partition(".")
        if not setting:
            raise InputError(
                f"{location}: {name} is not a variant; write a name with settings below it, such as INPUT:"
            )
        if not _NAME.fullmatch(name) or name == BASELINE:
            raise InputError(
                f"{location}: '{name}' is not a valid name for a variant; {_NAME_RULE}, and not '{BASELINE}', "
                "which is the unchanged config"
            )
        if setting in RESERVED_SETTINGS:
            raise InputError(
                f"{location}: variant '{name}' cannot set {setting}, since {RESERVED_SETTINGS[setting]}; remove it"
            )
        options.setdefault(name, []).extend((setting, value))
    return [Variant(BASELINE), *(Variant(name, tuple(opts)) for name, opts in options.items())]


def select_variants(variants: Sequence[Variant], names: Sequence[str]) -> list[Variant]:
    """Return the baseline and the variants with these names; all variants if there are no names.

    Raises:
        InputError: a name is unknown.
    """
    known = [variant.name for variant in variants]
    for name in names:
        if name not in known:
            raise InputError(f"--only: no variant is named '{name}'.{suggest_and_list(name, known)}")
    return [variant for variant in variants if not names or variant.name in (BASELINE, *names)]
