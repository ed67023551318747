"""Searchable collections of drawings.

import fastreid.index

collection = fastreid.index.open("patents.index")
collection.add(["drawings/"])
hits = collection.search("query.png", k=10, where="locarno STARTSWITH 06", group="patent")
"""

from fastreid.index.backends.base import IndexSettings
from fastreid.index.collection import Collection
from fastreid.index.crop import Crop
from fastreid.index.health import CheckReport
from fastreid.index.ingest import IngestReport
from fastreid.index.manifest import ModelIdentity
from fastreid.index.opening import create, exists, open
from fastreid.index.query_monitor import NewHit, QueryMonitor
from fastreid.index.refinement import Refinement
from fastreid.index.saved_queries import SavedQuery, read_queries
from fastreid.index.search import Hit
from fastreid.index.similarity_map import SimilarityMap, compare_drawings

__all__ = [
    "CheckReport",
    "Collection",
    "Crop",
    "Hit",
    "IndexSettings",
    "IngestReport",
    "ModelIdentity",
    "NewHit",
    "QueryMonitor",
    "Refinement",
    "SavedQuery",
    "SimilarityMap",
    "compare_drawings",
    "create",
    "exists",
    "open",
    "read_queries",
]
