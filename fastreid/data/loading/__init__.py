"""Training and test loaders with worker processes."""

from fastreid.data.loading.batches import HostBatch, Transform
from fastreid.data.loading.loader import Sampler, TestLoader, TrainLoader
from fastreid.data.loading.unreadable import UnreadableDrawings
from fastreid.data.loading.workers import Workers

__all__ = ["HostBatch", "Sampler", "TestLoader", "TrainLoader", "Transform", "UnreadableDrawings", "Workers"]
