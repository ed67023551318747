"""Find config files: a path as given, else one of the configs that are shipped with the package."""

import os
from pathlib import Path, PurePosixPath

from fastreid.utils.errors import InputError, suggest_nearest
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
    folder = get_config_folder()
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*.yml"))
    return sorted(name for name in names if not name.startswith(VARIANTS_FOLDER))


def find_config(path: str | os.PathLike[str]) -> str:
    """Return the path of a config file.

    An existing path is returned as it is. Any other relative path is searched for among the shipped configs, with or
    without a leading `configs/`.

    Raises:
        InputError: no such file; the message lists the searched folders and the nearest name.
    """
    given = os.fspath(path)
    if os.path.exists(given) or os.path.isabs(given):
        return given
    shipped = find_shipped_config(given)
    if shipped is not None:
        return str(shipped)
    name = _shipped_name(given)
    short = escape_unprintable(given)
    tried = f"it is neither in {Path.cwd()} nor in {get_config_folder()}" if name else f"the folder is {Path.cwd()}"
    hint = suggest_nearest((name or given)[-MAX_COMPARED_CHARACTERS:], list_configs())
    raise InputError(f"{short}: no such file; {tried}.{hint} `fastreid configs list` prints the shipped configs")


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
