"""Registries: tables from a name in the config to the function or class that builds the component."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from fastreid.utils.errors import InputError, describe_unknown

Builder = TypeVar("Builder", bound=Callable[..., Any])


class Registry(Generic[Builder]):
    """Builders by name; add your own component with `REGISTRY.register("name")(builder)`.

    Args:
        kind: what the components are, for messages, such as "pooling layer".
        builders: name -> builder.
        substitutes: names of fast-reid without a builder -> what to use instead, for messages.
    """

    def __init__(self, kind: str, builders: Mapping[str, Builder], *, substitutes: Mapping[str, str] | None = None):
        self.kind = kind
        self._substitutes = dict(substitutes or {})
        self._builders: dict[str, Builder] = dict(builders)

    def register(self, name: str = "") -> Callable[[Builder], Builder]:
        """Return a decorator that adds a builder under a new name.

        Args:
            name: new name; "": that of the function or class, as in fast-reid.

        Raises:
            InputError: the name is taken.
        """
        self._check_is_new(name)

        def add(builder: Builder) -> Builder:
            key = name or builder.__name__
            self._check_is_new(key)
            self._builders[key] = builder
            return builder

        return add

    def _check_is_new(self, name: str) -> None:
        if name in self._builders:
            raise InputError(f"the {self.kind} '{name}' already exists; choose another name")

    def get(self, name: str, key: str = "") -> Builder:
        """Return the builder of a name.

        Args:
            name: of the component.
            key: the config key that was set to the name, for the message; "": the kind of the components.

        Raises:
            InputError: the name is unknown; the message contains the nearest and all known names.
        """
        if name not in self._builders:
            if name in self._substitutes:
                raise InputError(f"{key or self.kind} '{name}' does not exist here; {self._substitutes[name]}")
            raise InputError(describe_unknown(key or self.kind, name, self._builders))
        return self._builders[name]

    def names(self) -> list[str]:
        """Return the known names, sorted."""
        return sorted(self._builders)
