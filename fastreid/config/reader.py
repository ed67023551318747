"""Read a YAML file and its chain of `_BASE_` files as a list of settings with their line numbers."""

import contextlib
import os
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fastreid.config.locate import find_config, find_shipped_config
from fastreid.config.values import is_single_line, quote
from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_ALIASES = 50
MAX_NODES = 20_000  # names, values and brackets; real files have up to 500, and very many cost seconds
MAX_SECTIONS = 5  # levels; one more than any setting needs
MAX_ITEMS = 1000
MAX_CHARACTERS = 4000  # of a value
_DOTTED_NAME_HINT = "write the section on its own line and indent its settings"
BASE = "_BASE_"
_Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class Setting(NamedTuple):
    """A value that has been read but not yet checked.

    Args:
        key: full name, such as "SOLVER.BASE_LR".
        value: as parsed from YAML or written on the command line.
        location: where it was set, such as "configs/mine.yml:12".
        note: how YAML has read the value, if that may surprise, such as "YAML reads yes as True".
    """

    key: str
    value: Any
    location: str
    note: str = ""


def read_config(path: str | os.PathLike[str]) -> list[Setting]:
    """Return the settings of a file and of its chain of base files, base first.

    A relative `_BASE_` is relative to the folder of its file; `~` is the home folder. A base must be inside one of the
    working folder, the nearest parent folder named `configs`, the parent of the file's folder, and, for a path that is
    written with `~`, the home folder.

    Raises:
        InputError: a file is missing or unsafe, or the chain is circular.
    """
    return [setting for _, settings in reversed(_read_files(path)) for setting in settings if setting.key != BASE]


def list_base_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files that a config is based on by `_BASE_`, the nearest first."""
    return [Path(name) for name, _ in _read_files(path)[1:]]


def _read_files(path: str | os.PathLike[str]) -> list[tuple[str, list[Setting]]]:
    """Return (file name, settings) of a file, then of its base, the base of that and so on."""
    first = os.path.normpath(path)
    if not is_single_line(first):
        raise InputError(f"{quote(first)}: is not a valid file name; check the path")
    files: list[tuple[str, list[Setting]]] = []
    seen: dict[Path, str] = {}
    name: str | None = find_config(first)
    while name is not None:
        real = Path(os.path.realpath(name))
        if real in seen:
            raise InputError(f"{name}: {BASE} is circular: {' -> '.join([*seen.values(), name])}; remove one of them")
        seen[real] = name
        settings = read_settings(name)
        files.append((name, settings))
        base = [setting for setting in settings if setting.key == BASE]
        name = _resolve_base(base[0], name) if base else None
    return files


def _resolve_base(setting: Setting, child: str) -> str:
    """Return the path of the base file that `setting` of the file `child` names."""
    value, location = setting.value, setting.location
    if not isinstance(value, str) or not value.strip() or not is_single_line(value):
        raise InputError(f"{location}: {BASE} is {quote(value)}; it must be the path of one YAML file")
    if "://" in value:
        raise InputError(
            f"{location}: {BASE} is {quote(value)}; configs are not downloaded, save it in the same folder"
        )
    folder = Path(child).parent
    base = os.path.normpath(folder / expand_home(value))
    here = Path(os.path.realpath(folder))
    roots = [Path.cwd(), here.parent]
    roots += [next((above for above in (here, *here.parents) if above.name == "configs"), here)]
    roots += [Path.home()] if value.startswith("~") else []
    real = os.path.realpath(base)
    if not any(Path(real).is_relative_to(os.path.realpath(root)) for root in roots):
        raise InputError(
            f"{location}: {BASE} {quote(value)} is outside the allowed folders; "
            f"move it into {here.parent} or the working folder, or write its path with ~"
        )
    if not os.path.isfile(real):
        if (shipped := find_shipped_config(value)) is not None:
            return str(shipped)
        raise InputError(f"{location}: {BASE} {quote(value)} does not exist; the searched path is {quote(base)}")
    return base


def read_settings(path: str, *, dotted_name_hint: str = _DOTTED_NAME_HINT) -> list[Setting]:
    """Return the settings of one file in its order, including `_BASE_`.

    Args:
        path: of the file.
        dotted_name_hint: how to fix a name with a dot, for the message.

    Raises:
        InputError: the file is not a small YAML file that contains only sections and settings.
    """
    settings = _parse(_read_text(path), path, dotted_name_hint)
    if not settings:
        raise InputError(f"{path}: contains no settings; add some or remove the file")
    return settings


def parse_settings(text: str, source: str) -> dict[str, Any]:
    """Return the settings by full name of the text of a run's `config.yaml`; {} for an empty text.

    The text is not trusted: the limits of config files apply.

    Args:
        text: content of the file.
        source: name of the file, for messages.

    Raises:
        InputError: the text is not a small YAML document that contains only sections and settings.
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"{source}: has more than {MAX_BYTES} characters; a config has a few kilobytes")
    return {setting.key: setting.value for setting in _parse(text, source, _DOTTED_NAME_HINT)}


