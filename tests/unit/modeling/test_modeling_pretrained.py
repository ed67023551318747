"""ImageNet weights of backbones from files."""

import pytest
import torch
from weights_files import imagenet_file, network, sha256

from fastreid.modeling.backbones.pretrained import PUBLISHED, PUBLISHED_NAME, load_backbone, load_pretrained
from fastreid.modeling.backbones.resnet import ResNet
from fastreid.utils.errors import InputError, WeightsError

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("options", [{}, {"with_ibn": True}])
def test_imagenet_weights_are_loaded_from_a_path(tmp_path, options):
    tensors = imagenet_file(tmp_path / "start.pth", **options)
    model = network(**options)
    report = load_pretrained(
        model, depth="18x", with_ibn=bool(options), with_se=False, path=str(tmp_path / "start.pth")
    )
    assert (report.num_loaded, report.ignored) == (len(tensors), ("fc.weight", "fc.bias"))
    assert all(torch.equal(model.backbone.state_dict()[name], value) for name, value in tensors.items())


def test_non_local_blocks_are_reported_as_reinitialized(tmp_path):
    imagenet_file(tmp_path / "start.pth", "50x")
    report = load_backbone(ResNet("50x", with_nl=True), tmp_path / "start.pth")
    assert report.reinitialized == {"batch counters": "53 tensors", "NL_2": "26 tensors", "NL_3": "39 tensors"}
    assert str(report).endswith("; NL_3 reinitialized (39 tensors); ignored 2: fc.weight, fc.bias")


@pytest.mark.parametrize(
    ("depth", "options", "message"),
    [
        ("34x", {}, "layer1.2.conv1.weight absent"),
        ("18x", {"with_ibn": True}, "bn1.IN.weight absent"),
        ("18x", {"with_se": True}, "se.fc.0.weight absent"),
    ],
)
def test_weights_of_another_network_raise_and_load_nothing(tmp_path, depth, options, message):
    imagenet_file(tmp_path / "start.pth")
    model = network(depth, **options)
    before = model.backbone.conv1.weight.clone()
    with pytest.raises(WeightsError, match=message.replace(".", r"\.")):
        load_pretrained(model, depth=depth, with_ibn=False, with_se=False, path=str(tmp_path / "start.pth"))
    assert torch.equal(model.backbone.conv1.weight, before)


def test_backbone_of_a_whole_checkpoint_is_loaded(tmp_path):
    tensors = ResNet("18x").state_dict()
    model = {f"backbone.{name}": value for name, value in tensors.items()} | {"heads.weight": torch.zeros(2, 512)}
    torch.save({"model": model}, tmp_path / "model_best.pth")
    backbone = ResNet("18x")
    report = load_backbone(backbone, tmp_path / "model_best.pth")
    assert (report.num_loaded, report.ignored) == (len(tensors), ("heads.weight",))
    assert all(torch.equal(value, tensors[name]) for name, value in backbone.state_dict().items())


def test_mismatch_names_the_setting_of_the_backbone(tmp_path):
    imagenet_file(tmp_path / "start.pth", with_ibn=True)
    with pytest.raises(WeightsError, match=r"; MODEL\.BACKBONE\.WITH_IBN is False, but the file has True$"):
        load_backbone(ResNet("18x"), tmp_path / "start.pth")
    with pytest.raises(WeightsError, match=r"; MODEL\.BACKBONE\.DEPTH is 50x, but the file has 18x$"):
        load_backbone(ResNet("50x", with_ibn=True, with_nl=True), tmp_path / "start.pth")


def test_weights_with_nan_raise(tmp_path):
    tensors = imagenet_file(tmp_path / "start.pth")
    tensors["conv1.weight"][0] = float("nan")
    torch.save(tensors, tmp_path / "start.pth")
    with pytest.raises(WeightsError, match=r"NaN or Inf in 1 tensors: conv1\.weight"):
        load_backbone(ResNet("18x"), tmp_path / "start.pth")


def test_digest_in_a_published_name_is_verified(tmp_path):
    imagenet_file(tmp_path / "resnet18-5c106cde.pth")
    with pytest.raises(WeightsError, match="does not start with 5c106cde"):
        load_backbone(ResNet("18x"), tmp_path / "resnet18-5c106cde.pth")
    renamed = tmp_path / f"resnet18-{sha256(tmp_path / 'resnet18-5c106cde.pth')[:8]}.pth"
    (tmp_path / "resnet18-5c106cde.pth").rename(renamed)
    assert load_backbone(ResNet("18x"), renamed).num_loaded == 100


@pytest.mark.parametrize("path", ["https://example.invalid/w.pth", "http://example.invalid/w.pth#sha256=" + "0" * 64])
def test_link_as_path_needs_https_and_a_digest(path):
    with pytest.raises(InputError, match="must be https and end in #sha256="):
        load_pretrained(network(), depth="18x", with_ibn=False, with_se=False, path=path)


def test_pinned_link_is_loaded_from_the_cache(cache):
    cache.mkdir(parents=True)
    imagenet_file(cache / "weights.pth")
    digest = sha256(cache / "weights.pth")
    (cache / "weights.pth").rename(cache / f"{digest}.pth")
    link = f"https://drive.google.com/uc?id=1#sha256={digest}"
    assert load_pretrained(network(), depth="18x", with_ibn=False, with_se=False, path=link).num_loaded == 100


def test_unpublished_combination_raises():
    with pytest.raises(InputError, match="no ImageNet weights are published for 'se_50x'"):
        load_pretrained(network("18x"), depth="50x", with_ibn=False, with_se=True)


def test_full_digests_match_the_file_names():
    for entry in PUBLISHED.values():
        match = PUBLISHED_NAME.fullmatch(entry.url.rsplit("/", 1)[1])
        assert match
        assert entry.url.startswith("https://")
        assert not entry.sha256 or (len(entry.sha256) == 64 and entry.sha256.startswith(match[1]))
