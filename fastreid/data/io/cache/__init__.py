"""Page cache: decoded pages in one SQLite file."""

from fastreid.data.io.cache.store import FillReport, PageCache

__all__ = ["FillReport", "PageCache"]
