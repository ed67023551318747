"""From a YAML file and its `_BASE_` chain to a plain list of settings, each with the line it stands on."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fastreid.config.locate import find_config, find_shipped_config
from fastreid.config.values import is_text, shown
from fastreid.utils.errors import InputError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_ALIASES = 50
MAX_PARTS = 20_000  # names, values and brackets; the longest real file has some 500, and a crowd would cost seconds
MAX_SECTIONS = 5  # one above what any setting needs
MAX_ITEMS = 1000
MAX_LETTERS = 4000
_DOTTED = "write a section and indent what is in it"
BASE = "_BASE_"
_Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class Setting(NamedTuple):
    """A value on its way into the tree.

    Args:
        key: dotted, such as "SOLVER.BASE_LR".
        value: as YAML or the command line gives it.
        place: where it was said, such as "configs/mine.yml:12".
    """

    key: str
    value: Any
    place: str


def read_chain(path: str | os.PathLike) -> list[Setting]:
    """The settings of a file after those of its base, the base's base first.

    A relative `_BASE_` starts from the folder of the file it stands in, `~` is the home folder. It must stay in the
    tree: the working folder, the nearest folder called `configs` above the file, the folder above the file's own, and
    for a path that is written with `~` the home folder.

    Raises:
        InputError: a file is missing or unsafe, or the chain runs in a circle.
    """
    return [setting for _, settings in reversed(_read_files(path)) for setting in settings if setting.key != BASE]


def list_base_files(path: str | os.PathLike) -> list[Path]:
    """Return the files that a config is based on by `_BASE_`, the nearest first."""
    return [Path(name) for name, _ in _read_files(path)[1:]]


def _read_files(path: str | os.PathLike) -> list[tuple[str, list[Setting]]]:
    """Return (file name, settings) of a file, then of its base, the base of that and so on."""
    first = os.path.normpath(path)
    if not is_text(first):
        raise InputError(f"{shown(first)}: no file has such a name; check the path")
    files: list[tuple[str, list[Setting]]] = []
    seen: dict[Path, str] = {}
    name: str | None = find_config(first)
    while name is not None:
        real = Path(os.path.realpath(name))
        if real in seen:
            raise InputError(f"{name}: {BASE} runs in a circle: {' -> '.join([*seen.values(), name])}; break it")
        seen[real] = name
        settings = read_settings(name)
        files.append((name, settings))
        base = [setting for setting in settings if setting.key == BASE]
        name = _base_path(base[0], name) if base else None
    return files


def _base_path(setting: Setting, child: str) -> str:
    value, place = setting.value, setting.place
    if not isinstance(value, str) or not value.strip() or not is_text(value):
        raise InputError(f"{place}: {BASE} is {shown(value)}; it takes the path of one YAML file")
    if "://" in value:
        raise InputError(f"{place}: {BASE} is {shown(value)}; a config is not fetched, save it beside this one")
    folder = Path(child).parent
    base = os.path.normpath(folder / os.path.expanduser(value))
    here = Path(os.path.realpath(folder))
    roots = [Path.cwd(), here.parent]
    roots += [next((above for above in (here, *here.parents) if above.name == "configs"), here)]
    roots += [Path.home()] if value.startswith("~") else []
    real = os.path.realpath(base)
    if not any(Path(real).is_relative_to(os.path.realpath(root)) for root in roots):
        raise InputError(
            f"{place}: {BASE} {shown(value)} leads out of the tree; "
            f"put it under {here.parent} or the working folder, or write its path from ~"
        )
    if not os.path.isfile(real):
        if (shipped := find_shipped_config(value)) is not None:
            return str(shipped)
        raise InputError(f"{place}: {BASE} {shown(value)} is no file; it is looked for as {shown(base)}")
    return base


def read_settings(path: str, *, dotted: str = _DOTTED) -> list[Setting]:
    """The settings of one file, in its order; `_BASE_` is among them.

    Args:
        path: of the file.
        dotted: what to do about a dot in a name that is in no section.

    Raises:
        InputError: not a small plain YAML file of sections and settings.
    """
    settings = _parsed(_text(path), path, dotted)
    if not settings:
        raise InputError(f"{path}: holds no settings; write some or remove the file")
    return settings


def settings_of(text: str, source: str) -> dict[str, Any]:
    """Settings by their full names, from the text of a `config.yaml` that a run left; none from an empty text.

    The text is as little trusted as a config is.

    Args:
        text: of the file.
        source: where it comes from, for messages.

    Raises:
        InputError: not a small plain YAML text of sections and settings.
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"{source}: settings of over {MAX_BYTES} characters; a config is a few kilobytes")
    return {setting.key: setting.value for setting in _parsed(text, source, _DOTTED)}


