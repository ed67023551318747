import functools
import hashlib
import http.server
import threading
from types import ModuleType

import pytest
import torch
from torch import nn

from fastreid.modeling.backbones import download
from fastreid.modeling.backbones.download import download_file
from fastreid.modeling.backbones.pretrained import (
    PUBLISHED,
    PUBLISHED_NAME,
    PublishedWeights,
    cache_folder,
    load_backbone,
    load_pretrained,
)
from fastreid.modeling.backbones.resnet import ResNet
from fastreid.utils.errors import EnvironmentSetupError, InputError, StorageError, WeightsError

LOCAL_HOSTS = ("127.0.0.1",)


def network(depth="18x", **options):
    model = nn.Module()
    model.backbone = ResNet(depth, **options)
    return model


def imagenet_file(path, depth="18x", **options):
    """Write a file like those of torchvision: a state dict with a classifier and without batch counters."""
    tensors = {
        name: value for name, value in ResNet(depth, **options).state_dict().items() if "num_batches" not in name
    }
    torch.save(tensors | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, path)
    return tensors


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/weights.pth")
            self.end_headers()
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path):
    """Serve a folder over http; return the folder and its URL."""
    folder = tmp_path / "served"
    folder.mkdir()
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "torch" / "checkpoints"


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


def test_published_file_is_downloaded_once(server, cache):
    folder, url = server
    imagenet_file(folder / "resnet18.pth")
    published = {"18x": PublishedWeights(f"{url}/resnet18.pth", sha256(folder / "resnet18.pth"))}
    options = {
        "depth": "18x",
        "with_ibn": False,
        "with_se": False,
        "published": published,
        "plain_http_hosts": LOCAL_HOSTS,
    }
    load_pretrained(network(), **options)
    (folder / "resnet18.pth").unlink()
    assert load_pretrained(network(), **options).num_loaded == 100
    assert [file.name for file in cache.iterdir()] == ["resnet18.pth"]


def test_damaged_cached_file_is_downloaded_again(server, cache):
    folder, url = server
    (folder / "w.pth").write_bytes(b"right")
    cache.mkdir(parents=True)
    (cache / "w.pth").write_bytes(b"wrong")
    download_file(f"{url}/w.pth", cache / "w.pth", sha256=sha256(folder / "w.pth"), plain_http_hosts=LOCAL_HOSTS)
    assert (cache / "w.pth").read_bytes() == b"right"


def test_tampered_download_raises_and_leaves_no_file(server, cache):
    folder, url = server
    (folder / "w.pth").write_bytes(b"tampered")
    with pytest.raises(WeightsError, match="expected 0000"):
        download_file(f"{url}/w.pth", cache / "w.pth", sha256="0" * 64, plain_http_hosts=LOCAL_HOSTS)
    assert list(cache.iterdir()) == []


def test_oversized_download_is_stopped(server, cache, monkeypatch):
    folder, url = server
    (folder / "w.pth").write_bytes(b"x" * 1000)
    monkeypatch.setattr(download, "MAX_BYTES", 999)
    with pytest.raises(StorageError, match="more than 999 bytes"):
        download_file(f"{url}/w.pth", cache / "w.pth", sha256=sha256(folder / "w.pth"), plain_http_hosts=LOCAL_HOSTS)
    assert list(cache.iterdir()) == []


def test_missing_file_and_unreachable_server_raise(server, tmp_path):
    for url in (f"{server[1]}/none.pth", "http://127.0.0.1:9/w.pth"):
        with pytest.raises(StorageError, match="download failed"):
            download_file(url, tmp_path / "w.pth", sha256="0" * 64, plain_http_hosts=LOCAL_HOSTS)


def test_http_links_and_redirects_raise(server, tmp_path):
    with pytest.raises(InputError, match="only https"):
        download_file(f"{server[1]}/w.pth", tmp_path / "w.pth", sha256="0" * 64)
    with pytest.raises(InputError, match=r"example\.invalid/weights\.pth: only https"):
        download_file(f"{server[1]}/redirect", tmp_path / "w.pth", sha256="0" * 64, plain_http_hosts=LOCAL_HOSTS)


@pytest.mark.parametrize("digest", ["", "5c106cde", "Z" * 64])
def test_download_needs_a_full_digest(tmp_path, digest):
    with pytest.raises(InputError, match="needs all 64 digits of the sha256"):
        download_file("https://example.invalid/w.pth", tmp_path / "w.pth", sha256=digest)


def test_drive_link_uses_gdown_without_cookies(tmp_path, monkeypatch):
    def fake_download(url, output, **options):
        assert options == {"quiet": True, "use_cookies": False, "timeout": download.TIMEOUT_S}
        output.write(b"from drive")

    fake = ModuleType("gdown")
    fake.download = fake_download
    monkeypatch.setitem(download.importlib.sys.modules, "gdown", fake)
    digest = hashlib.sha256(b"from drive").hexdigest()
    path = download_file("https://drive.google.com/uc?id=1", tmp_path / "w.pth", sha256=digest)
    assert path.read_bytes() == b"from drive"


def test_drive_link_without_gdown_raises(tmp_path, monkeypatch):
    monkeypatch.setitem(download.importlib.sys.modules, "gdown", None)
    with pytest.raises(EnvironmentSetupError, match="pip install gdown"):
        download_file("https://drive.google.com/uc?id=1", tmp_path / "w.pth", sha256="0" * 64)


def test_entry_without_full_digest_is_not_downloaded(cache):
    with pytest.raises(InputError, match=r"its full sha256 is unknown.*PRETRAIN_PATH to it, or save it as"):
        load_pretrained(network("101x", with_ibn=True), depth="101x", with_ibn=True, with_se=False)


def test_manually_cached_file_is_used_if_its_digits_match(cache):
    cache.mkdir(parents=True)
    imagenet_file(cache / "weights.pth", with_ibn=True)
    name = f"resnet18_ibn_a-{sha256(cache / 'weights.pth')[:8]}.pth"
    (cache / "weights.pth").rename(cache / name)
    published = {"ibn_18x": PublishedWeights(f"https://example.invalid/{name}")}
    options = {"depth": "18x", "with_ibn": True, "with_se": False, "published": published}
    assert load_pretrained(network(with_ibn=True), **options).num_loaded > 80
    (cache / name).write_bytes(b"other")
    with pytest.raises(WeightsError, match="download it again"):
        load_pretrained(network(with_ibn=True), **options)


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


@pytest.mark.parametrize(
    ("torch_home", "cache_home", "folder"),
    [("/a", "/b", "/a/torch/checkpoints"), ("", "/b", "/b/torch/checkpoints"), ("", "", "/h/.cache/torch/checkpoints")],
)
def test_cache_folder_depends_on_the_environment(monkeypatch, torch_home, cache_home, folder):
    for name, value in (("TORCH_HOME", torch_home), ("XDG_CACHE_HOME", cache_home), ("HOME", "/h")):
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == folder
