"""The tree of settings: defaults, then files, then the command line, then frozen for good."""

import copy
import difflib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from yacs.config import CfgNode as YacsNode

from fastreid.config.defaults import _C
from fastreid.config.ranges import NOT_HERE, RULES, Rule
from fastreid.config.reader import Setting, read_chain
from fastreid.config.values import fitted, free_value, shown
from fastreid.utils.errors import InputError

_PREFIX = "__prefix__"


class CfgNode(YacsNode):
    """A section of settings, read as `cfg.SOLVER.BASE_LR`.

    A value from a file, from the command line or from Python is held to the same rules: the key exists, the value is
    of the default's kind and within the range of `fastreid/config/ranges.py`. Get one from `get_cfg()`.
    """

    def merge_from_file(self, cfg_filename: str | os.PathLike) -> None:
        """Take the settings of a YAML file and of the files it names by `_BASE_`, base first.

        Sections merge, values replace. A fault leaves everything as it was.

        Raises:
            InputError: `file:line: what came; what to do`.
        """
        self._merge(read_chain(cfg_filename))

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Take `[KEY, value, KEY, value, ...]`; values may be words, as from a command line; the last of a key wins.

        Raises:
            InputError: as for files, with "command line" as the place.
        """
        if len(cfg_list) % 2:
            raise InputError(
                f"command line: {shown(cfg_list[-1])} has no partner; settings are pairs, such as SOLVER.BASE_LR 1e-4"
            )
        self._merge([Setting(key, value, "command line") for key, value in zip(cfg_list[::2], cfg_list[1::2])])

    def merge_from_other_cfg(self, cfg_other: Mapping[str, Any]) -> None:
        """Take every setting of another tree; the same rules hold."""
        self._merge([Setting(key, value, "Python") for key, value in leaves(cfg_other)])

    def changes(self) -> dict[str, Any]:
        """The settings that are not the defaults, section by section, as a YAML file would have them."""
        found: dict[str, Any] = {}
        for key, value in leaves(self):
            if key not in _defaults() or value != _defaults()[key]:
                *sections, name = key.split(".")
                node = functools.reduce(lambda section, word: section.setdefault(word, {}), sections, found)
                node[name] = list(value) if isinstance(value, tuple) else value
        return found

    def clone(self) -> "CfgNode":
        """A copy that may be changed, also of a frozen tree."""
        twin = copy.deepcopy(self)
        twin._immutable(False)
        return twin

    def defrost(self) -> NoReturn:
        """Refused: what was built from a frozen tree would no longer agree with it."""
        raise InputError("settings stay frozen once they are; change a copy: cfg.clone()")

    @classmethod
    def load_cfg(cls, cfg_file_obj_or_str: object) -> NoReturn:
        """Refused: yacs would run a .py file here."""
        raise InputError("settings are read by get_cfg().merge_from_file(path)")

    def _merge(self, settings: Sequence[Setting]) -> None:
        changes = {setting.key: _checked(setting) for setting in settings}
        for key, value in changes.items():
            *sections, name = key.split(".")
            node = functools.reduce(lambda section, word: section[word], sections, self)
            node._put(name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        self._put(name, _checked(Setting(f"{self.__dict__[_PREFIX]}{name}", value, "Python")))

    def _put(self, name: str, value: Any) -> None:
        if self.is_frozen():
            raise InputError(f"{self.__dict__[_PREFIX]}{name} cannot be set: the settings are frozen; use cfg.clone()")
        super().__setitem__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _node, (self.__dict__[_PREFIX], dict(self), self.is_frozen(), self.is_new_allowed())


def get_cfg() -> CfgNode:
    """A fresh tree with every default."""
    return _section("", _C)


def _section(prefix: str, defaults: YacsNode) -> CfgNode:
    items = {
        name: _section(f"{prefix}{name}.", value) if isinstance(value, YacsNode) else copy.copy(value)
        for name, value in defaults.items()
    }
    return _node(prefix, items, False, defaults.is_new_allowed())


def _node(prefix: str, items: dict[str, Any], frozen: bool, new_allowed: bool) -> CfgNode:
    node = CfgNode(new_allowed=new_allowed)
    node.__dict__[_PREFIX] = prefix
    node.update(items)  # dict's own: past the checks of __setitem__
    node.__dict__[CfgNode.IMMUTABLE] = frozen
    return node


def leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(full name, value) of every setting of a section and of those in it."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@functools.cache
def _defaults() -> dict[str, Any]:
    return dict(leaves(_C))


@functools.cache
def _sections() -> dict[str, bool]:
    """Dotted name of every section -> whether new keys may join it."""
    found: dict[str, bool] = {}

    def walk(section: YacsNode, prefix: str) -> None:
        for name, value in section.items():
            if isinstance(value, YacsNode):
                found[f"{prefix}{name}"] = value.is_new_allowed()
                walk(value, f"{prefix}{name}.")

    walk(_C, "")
    return found


def _checked(setting: Setting) -> Any:
    """The value as its default's kind, or a refusal that names the place, the key and what is allowed."""
    key, value, place = setting
    if not isinstance(key, str):
        raise InputError(f"{place}: {shown(key)} is not the name of a setting; write KEY VALUE pairs")
    if key not in _defaults():
        section, _, name = key.rpartition(".")
        if not (_sections().get(section) and name.isidentifier()):
            raise InputError(f"{place}: {_unknown(key)}")
        return free_value(key, value, place=place)
    default = _defaults()[key]
    taken = fitted(key, value, default=default, rule=RULES.get(key, Rule()), place=place)
    if key in NOT_HERE and taken != default:
        raise InputError(
            f"{place}: {key} is {shown(value)}, but {NOT_HERE[key]} is not part of this project; "
            f"remove the line (only {default!r} is accepted)"
        )
    return taken


def _unknown(key: str) -> str:
    if key in _sections():
        return f"{key} is a section, not a setting; name one in it, such as {_first_in(key)}"
    name = key.partition("=")[0]
    if name != key and name in _defaults():
        return f"no setting is called {shown(key)}; write {name} and its value as two words"
    near = difflib.get_close_matches(key[:100], _defaults(), n=1)
    hint = f"did you mean {near[0]}?" if near else "docs/configs.md lists them all"
    return f"no setting is called {shown(key)}; {hint}"


def _first_in(section: str) -> str:
    return next((key for key in _defaults() if key.startswith(f"{section}.")), f"{section}.betas")
