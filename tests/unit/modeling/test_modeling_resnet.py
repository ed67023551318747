import pytest
import torch

from fastreid.layers import IBN, NonLocal
from fastreid.layers.norm import NORMS
from fastreid.modeling.backbones.resnet import RESNET_SPECS, ResNet
from fastreid.utils.errors import InputError


def meta(depth, **options):
    with torch.device("meta"):
        return ResNet(depth, **options)


@pytest.mark.parametrize("depth", RESNET_SPECS)
@pytest.mark.parametrize(("last_stride", "side"), [(1, 16), (2, 8)])
@pytest.mark.parametrize("parts", [{}, {"with_ibn": True, "with_se": True, "with_nl": True}])
def test_every_depth_and_option_gives_a_map_of_its_width(depth, last_stride, side, parts):
    model = meta(depth, last_stride=last_stride, **parts)
    maps = model(torch.empty(2, 3, 256, 256, device="meta"))
    assert maps.shape == (2, model.feature_dim, side, side)


@pytest.mark.parametrize("norm", NORMS.names())
def test_ibn_and_non_local_blocks_take_every_norm(norm):
    model = meta("50x", norm=NORMS.get(norm), with_ibn=True, with_nl=True)
    assert model.eval()(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 2048, 4, 4)


def test_ibn_stands_first_in_every_block_of_the_first_three_stages():
    model = meta("50x", with_ibn=True)
    found = {name for name, part in model.named_modules() if isinstance(part, IBN)}
    assert found == {f"layer{stage}.{i}.bn1" for stage, num in ((1, 3), (2, 4), (3, 6)) for i in range(num)}


@pytest.mark.parametrize(("wide", "width"), [(False, 1), (True, 512)])
def test_non_local_blocks_are_one_wide_or_half(wide, width):  # T-1
    blocks = [part for part in meta("101x", with_nl=True, nl_wide=wide).modules() if isinstance(part, NonLocal)]
    assert len(blocks) == 11
    assert blocks[-1].g.out_channels == width


def test_fresh_non_local_blocks_change_nothing_yet():
    torch.manual_seed(0)
    plain = ResNet("50x").eval()
    with_blocks = ResNet("50x", with_nl=True).eval()
    with_blocks.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(with_blocks(images), plain(images))


def test_convolutions_start_with_the_spread_of_what_leaves_them():
    conv = ResNet("18x").layer4[0].conv1
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)


def test_the_stems_windows_start_at_the_edge_as_fast_reids_weights_expect():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    assert ResNet("18x").maxpool(maps).flatten().tolist() == [10, 11, 14, 15]  # torchvision's would be 5, 7, 13, 15


@pytest.mark.parametrize("options", [{"with_nl": True, "nl_wide": True}, {"nl_wide": True}])
def test_wide_blocks_where_there_are_none_are_refused(options):
    with pytest.raises(InputError, match="needs WITH_NL True and a DEPTH of 50x or 101x"):
        meta("18x", **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_that_are_worked_out_again_give_the_same_gradients_and_statistics_and_keep_less(dtype):
    images = torch.rand(4, 3, 64, 64)

    def trained(recompute):
        torch.manual_seed(0)
        network, kept = ResNet("50x", with_ibn=True, with_nl=True, gradient_checkpointing=recompute), []

        def keep(tensor):
            kept.append(tensor.numel() * tensor.element_size())
            return tensor

        watched = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16), watched:
            maps = network(images)
        held = sum(kept)
        maps.float().square().mean().backward()
        return network, held

    (plain, held), (again, held_again) = trained(False), trained(True)
    for one, other in zip(plain.parameters(), again.parameters()):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(plain.buffers(), again.buffers()):
        assert torch.equal(one, other)
    assert held_again < held / 3


def test_a_network_that_is_tested_keeps_its_blocks_plain(monkeypatch):
    monkeypatch.setattr("fastreid.modeling.backbones.resnet.checkpoint_block", None)
    network = ResNet("18x", gradient_checkpointing=True)
    network.eval()(torch.rand(1, 3, 32, 32))
    with torch.no_grad():
        network.train()(torch.rand(2, 3, 32, 32))
