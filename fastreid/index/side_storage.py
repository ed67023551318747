"""The interface of thumbnails and marks of drawings, which a folder and a server store differently."""

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

# removed: drawings that an update does not add again; new: drawings in which saved queries have not been searched;
# reported: hits of saved queries
Mark = Literal["removed", "new", "reported"]


class SideStorage(Protocol):
    """Thumbnails by id, and marks of drawings and hits."""

    def write_thumbnails(self, thumbnails: Mapping[str, bytes]) -> None:
        """Store thumbnails by id."""

    def read_thumbnail(self, name: str) -> bytes | None:
        """Return the thumbnail of an id, or None."""

    def list_thumbnails(self) -> set[str]:
        """Return the ids that have a thumbnail."""

    def delete_thumbnails(self, names: Iterable[str]) -> None:
        """Delete the thumbnails of some ids."""

    def mark(self, mark: Mark, names: Iterable[str]) -> None:
        """Give a mark to some ids."""

    def unmark(self, mark: Mark, names: Iterable[str]) -> None:
        """Take a mark from some ids."""

    def list_marked(self, mark: Mark) -> set[str]:
        """Return the ids that have a mark."""

    def vacuum(self) -> None:
        """Free the space of deleted thumbnails."""
