"""Find config files: a path as given, else one of the configs that are shipped with the package."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home
from fastreid.utils.text import escape_unprintable

VARIANTS_FOLDER = "ablations/rows"  # files there contain variants of an ablation; they are not configs
MAX_COMPARED_CHARACTERS = 100  # of a path, when the nearest name is searched


def get_config_folder() -> Path:
    """Return the folder of the shipped configs: `fastreid/configs` of an installation, `configs` of a checkout.

    Raises:
        InputError: neither exists.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "Base-SBS.yml").is_file():
            return folder
    raise InputError(f"{package / 'configs'}: the shipped configs are missing; install the package again")


def list_configs() -> list[str]:
    """Return the names of the shipped configs, such as "demo/stage1.yml", in alphabetical order."""
    return [name for name in _list_files() if not name.startswith(VARIANTS_FOLDER)]


def list_variant_files() -> list[str]:
    """Return the names of the shipped files of variants, such as "ablations/rows/input.yml"."""
    return [name for name in _list_files() if name.startswith(VARIANTS_FOLDER)]


def _list_files() -> list[str]:
    folder = get_config_folder()
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yml"))


def find_config(path: str | os.PathLike[str], *, variants: bool = False) -> str:
    """Return the path of a config file.

    An existing path is returned as it is. Any other relative path is searched for among the shipped configs, with or
    without a leading `configs/`. `~` is the home folder.

    Args:
        path: of the file.
        variants: the file contains variants of an ablation; the nearest name in the message is one of those.

    Raises:
        InputError: no such file; the message lists the searched folders and the nearest name.
    """
    given = expand_home(path)
    if os.path.exists(given) or os.path.isabs(given):
        return given
    name, shipped = _shipped_name(given), find_shipped_config(given)
    if shipped is not None and not variants and str(name).startswith(VARIANTS_FOLDER):
        raise InputError(
            f"{name}: contains variants of an ablation, not a config; use it with `fastreid ablate --variants`"
        )
    if shipped is not None:
        return str(shipped)
    short = escape_unprintable(given)
    tried = f"it is neither in {Path.cwd()} nor in {get_config_folder()}" if name else f"the folder is {Path.cwd()}"
    hint = suggest_nearest_file(name or given, list_variant_files() if variants else list_configs())
    raise InputError(f"{short}: no such file; {tried}.{hint} `fastreid configs list` prints the shipped configs")


def suggest_nearest_file(path: str, names: Sequence[str]) -> str:
    """Return " Did you mean 'demo/stage1.yml'?" for a path similar to a name or to its last part, else ""."""
    path = path[-MAX_COMPARED_CHARACTERS:]
    by_last_part = {PurePosixPath(name).name: name for name in names}
    matches = difflib.get_close_matches(path, names, n=1)
    matches += [by_last_part[name] for name in difflib.get_close_matches(PurePosixPath(path).name, by_last_part, n=1)]
    return f" Did you mean '{matches[0]}'?" if matches else ""


def find_shipped_config(path: str) -> Path | None:
    """Return the shipped config with this name, with or without a leading `configs/`; None if there is none."""
    name = _shipped_name(path)
    if name is None:
        return None
    found = get_config_folder() / name
    return found if os.path.isfile(found) else None


def _shipped_name(path: str) -> str | None:
    """Return a path relative to the folder of the configs; None if it cannot be inside."""
    parts = PurePosixPath(os.path.normpath(path)).parts
    parts = parts[1:] if parts[:1] == ("configs",) else parts
    return None if not parts or parts[0] in ("..", "/", "~") else "/".join(parts)
