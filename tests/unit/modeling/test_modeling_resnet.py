import pytest
import torch

from fastreid.layers import IBN, NonLocal
from fastreid.layers.norm import NORMS
from fastreid.modeling.backbones.resnet import RESNET_SPECS, ResNet
from fastreid.utils.errors import InputError


def build_on_meta(depth, **options):
    with torch.device("meta"):
        return ResNet(depth, **options)


@pytest.mark.parametrize("depth", RESNET_SPECS)
@pytest.mark.parametrize(("last_stride", "side"), [(1, 16), (2, 8)])
@pytest.mark.parametrize("parts", [{}, {"with_ibn": True, "with_se": True, "with_nl": True}])
def test_output_shape_of_every_depth_and_option(depth, last_stride, side, parts):
    model = build_on_meta(depth, last_stride=last_stride, **parts)
    maps = model(torch.empty(2, 3, 256, 256, device="meta"))
    assert maps.shape == (2, model.feature_dim, side, side)


@pytest.mark.parametrize("norm", NORMS.names())
def test_ibn_and_non_local_blocks_support_every_norm(norm):
    model = build_on_meta("50x", norm=NORMS.get(norm), with_ibn=True, with_nl=True)
    assert model.eval()(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 2048, 4, 4)


def test_ibn_is_in_every_block_of_the_first_three_stages():
    model = build_on_meta("50x", with_ibn=True)
    found = {name for name, part in model.named_modules() if isinstance(part, IBN)}
    assert found == {f"layer{stage}.{i}.bn1" for stage, num in ((1, 3), (2, 4), (3, 6)) for i in range(num)}


@pytest.mark.parametrize(("wide", "width"), [(False, 1), (True, 512)])
def test_width_of_non_local_blocks(wide, width):
    blocks = [
        part for part in build_on_meta("101x", with_nl=True, nl_wide=wide).modules() if isinstance(part, NonLocal)
    ]
    assert len(blocks) == 11
    assert blocks[-1].g.out_channels == width


def test_new_non_local_blocks_are_the_identity():
    torch.manual_seed(0)
    plain = ResNet("50x").eval()
    with_blocks = ResNet("50x", with_nl=True).eval()
    with_blocks.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(with_blocks(images), plain(images))


def test_convolutions_are_initialized_by_fan_out():
    conv = ResNet("18x").layer4[0].conv1
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)


def test_max_pool_windows_match_fast_reid():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    assert ResNet("18x").maxpool(maps).flatten().tolist() == [10, 11, 14, 15]  # torchvision: 5, 7, 13, 15


@pytest.mark.parametrize("options", [{"with_nl": True, "nl_wide": True}, {"nl_wide": True}])
def test_nl_wide_without_non_local_blocks_raises(options):
    with pytest.raises(InputError, match="needs WITH_NL True and DEPTH 50x or 101x"):
        build_on_meta("18x", **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_checkpointing_is_exact_and_saves_memory(dtype):
    images = torch.rand(2, 3, 32, 32)

    def train(gradient_checkpointing):
        torch.manual_seed(0)
        options = {"with_ibn": True, "with_nl": True, "gradient_checkpointing": gradient_checkpointing}
        network, saved_bytes = ResNet("50x", **options), []

        def record(tensor):
            saved_bytes.append(tensor.numel() * tensor.element_size())
            return tensor

        recording = torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16), recording:
            maps = network(images)
        num_bytes = sum(saved_bytes)
        maps.float().square().mean().backward()
        return network, num_bytes

    (plain, num_bytes), (checkpointed, num_bytes_checkpointed) = train(False), train(True)
    for expected, parameter in zip(plain.parameters(), checkpointed.parameters()):
        assert torch.equal(expected.grad, parameter.grad)
    for expected, buffer in zip(plain.buffers(), checkpointed.buffers()):
        assert torch.equal(expected, buffer)
    assert num_bytes_checkpointed < num_bytes / 3


def test_no_checkpointing_in_evaluation(monkeypatch):
    monkeypatch.setattr("fastreid.modeling.backbones.resnet.checkpoint_block", None)
    network = ResNet("18x", gradient_checkpointing=True)
    network.eval()(torch.rand(1, 3, 32, 32))
    with torch.no_grad():
        network.train()(torch.rand(2, 3, 32, 32))
