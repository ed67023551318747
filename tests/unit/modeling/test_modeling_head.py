import pytest
import torch
from torch import nn

from fastreid.layers import CosSoftmax, GlobalAvgPool
from fastreid.layers.pooling import Flatten, Identity
from fastreid.modeling.heads import EmbeddingHead
from fastreid.utils.errors import InputError

MAPS = torch.randn(4, 8, 3, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 0, 1, 1])


def head(**options):
    return EmbeddingHead(8, 5, **({"pool": GlobalAvgPool()} | options))


def test_a_reducing_layer_comes_before_the_neck_and_sets_the_width():
    made = head(embedding_dim=6, norm=nn.BatchNorm2d)
    names = [name for name in made.state_dict() if name.endswith("weight")]
    assert names == ["weight", "bottleneck.0.weight", "bottleneck.1.weight"]
    assert made.eval()(MAPS).shape == (4, 6)
    assert made.weight.shape == (5, 6)


def test_without_neck_and_reduction_the_features_are_the_pooled_ones():
    assert torch.equal(head().eval()(MAPS), MAPS.mean(dim=(2, 3)))


@pytest.mark.parametrize(("side", "same"), [("before", False), ("after", True)])
def test_neck_feat_says_which_side_the_metric_losses_see(side, same):
    out = head(norm=nn.BatchNorm2d, neck_feat=side).train()(MAPS, TARGETS)
    assert torch.equal(out.features, out.neck) is same
    assert torch.equal(out.features, MAPS.mean(dim=(2, 3))) is not same


def test_scores_for_the_accuracy_have_no_margin():
    out = head(margin=CosSoftmax(scale=10, margin=0.3)).train()(MAPS, TARGETS)
    lost = (out.plain_logits - out.logits).gather(1, TARGETS[:, None])
    assert torch.allclose(lost, torch.full((4, 1), 3.0), atol=1e-5)
    assert out.plain_logits.abs().max() <= 10


def test_the_necks_bias_does_not_train():
    frozen = [name for name, value in head(norm=nn.BatchNorm2d).named_parameters() if not value.requires_grad]
    assert frozen == ["bottleneck.0.bias"]


def test_the_head_works_in_float32_under_autocast():  # T-10
    made = head(embedding_dim=6, norm=nn.BatchNorm2d).eval()
    exact = made(MAPS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(MAPS), exact)
        assert made(MAPS.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("pool", [Identity(), Flatten()])
def test_a_pool_that_leaves_more_than_one_number_a_channel_is_refused(pool):
    with pytest.raises(InputError, match=r"where the head needs \(B, 8, 1, 1\)"):
        head(pool=pool).eval()(MAPS)


@pytest.mark.parametrize("wrong", [{"neck_feat": "both"}, {"embedding_dim": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="not"):
        head(**wrong)
