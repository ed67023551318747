"""A table from a name in the config to the function that makes the thing."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from fastreid.utils.errors import InputError, suggest_and_list

Builder = TypeVar("Builder", bound=Callable)


class Registry(Generic[Builder]):
    """Names and their makers, all on one screen; a user's own part joins with `TABLE.register("mine")(maker)`.

    Args:
        what: what the table holds, for messages, such as "pooling layer".
        makers: name -> maker.
    """

    def __init__(self, what: str, makers: Mapping[str, Builder]):
        self.what = what
        self._builders: dict[str, Builder] = dict(makers)

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Add a maker under a new name; refuses a name that is taken."""
        if name in self._builders:
            raise InputError(f"a {self.what} is already called '{name}'; choose another name")

        def add(maker: Builder) -> Builder:
            self._builders[name] = maker
            return maker

        return add

    def get(self, name: str) -> Builder:
        """The maker of that name; an unknown one is refused with the nearest known name."""
        if name not in self._builders:
            raise InputError(f"no {self.what} is called '{name}'.{suggest_and_list(name, self._builders)}")
        return self._builders[name]

    def names(self) -> list[str]:
        return sorted(self._builders)
