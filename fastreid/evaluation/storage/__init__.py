"""Features saved on disk with their provenance and checksums."""

from fastreid.evaluation.storage.manifest import PARTS, Manifest, PartEntry, Provenance, read_manifest
from fastreid.evaluation.storage.saved_features import (
    FeaturePart,
    find_feature_folders,
    list_fingerprint,
    load_features,
    save_features,
    stale_parts,
)

__all__ = [
    "PARTS",
    "FeaturePart",
    "Manifest",
    "PartEntry",
    "Provenance",
    "find_feature_folders",
    "list_fingerprint",
    "load_features",
    "read_manifest",
    "save_features",
    "stale_parts",
]
