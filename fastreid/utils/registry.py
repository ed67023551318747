"""Registries: tables from a name in the config to the function or class that builds the component."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from fastreid.utils.errors import InputError, suggest_and_list

Builder = TypeVar("Builder", bound=Callable[..., Any])


class Registry(Generic[Builder]):
    """Builders by name; add your own component with `REGISTRY.register("name")(builder)`.

    Args:
        kind: what the components are, for messages, such as "pooling layer".
        builders: name -> builder.
    """

    def __init__(self, kind: str, builders: Mapping[str, Builder]):
        self.kind = kind
        self._builders: dict[str, Builder] = dict(builders)

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Return a decorator that adds a builder under a new name.

        Raises:
            InputError: the name is taken.
        """
        if name in self._builders:
            raise InputError(f"the {self.kind} '{name}' already exists; choose another name")

        def add(builder: Builder) -> Builder:
            self._builders[name] = builder
            return builder

        return add

    def get(self, name: str) -> Builder:
        """Return the builder of a name.

        Raises:
            InputError: the name is unknown; the message contains the nearest and all known names.
        """
        if name not in self._builders:
            raise InputError(f"unknown {self.kind} '{name}'.{suggest_and_list(name, self._builders)}")
        return self._builders[name]

    def names(self) -> list[str]:
        """Return the known names, sorted."""
        return sorted(self._builders)