def _parse(text: str, path: str, dotted_name_hint: str) -> list[Setting]:
    try:
        _check_events(text, path)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}{_line_suffix(error)}: not YAML: {_describe_yaml_error(error)}; correct the line")
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path}:1: a config is a mapping, such as MODEL: on one line and its settings indented below")
    return list(islice(_iter_settings(root, path, sections=(), dotted_name_hint=dotted_name_hint), MAX_NODES))


def _read_text(path: str) -> str:
    if Path(path).suffix not in (".yml", ".yaml"):
        raise InputError(f"{path}: a config is a .yml or .yaml file; rename it")
    try:
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file; check the path and the working folder")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions")
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: has more than {MAX_BYTES} bytes; a config has a few kilobytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8; save the file as UTF-8")


def _check_events(text: str, path: str) -> None:
    """Check the limits in one pass that builds no objects, so that a malicious file costs no time or memory."""
    depth = aliases = 0
    for index, event in enumerate(yaml.parse(text, Loader=_Loader)):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise InputError(f"{path}:{line}: YAML tag {quote(tag)} is not allowed; write the plain value")
        if depth > MAX_DEPTH:
            raise InputError(f"{path}:{line}: nested deeper than {MAX_DEPTH}; settings are at most 4 deep")
        if aliases > MAX_ALIASES:
            raise InputError(f"{path}:{line}: more than {MAX_ALIASES} aliases; write the values instead")
        if index > MAX_NODES:
            raise InputError(
                f"{path}:{line}: more than {MAX_NODES} names, values and brackets; a config has a few hundred"
            )


def _iter_settings(
    section: yaml.MappingNode, path: str, *, sections: tuple[str, ...], dotted_name_hint: str = _DOTTED_NAME_HINT
) -> Iterator[Setting]:
    lines: dict[str, int] = {}
    for name_node, node in section.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode):
            raise InputError(f"{path}:{line}: a list or mapping cannot be the name of a setting; write a string")
        name = name_node.value
        if "." in name:
            raise InputError(f"{path}:{line}: {quote(name)} contains a dot; {dotted_name_hint}")
        if name in lines:
            raise InputError(f"{path}:{line}: {quote(name)} is also set on line {lines[name]}; remove one of them")
        lines[name] = line
        if not isinstance(node, yaml.MappingNode):
            key, location = ".".join([*sections, name]), f"{path}:{line}"
            value = _construct_value(node, key, location)
            yield Setting(key, value, location, _describe_reading(node, value))
        elif len(sections) < MAX_SECTIONS:  # an alias can make a section contain itself
            yield from _iter_settings(node, path, sections=(*sections, name))
        else:
            raise InputError(
                f"{path}:{line}: sections are nested too deeply: {quote('.'.join(sections))}; check the indentation"
            )


def _construct_value(node: yaml.Node, key: str, location: str) -> Any:
    """Return a scalar or a list of scalars; no setting is more complex."""
    if isinstance(node, yaml.SequenceNode):
        if len(node.value) > MAX_ITEMS or any(not isinstance(item, yaml.ScalarNode) for item in node.value):
            raise InputError(f"{location}: a nested or very long list; write one value or one flat list")
        return [_construct_value(item, key, location) for item in node.value]
    is_string = node.tag == "tag:yaml.org,2002:str"
    if len(node.value) > (MAX_CHARACTERS if is_string else 100):  # conversion of very long numbers is slow
        raise InputError(f"{location}: a value of {len(node.value)} characters is too long")
    if is_string:
        return node.value
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError):
        raise InputError(f"{location}: {quote(node.value)} is not a valid value; put strings in quotes")
    _check_base(node.value, value, key, location)
    return value


def _check_base(text: str, value: Any, key: str, location: str) -> None:
    """Check that a number is decimal: YAML 1.1 reads 010 with base 8 and 12:30 with base 60.

    Numbers with the prefixes 0x and 0b say which base they have and are allowed.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    digits = text.replace("_", "").lstrip("+-")
    is_octal = isinstance(value, int) and digits.isdigit() and int(digits) != abs(value)
    if ":" in text or is_octal:
        raise InputError(
            f"{location}: {key} {quote(text)} was read by YAML as {quote(value)} (base {8 if is_octal else 60}); write "
            "a decimal number, or quotes around a string"
        )


def _describe_reading(node: yaml.Node, value: Any) -> str:
    """Return "YAML reads yes as True" for the first value that is written in another way; "" if there is none."""
    if isinstance(node, yaml.SequenceNode):
        notes = (_describe_reading(item, one) for item, one in zip(node.value, value))
        return next(filter(None, notes), "")
    if isinstance(value, date):
        return f"YAML reads {node.value} as a date"
    if isinstance(value, str) or node.value.lower() in (str(value).lower(), "", "null", ".nan"):
        return ""
    with contextlib.suppress(ValueError):
        if float(node.value.replace(".inf", "inf")) == value:
            return ""
    return f"YAML reads {quote(node.value)[1:-1]} as {quote(value)}"


def _line_suffix(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _describe_yaml_error(error: yaml.YAMLError) -> str:
    return " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).split())[:200]
