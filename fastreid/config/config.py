"""The tree of settings: defaults, overridden by files, then by the command line, then frozen."""

import copy
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import yaml
from yacs.config import CfgNode as YacsNode

from fastreid.config.defaults import _C
from fastreid.config.legacy import LEGACY_KEYS, check_legacy_setting, describe_old_key
from fastreid.config.own_keys import check_default, check_new_name, coerce_own_value
from fastreid.config.ranges import RULES, Rule
from fastreid.config.reader import Setting, read_config
from fastreid.config.values import coerce, coerce_free_value, quote
from fastreid.utils.errors import InputError, suggest_nearest

_PREFIX = "__prefix__"
_OWN_DEFAULTS = "__own_defaults__"  # settings that the user's code has added to a section: name -> default
_Dumper = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


class CfgNode(YacsNode):  # type: ignore[misc]  # yacs has no type hints
    """A section of settings, read as `cfg.SOLVER.BASE_LR`.

    Values from files, the command line and Python are checked in the same way: the key exists, and the value has the
    type of the default and is allowed by `fastreid/config/ranges.py`. Create the tree of a run with `get_cfg()`.

    Code adds its own settings, before files and the command line are read, by assigning them: `cfg.MY_KEY = 3`, or a
    section `cfg.MODEL.MY = CfgNode({"SIZE": 3})`. Their values then have the type of this default. A name that is
    similar to an existing one is an error.
    """

    def merge_from_file(self, cfg_filename: str | os.PathLike[str]) -> None:
        """Set the values of a YAML file and of its chain of `_BASE_` files, base first.

        Sections are merged, values are replaced. An error leaves all settings unchanged.

        Raises:
            InputError: a file or a setting is invalid; the message starts with `file:line`.
        """
        self._merge(read_config(cfg_filename))

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Set the values of `[KEY, value, KEY, value, ...]`; the last value of a key wins.

        Values may be strings, as on a command line. An error leaves all settings unchanged.

        Raises:
            InputError: a key or a value is invalid; the message starts with "command line".
        """
        if len(cfg_list) % 2:
            raise InputError(
                f"command line: {quote(cfg_list[-1])} has no value; write pairs of a key and a value, "
                "such as SOLVER.BASE_LR 1e-4"
            )
        self._merge([Setting(key, value, "command line") for key, value in zip(cfg_list[::2], cfg_list[1::2])])

    def merge_from_other_cfg(self, cfg_other: Mapping[str, Any]) -> None:
        """Set all values of another tree.

        Raises:
            InputError: a key or a value is invalid; the message starts with "Python".
        """
        self._merge([Setting(key, value, "Python") for key, value in iter_settings(cfg_other)])

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, nested by section as in a YAML file."""
        changes: dict[str, Any] = {}
        defaults = flat_defaults() | self.own_defaults()
        for key, value in iter_settings(self):
            if key not in defaults or value != defaults[key]:
                *sections, name = key.split(".")
                node = functools.reduce(lambda node, section: node.setdefault(section, {}), sections, changes)
                node[name] = list(value) if isinstance(value, tuple) else value
        return changes

    def own_defaults(self) -> dict[str, Any]:
        """Return the defaults of the settings that code has added, by their full names."""
        own = {f"{self.__dict__[_PREFIX]}{name}": value for name, value in self.__dict__[_OWN_DEFAULTS].items()}
        for section in self.values():
            own |= section.own_defaults() if isinstance(section, CfgNode) else {}
        return own

    def clone(self) -> "CfgNode":
        """Return a copy that is not frozen."""
        clone = copy.deepcopy(self)
        clone._immutable(False)
        return clone

    def dump(self, **options: Any) -> str:
        """Return the settings as YAML, in a fifth of the time that the method of yacs takes.

        Args:
            options: those of `yaml.dump_all`.
        """
        text: str = yaml.dump_all([_to_dict(self)], Dumper=_Dumper, **options)
        return text

    def defrost(self) -> NoReturn:
        """Raise: objects built from a frozen tree would no longer match it."""
        raise InputError("frozen settings cannot be unfrozen; change a copy: cfg.clone()")

    @classmethod
    def load_cfg(cls, cfg_file_obj_or_str: object) -> NoReturn:
        """Raise: the method of yacs executes .py files."""
        raise InputError("load_cfg is disabled; read a file with get_cfg().merge_from_file(path)")

    def _merge(self, settings: Sequence[Setting]) -> None:
        changes: dict[str, Any] = {}
        own = self.own_defaults()
        for setting in settings:
            if isinstance(setting.key, str) and setting.key in LEGACY_KEYS:
                check_legacy_setting(setting)
            else:
                changes[setting.key] = _validate(setting, own)
        for key, value in changes.items():
            *sections, name = key.split(".")
            node = functools.reduce(lambda node, section: node[section], sections, self)
            node._put(name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if _PREFIX not in self.__dict__:  # a section that does not belong to a tree yet
            super().__setitem__(name, value)
        elif name in self or self.is_new_allowed() or self.is_frozen():
            key = f"{self.__dict__[_PREFIX]}{name}"
            self._put(name, _validate(Setting(key, value, "Python"), self.own_defaults()))
        else:
            self._add(name, value)

    def _add(self, name: str, value: Any) -> None:
        """Add a setting, or a section with settings, that the defaults do not contain."""
        prefix = self.__dict__[_PREFIX]
        check_new_name(name, self, prefix=prefix)
        if not isinstance(value, Mapping):
            self.__dict__[_OWN_DEFAULTS][name] = check_default(f"{prefix}{name}", value)
            self._put(name, copy.copy(self.__dict__[_OWN_DEFAULTS][name]))
            return
        section = _build_node(f"{prefix}{name}.", {}, False, False, {})
        for key, item in value.items():
            section._add(key, item)
        self._put(name, section)

    def _put(self, name: str, value: Any) -> None:
        if self.is_frozen():
            raise InputError(f"{self.__dict__[_PREFIX]}{name} cannot be set: the settings are frozen; use cfg.clone()")
        super().__setitem__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.__dict__.get(_PREFIX, ""), dict(self), self.is_frozen(), self.is_new_allowed()
        return _build_node, (*state, self.__dict__.get(_OWN_DEFAULTS, {}))


def get_cfg() -> CfgNode:
    """Return a new tree with the default of every setting."""
    return _build_section("", _C)


def _build_section(prefix: str, defaults: YacsNode) -> CfgNode:
    items = {
        name: _build_section(f"{prefix}{name}.", value) if isinstance(value, YacsNode) else copy.copy(value)
        for name, value in defaults.items()
    }
    return _build_node(prefix, items, False, defaults.is_new_allowed(), {})


def _build_node(
    prefix: str, items: dict[str, Any], is_frozen: bool, is_new_allowed: bool, own_defaults: dict[str, Any]
) -> CfgNode:
    node = CfgNode(new_allowed=is_new_allowed)
    node.__dict__[_PREFIX] = prefix
    node.__dict__[_OWN_DEFAULTS] = dict(own_defaults)
    node.update(items)  # dict.update bypasses the checks of __setitem__
    node.__dict__[CfgNode.IMMUTABLE] = is_frozen
    return node


def _to_dict(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _to_dict(value) if isinstance(value, Mapping) else value for name, value in section.items()}


def iter_settings(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (full name, value) of every setting of a section and of its subsections."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from iter_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@functools.cache
def flat_defaults() -> dict[str, Any]:
    """Return the default of every setting by its full name."""
    return dict(iter_settings(_C))


@functools.cache
def section_names() -> dict[str, bool]:
    """Return, for the full name of every section, whether it accepts new keys."""
    sections: dict[str, bool] = {}

    def collect(section: YacsNode, prefix: str) -> None:
        for name, value in section.items():
            if isinstance(value, YacsNode):
                sections[f"{prefix}{name}"] = value.is_new_allowed()
                collect(value, f"{prefix}{name}.")

    collect(_C, "")
    return sections


def _validate(setting: Setting, own_defaults: Mapping[str, Any]) -> Any:
    """Return the value with the type of its default.

    Args:
        setting: its key, value and location.
        own_defaults: defaults of the settings that the user's code has added.

    Raises:
        InputError: the key does not exist, or the value is not allowed.
    """
    key, value, location, note = setting
    if not isinstance(key, str):
        raise InputError(f"{location}: {quote(key)} is not the name of a setting; write pairs of a key and a value")
    if key in own_defaults:
        return coerce_own_value(key, value, default=own_defaults[key], location=location, note=note)
    if key not in flat_defaults():
        section, _, name = key.rpartition(".")
        if not (section_names().get(section) and name.isidentifier()):
            raise InputError(f"{location}: {_describe_unknown_key(key, own_defaults)}")
        return coerce_free_value(key, value, location=location)
    rule = RULES.get(key, Rule())
    return coerce(key, value, default=flat_defaults()[key], rule=rule, location=location, note=note)


def _describe_unknown_key(key: str, own_defaults: Mapping[str, Any]) -> str:
    if key in section_names():
        return f"{key} is a section, not a setting; set one of its keys, such as {_first_key_in(key)}"
    if key in LEGACY_KEYS:
        return f"{key} has no effect: {LEGACY_KEYS[key].reason}; remove the setting"
    replacement = describe_old_key(key)
    if replacement:
        return f"{key} {replacement}"
    name = key.partition("=")[0]
    if name != key and name in flat_defaults():
        return f"unknown setting {quote(key)}; write {name} and its value as two words"
    hint = suggest_nearest(key, [*flat_defaults(), *own_defaults]) or " All settings are listed in docs/configs.md"
    return f"unknown setting {quote(key)}.{hint}"


def _first_key_in(section: str) -> str:
    return next((key for key in flat_defaults() if key.startswith(f"{section}.")), f"{section}.betas")
