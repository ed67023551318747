"""A table from a name in the config to the function that makes the thing."""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from fastreid.utils.errors import InputError, suggest

Maker = TypeVar("Maker", bound=Callable)


class Registry(Generic[Maker]):
    """Names and their makers, all on one screen; a user's own part joins with `TABLE.register("mine")(maker)`.

    Args:
        what: what the table holds, for messages, such as "pooling layer".
        makers: name -> maker.
    """

    def __init__(self, what: str, makers: Mapping[str, Maker]):
        self.what = what
        self._makers: dict[str, Maker] = dict(makers)

    def register(self, name: str) -> Callable[[Maker], Maker]:
        """Add a maker under a new name; refuses a name that is taken."""
        if name in self._makers:
            raise InputError(f"a {self.what} is already called '{name}'; choose another name")

        def add(maker: Maker) -> Maker:
            self._makers[name] = maker
            return maker

        return add

    def get(self, name: str) -> Maker:
        """The maker of that name; an unknown one is refused with the nearest known name."""
        if name not in self._makers:
            raise InputError(f"no {self.what} is called '{name}'.{suggest(name, self._makers)}")
        return self._makers[name]

    def names(self) -> list[str]:
        return sorted(self._makers)
