"""Samplers: the rows of the training list in each batch, as a pure function of the seed and the iteration."""

from fastreid.data.samplers.complete import CompleteIdentitySampler
from fastreid.data.samplers.identity import BalancedIdentitySampler, IdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.instance import ImbalancedDatasetSampler, InferenceSampler, TrainingSampler

__all__ = [
    "BalancedIdentitySampler",
    "CompleteIdentitySampler",
    "IdentitySampler",
    "ImbalancedDatasetSampler",
    "InferenceSampler",
    "NaiveIdentitySampler",
    "TrainingSampler",
]
