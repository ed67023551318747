"""What a training step tells beside its losses: how well patents come apart, without gradient and left on the device."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.modeling.heads import HeadOutput
from fastreid.utils import comm

Stats = dict[str, Tensor]


@torch.no_grad()
def compute_batch_stats(output: HeadOutput, targets: Tensor) -> Stats:
    """Scalars of a batch.

    Returns:
        `cls_accuracy`: share 0..1 of drawings whose best class, of those that take part in the step, is right. `feature_norm`: the features' mean length.
        And of the directions of all processes' features, brought to length 1, what `compute_spread` tells.
    """
    return {
        "cls_accuracy": (output.plain_logits.argmax(dim=1) == output.target_columns).float().mean(),
        "feature_norm": output.neck_features.norm(dim=1).mean(),
        **compute_spread(comm.all_gather_rows(output.neck_features), comm.all_gather_rows(targets)),
    }


@torch.no_grad()
@in_full_precision
def compute_spread(features: Tensor, targets: Tensor) -> Stats:
    """How directions lie: (B, D) features and (B,) classes.

    Returns:
        `positive_distance`, `negative_distance`: mean of one minus the cosine over pairs of one patent, a drawing with
        itself left out, and over pairs of two; NaN in a batch without such pairs. `feature_spread`: root mean square
        distance of the directions from their mean, 0 when all are one, 1 when they cancel out. `feature_rank`: along how
        many directions they differ, (sum of variances)^2 / sum of squared variances over the principal directions, from
        1 to B - 1; 0 when nothing differs.
    """
    directions = F.normalize(features)
    cosines = directions @ directions.T
    same = targets[:, None] == targets
    itself = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    centred = directions - directions.mean(dim=0)
    products = centred @ centred.T  # has the variances of the principal directions, times B, as its eigenvalues
    total, squares = products.diagonal().sum(), products.square().sum()
    return {
        "positive_distance": 1 - _mean(cosines, same & ~itself),
        "negative_distance": 1 - _mean(cosines, ~same),
        "feature_spread": (total / len(targets)).clamp(min=0).sqrt(),
        "feature_rank": torch.where(squares > 0, total.square() / squares, torch.zeros_like(squares)),
    }


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum()
