"""A JSON file with the hits of saved queries, to which each hit is added once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastreid.index.query_monitor import NewHit, make_key
from fastreid.index.records import format_now
from fastreid.utils.errors import InputError
from fastreid.utils.files import check_writable, read_file_bytes, write_text


class HitFile:
    """A list of hits, oldest first. The file may be moved away or deleted between two additions.

    Args:
        path: the file.

    Raises:
        InputError: there is a file with another content.
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        self._read()
        check_writable(path)

    def add(self, hits: Sequence[NewHit]) -> None:
        """Add hits to the file that it does not have, all or none."""
        known = self._read()
        keys = {make_key(one["query"], one["id"], one["sha256"]) for one in known}
        added = [{"found": format_now(), **one.to_json()} for one in hits if one.key not in keys]
        if added:
            write_text(self.path, json.dumps({"hits": known + added}, indent=1) + "\n")

    def _read(self) -> list[dict[str, Any]]:
        try:
            hits = json.loads(read_file_bytes(self.path))["hits"]
            if not all(isinstance(one[name], str) for one in hits for name in ("query", "id", "sha256")):
                raise ValueError
            return list(hits)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}); check the path")
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{self.path}: is not a list of hits; give another name, or move the file away")
