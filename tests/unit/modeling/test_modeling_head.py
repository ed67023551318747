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
    assert torch.equal(out.features, out.neck_features) is same
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


@pytest.mark.parametrize("wrong", [{"neck_feat": "both"}, {"embedding_dim": -1}, {"partial_fc_ratio": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="not"):
        head(**wrong)


def partial(step, num_classes=50):
    torch.manual_seed(0)
    made = EmbeddingHead(8, num_classes, pool=GlobalAvgPool(), margin=CosSoftmax(scale=10), partial_fc_ratio=0.2).train()
    made.sample_classes(7, step)
    return made


def test_a_share_of_the_classes_takes_part_and_the_batchs_own_are_among_them():
    targets = torch.tensor([49, 3, 3, 17])
    made = partial(step=1)
    out = made(MAPS, targets)
    out.logits.sum().backward()
    moved = made.weight.grad.any(dim=1).nonzero().flatten()
    assert out.logits.shape == (4, 10)
    assert len(moved) == 10
    assert torch.equal(moved[out.target_columns], targets)
    torch.testing.assert_close(out.plain_logits, head_of_all(made)(MAPS, targets).plain_logits[:, moved])


def head_of_all(made):
    whole = EmbeddingHead(8, len(made.weight), pool=GlobalAvgPool(), margin=CosSoftmax(scale=10)).train()
    whole.load_state_dict(made.state_dict())
    return whole


def test_which_classes_take_part_follows_from_the_step_alone():
    def chosen(made):
        made(MAPS, TARGETS).logits.sum().backward()
        return made.weight.grad.any(dim=1).nonzero().flatten().tolist()

    later = partial(step=1)
    later.sample_classes(7, 2)
    assert chosen(later) == chosen(partial(step=2)) != chosen(partial(step=1))


def test_a_batch_of_more_classes_than_the_share_takes_them_all():
    assert partial(step=1, num_classes=5)(MAPS, torch.tensor([0, 1, 2, 4])).logits.shape == (4, 4)


def test_the_classes_that_take_part_are_as_many_as_are_told_beforehand():
    head = EmbeddingHead(4, 40, pool=GlobalAvgPool(), partial_fc_ratio=0.2)
    head.sample_classes(0, 1)
    output = head(torch.rand(3, 4, 2, 2), torch.tensor([1, 5, 9]))
    assert output.logits.shape[1] == head.num_sampled_classes(3) == 8
    assert (head.num_sampled_classes(11), head.num_sampled_classes(99)) == (11, 40)
