"""Where the vectors and the metadata of a collection are stored and searched."""

from fastreid.index.backends.base import Backend, Candidates, IndexSettings

__all__ = ["Backend", "Candidates", "IndexSettings"]
