"""Find the local features of two images that match each other."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

_TIE = 1e-4  # difference of cosines that counts as none
_NEAR = 1.5  # positions: the partner of the partner may be a neighbor


def match_local_features(first: Tensor, second: Tensor, positions: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return how well each local feature of two images finds a partner in the other image, 0..1.

    The value is the cosine of a feature and its nearest one of the other image if both are nearest to each other, else
    0. The nearest feature of the partner may also be a neighbor of the first one, because objects are seldom shifted by
    whole positions. Both images are treated alike. Source: mutual nearest neighbors, as in Rocco et al., Neighbourhood
    Consensus Networks (2018).

    Args:
        first: features float32 (n, C).
        second: features float32 (m, C).
        positions: rows and columns of the features in their maps, (n, 2) and (m, 2).

    Returns:
        Values float32 (n,) and (m,); zeros if an image has no feature.
    """
    if not len(first) or not len(second):
        return torch.zeros(len(first)), torch.zeros(len(second))
    cosines = normalize(first) @ normalize(second).T
    return (
        _find_mutual(cosines, positions[0].float()),
        _find_mutual(cosines.T, positions[1].float()),
    )


def _find_mutual(cosines: Tensor, positions: Tensor) -> Tensor:
    """Return the values of the rows, whose positions are (n, 2)."""
    values, partners = cosines.max(dim=1)
    back_values, back = cosines.max(dim=0)
    is_tie = values >= back_values[partners] - _TIE
    is_near = (positions - positions[back[partners]]).norm(dim=1) <= _NEAR
    return torch.where(is_tie | is_near, values, torch.zeros(())).clamp(0, 1)
