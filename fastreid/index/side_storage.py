"""The interface of thumbnails and removed ids, which a folder and a server store differently."""

from collections.abc import Iterable, Mapping
from typing import Protocol


class SideStorage(Protocol):
    """Thumbnails by id, and the ids of removed drawings."""

    def write_thumbnails(self, thumbnails: Mapping[str, bytes]) -> None:
        """Store thumbnails by id."""

    def read_thumbnail(self, name: str) -> bytes | None:
        """Return the thumbnail of an id, or None."""

    def list_thumbnails(self) -> set[str]:
        """Return the ids that have a thumbnail."""

    def delete_thumbnails(self, names: Iterable[str]) -> None:
        """Delete the thumbnails of some ids."""

    def mark_removed(self, names: Iterable[str]) -> None:
        """Remember that drawings were removed, so that an update does not add them again."""

    def unmark_removed(self, names: Iterable[str]) -> None:
        """Forget that drawings were removed."""

    def list_removed(self) -> set[str]:
        """Return the ids of the drawings that were removed."""

    def vacuum(self) -> None:
        """Free the space of deleted thumbnails."""
