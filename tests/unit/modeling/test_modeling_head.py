import pytest
import torch
from torch import nn

from fastreid.layers import CosSoftmax, GlobalAvgPool
from fastreid.layers.pooling import Flatten, Identity
from fastreid.modeling.heads import EmbeddingHead
from fastreid.utils.errors import InputError

MAPS = torch.randn(4, 8, 3, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 0, 1, 1])


def build_head(**options):
    return EmbeddingHead(8, 5, **({"pool": GlobalAvgPool()} | options))


def test_reduction_layer_precedes_the_neck():
    head = build_head(embedding_dim=6, norm=nn.BatchNorm2d)
    names = [name for name in head.state_dict() if name.endswith("weight")]
    assert names == ["weight", "bottleneck.0.weight", "bottleneck.1.weight"]
    assert head.eval()(MAPS).shape == (4, 6)
    assert head.weight.shape == (5, 6)


def test_features_without_neck_are_the_pooled_ones():
    assert torch.equal(build_head().eval()(MAPS), MAPS.mean(dim=(2, 3)))


@pytest.mark.parametrize(("neck_feat", "is_same"), [("before", False), ("after", True)])
def test_neck_feat_selects_the_metric_features(neck_feat, is_same):
    out = build_head(norm=nn.BatchNorm2d, neck_feat=neck_feat).train()(MAPS, TARGETS)
    assert torch.equal(out.features, out.neck_features) is is_same
    assert torch.equal(out.features, MAPS.mean(dim=(2, 3))) is not is_same


def test_plain_logits_have_no_margin():
    out = build_head(margin=CosSoftmax(scale=10, margin=0.3)).train()(MAPS, TARGETS)
    margins = (out.plain_logits - out.logits).gather(1, TARGETS[:, None])
    assert torch.allclose(margins, torch.full((4, 1), 3.0), atol=1e-5)
    assert out.plain_logits.abs().max() <= 10


def test_bias_of_the_neck_is_frozen():
    frozen = [name for name, value in build_head(norm=nn.BatchNorm2d).named_parameters() if not value.requires_grad]
    assert frozen == ["bottleneck.0.bias"]


def test_head_uses_float32_under_autocast():
    head = build_head(embedding_dim=6, norm=nn.BatchNorm2d).eval()
    exact = head(MAPS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(MAPS), exact)
        assert head(MAPS.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("pool", [Identity(), Flatten()])
def test_pooling_layer_must_return_one_value_per_channel(pool):
    with pytest.raises(InputError, match=r"but the head needs \(B, 8, 1, 1\)"):
        build_head(pool=pool).eval()(MAPS)


@pytest.mark.parametrize("options", [{"neck_feat": "both"}, {"embedding_dim": -1}, {"partial_fc_ratio": 0}])
def test_invalid_arguments_raise(options):
    with pytest.raises(InputError, match=r"MODEL\.HEADS.* must be .*not"):
        build_head(**options)


def partial_fc_head(step, num_classes=50):
    torch.manual_seed(0)
    head = EmbeddingHead(
        8, num_classes, pool=GlobalAvgPool(), margin=CosSoftmax(scale=10), partial_fc_ratio=0.2
    ).train()
    head.sample_classes(7, step)
    return head


def test_sampled_classes_contain_those_of_the_batch():
    targets = torch.tensor([49, 3, 3, 17])
    head = partial_fc_head(step=1)
    out = head(MAPS, targets)
    out.logits.sum().backward()
    trained_classes = head.weight.grad.any(dim=1).nonzero().flatten()
    assert out.logits.shape == (4, 10)
    assert len(trained_classes) == 10
    assert torch.equal(trained_classes[out.target_columns], targets)
    torch.testing.assert_close(out.plain_logits, full_head(head)(MAPS, targets).plain_logits[:, trained_classes])


def full_head(head):
    full = EmbeddingHead(8, len(head.weight), pool=GlobalAvgPool(), margin=CosSoftmax(scale=10)).train()
    full.load_state_dict(head.state_dict())
    return full


def test_sampled_classes_depend_only_on_the_step():
    def sampled_classes(head):
        head(MAPS, TARGETS).logits.sum().backward()
        return head.weight.grad.any(dim=1).nonzero().flatten().tolist()

    later = partial_fc_head(step=1)
    later.sample_classes(7, 2)
    assert (
        sampled_classes(later) == sampled_classes(partial_fc_head(step=2)) != sampled_classes(partial_fc_head(step=1))
    )


def test_all_classes_of_a_batch_are_used():
    assert partial_fc_head(step=1, num_classes=5)(MAPS, torch.tensor([0, 1, 2, 4])).logits.shape == (4, 4)


def test_num_sampled_classes_matches_the_logits():
    sampled_head = EmbeddingHead(4, 40, pool=GlobalAvgPool(), partial_fc_ratio=0.2)
    sampled_head.sample_classes(0, 1)
    output = sampled_head(torch.rand(3, 4, 2, 2), torch.tensor([1, 5, 9]))
    assert output.logits.shape[1] == sampled_head.num_sampled_classes(3) == 8
    assert (sampled_head.num_sampled_classes(11), sampled_head.num_sampled_classes(99)) == (11, 40)