def _parsed(text: str, path: str, dotted: str) -> list[Setting]:
    try:
        _check_events(text, path)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}{_line_of(error)}: not YAML: {_problem(error)}; mend the line")
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path}:1: a config is a mapping, such as MODEL: on one line and settings below it")
    return list(islice(_settings(root, path, sections=(), dotted=dotted), MAX_PARTS))


def _text(path: str) -> str:
    if Path(path).suffix not in (".yml", ".yaml"):
        raise InputError(f"{path}: settings are read from .yml and .yaml files only")
    try:
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file; check the path and the working folder")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); change who may read it")
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: over {MAX_BYTES} bytes; a config is a few kilobytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8; save the file as UTF-8")


def _check_events(text: str, path: str) -> None:
    """One pass without building anything, so that a hostile file costs nothing."""
    depth = aliases = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise InputError(f"{path}:{line}: YAML tag {shown(tag)}; write the plain value")
        if depth > MAX_DEPTH:
            raise InputError(f"{path}:{line}: nested deeper than {MAX_DEPTH}; settings are at most 4 deep")
        if aliases > MAX_ALIASES:
            raise InputError(f"{path}:{line}: more than {MAX_ALIASES} aliases; write the values out")
        if number > MAX_PARTS:
            raise InputError(f"{path}:{line}: more than {MAX_PARTS} parts; a config has a few hundred")


def _settings(
    section: yaml.MappingNode, path: str, *, sections: tuple[str, ...], dotted: str = _DOTTED
) -> Iterator[Setting]:
    lines: dict[str, int] = {}
    for name_node, node in section.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode):
            raise InputError(f"{path}:{line}: a list or mapping cannot be the name of a setting; write a word")
        name = name_node.value
        if "." in name:
            raise InputError(f"{path}:{line}: {shown(name)} has a dot; {dotted}")
        if name in lines:
            raise InputError(f"{path}:{line}: {shown(name)} stands here and on line {lines[name]}; keep one")
        lines[name] = line
        if not isinstance(node, yaml.MappingNode):
            yield Setting(".".join([*sections, name]), _value(node, f"{path}:{line}"), f"{path}:{line}")
        elif len(sections) < MAX_SECTIONS:  # an alias may lead a section around itself
            yield from _settings(node, path, sections=(*sections, name))
        else:
            raise InputError(f"{path}:{line}: no setting lies as deep as {shown('.'.join(sections))}; check the indent")


def _value(node: yaml.Node, place: str) -> Any:
    """A scalar, or a list of scalars: no setting holds more."""
    if isinstance(node, yaml.SequenceNode):
        if len(node.value) > MAX_ITEMS or any(not isinstance(item, yaml.ScalarNode) for item in node.value):
            raise InputError(f"{place}: a list within a list, or a very long one; write one value or one plain list")
        return [_value(item, place) for item in node.value]
    is_text = node.tag == "tag:yaml.org,2002:str"
    if len(node.value) > (MAX_LETTERS if is_text else 100):  # numbers without end take time without end
        raise InputError(f"{place}: a value of {len(node.value)} characters; no setting is as long")
    if is_text:
        return node.value
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError):
        raise InputError(f"{place}: {shown(node.value)} is no value; put quotes around a word")


def _line_of(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).split())[:200]
