"""Downloads of weights from a local server: digests, mirrors, proxies, several processes, and every failure."""

import hashlib
import itertools
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

import pytest
from weights_files import LOCAL_HOSTS, files_in, imagenet_file, network, sha256

from fastreid.modeling.backbones import download
from fastreid.modeling.backbones.download import download_file
from fastreid.modeling.backbones.pretrained import PublishedWeights, cache_folder, load_pretrained
from fastreid.utils.errors import EnvironmentSetupError, InputError, StorageError, WeightsError

pytestmark = pytest.mark.usefixtures("cache")


def test_published_file_is_downloaded_once(server, cache):
    folder, url, _ = server
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
    assert files_in(cache) == ["resnet18.pth"]


def test_progress_of_a_download_is_logged_in_megabytes(server, cache, monkeypatch, caplog):
    folder, url, _ = server
    (folder / "w.pth").write_bytes(bytes(2_500_000))
    seconds = itertools.count(step=31)
    monkeypatch.setattr("fastreid.utils.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with caplog.at_level("INFO", logger="fastreid"):
        download_file(f"{url}/w.pth", cache / "w.pth", sha256=sha256(folder / "w.pth"), plain_http_hosts=LOCAL_HOSTS)
    assert caplog.messages[1].startswith("downloading w.pth: 0 of 2 MB")
    assert re.fullmatch(r"downloading w\.pth: 2 of 2 MB, [\d.]+ MB per s, 0:00:00 left", caplog.messages[-1])


def test_damaged_cached_file_is_downloaded_again(server, cache):
    folder, url, _ = server
    (folder / "w.pth").write_bytes(b"right")
    cache.mkdir(parents=True)
    (cache / "w.pth").write_bytes(b"wrong")
    download_file(f"{url}/w.pth", cache / "w.pth", sha256=sha256(folder / "w.pth"), plain_http_hosts=LOCAL_HOSTS)
    assert (cache / "w.pth").read_bytes() == b"right"


def test_tampered_download_raises_and_leaves_no_file(server, cache):
    folder, url, _ = server
    (folder / "w.pth").write_bytes(b"tampered")
    with pytest.raises(WeightsError, match="expected 0000"):
        download_file(f"{url}/w.pth", cache / "w.pth", sha256="0" * 64, plain_http_hosts=LOCAL_HOSTS)
    assert files_in(cache) == []


def test_oversized_download_is_stopped(server, cache, monkeypatch):
    folder, url, _ = server
    (folder / "w.pth").write_bytes(b"x" * 1000)
    monkeypatch.setattr(download, "MAX_BYTES", 999)
    with pytest.raises(StorageError, match="more than 999 bytes"):
        download_file(f"{url}/w.pth", cache / "w.pth", sha256=sha256(folder / "w.pth"), plain_http_hosts=LOCAL_HOSTS)
    assert files_in(cache) == []


def test_missing_file_and_unreachable_server_raise(server, tmp_path):
    for url in (f"{server.url}/none.pth", "http://127.0.0.1:9/w.pth"):
        with pytest.raises(StorageError, match="download failed"):
            download_file(url, tmp_path / "w.pth", sha256="0" * 64, plain_http_hosts=LOCAL_HOSTS)


def test_http_links_and_redirects_raise(server, tmp_path):
    with pytest.raises(InputError, match="only https"):
        download_file(f"{server.url}/w.pth", tmp_path / "w.pth", sha256="0" * 64)
    with pytest.raises(InputError, match=r"example\.invalid/weights\.pth: only https"):
        download_file(f"{server.url}/redirect", tmp_path / "w.pth", sha256="0" * 64, plain_http_hosts=LOCAL_HOSTS)


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


def published_by_start(server):
    """Serve a file of resnet18 with IBN under its published name; return the table of published files."""
    imagenet_file(server.folder / "weights.pth", with_ibn=True)
    name = f"resnet18_ibn_a-{sha256(server.folder / 'weights.pth')[:8]}.pth"
    (server.folder / "weights.pth").rename(server.folder / name)
    return name, {"ibn_18x": PublishedWeights(f"{server.url}/{name}")}


def load_ibn(published, **options):
    model = network(with_ibn=True)
    return load_pretrained(model, depth="18x", with_ibn=True, with_se=False, published=published, **options)


def test_file_with_eight_known_digits_is_downloaded_and_its_digest_logged(server, cache, logged_lines):
    name, published = published_by_start(server)
    assert load_ibn(published, plain_http_hosts=LOCAL_HOSTS).num_loaded > 80
    assert files_in(cache) == [name]
    digest = sha256(cache / name)
    assert logged_lines == [
        f"downloading {server.url}/{name} to {cache / name}",
        f"{cache / name}: sha256 {digest}",
    ]
    load_ibn(published)
    assert server.httpd.num_requests == 1


def test_download_with_other_digits_raises_and_leaves_no_file(server, cache):
    (server.folder / "resnet18_ibn_a-2f571257.pth").write_bytes(b"tampered")
    published = {"ibn_18x": PublishedWeights(f"{server.url}/resnet18_ibn_a-2f571257.pth")}
    with pytest.raises(WeightsError, match=r"has sha256 \w{64}, expected 2f571257"):
        load_ibn(published, plain_http_hosts=LOCAL_HOSTS)
    assert files_in(cache) == []


def test_mirror_replaces_the_host(server, cache, monkeypatch):
    name, _ = published_by_start(server)
    published = {"ibn_18x": PublishedWeights(f"https://example.invalid/releases/{name}")}
    monkeypatch.setenv("FASTREID_WEIGHTS_MIRROR", f"{server.url}/")
    assert load_ibn(published).num_loaded > 80
    monkeypatch.setenv("FASTREID_WEIGHTS_MIRROR", "http://example.invalid")
    (cache / name).unlink()
    with pytest.raises(InputError, match="only https"):
        load_ibn(published)


def test_file_of_torch_hub_is_used(server, cache):
    name, published = published_by_start(server)
    hub = cache.parents[1] / "hub/checkpoints"
    hub.mkdir(parents=True)
    (server.folder / name).rename(hub / name)
    assert load_ibn(published).num_loaded > 80
    assert not cache.exists()


def test_wrong_cached_file_is_not_used(server, cache):
    name, published = published_by_start(server)
    for folder in (cache, cache.parents[1] / "hub/checkpoints"):
        folder.mkdir(parents=True)
        (folder / name).write_bytes(b"other")
    assert load_ibn(published, plain_http_hosts=LOCAL_HOSTS).num_loaded > 80
    (cache / name).write_bytes(b"other")
    (server.folder / name).unlink()
    with pytest.raises(StorageError, match="404"):
        load_ibn(published, plain_http_hosts=LOCAL_HOSTS)


def test_truncated_download_is_explained(server, cache):
    with pytest.raises(StorageError, match=r"closed after 60 of 100 bytes\); try again, .* save it as .*w\.pth"):
        download_file(f"{server.url}/truncated", cache / "w.pth", sha256_start="0" * 8, plain_http_hosts=LOCAL_HOSTS)
    assert files_in(cache) == []


def test_server_that_stops_sending_is_an_error(server, cache, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    with pytest.raises(StorageError, match=r"timed out"):
        download_file(f"{server.url}/stuck", cache / "w.pth", sha256_start="0" * 8, plain_http_hosts=LOCAL_HOSTS)
    assert files_in(cache) == []


def test_proxy_of_the_environment_is_used(server, cache, monkeypatch):
    (server.folder / "w.pth").write_bytes(b"by proxy")
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    url, digest = "http://weights.example.invalid/w.pth", hashlib.sha256(b"by proxy").hexdigest()
    monkeypatch.setattr(
        server.httpd.RequestHandlerClass.func, "translate_path", lambda self, path: str(server.folder / "w.pth")
    )
    download_file(url, cache / "w.pth", sha256=digest, plain_http_hosts=("weights.example.invalid",))
    assert (cache / "w.pth").read_bytes() == b"by proxy"


def test_one_of_several_downloads_the_file(server, cache):
    (server.folder / "w.pth").write_bytes(b"x" * 10_000_000)
    digest, options = sha256(server.folder / "w.pth"), {"plain_http_hosts": LOCAL_HOSTS}
    with ThreadPoolExecutor(4) as pool:
        for future in [
            pool.submit(download_file, f"{server.url}/w.pth", cache / "w.pth", sha256=digest, **options)
            for _ in range(4)
        ]:
            assert future.result() == cache / "w.pth"
    assert server.httpd.num_requests == 1
    assert files_in(cache) == ["w.pth"]


def test_killed_download_leaves_no_file_and_starts_again(server, cache):
    code = (
        "from pathlib import Path; from fastreid.modeling.backbones.download import download_file; "
        f"download_file('{server.url}/stuck', Path('{cache}') / 'w.pth', sha256_start='0' * 8, "
        "plain_http_hosts=('127.0.0.1',))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not (cache.is_dir() and files_in(cache)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert len(files_in(cache)) == 1
    assert not (cache / "w.pth").exists()
    (server.folder / "w.pth").write_bytes(b"right")
    digest = sha256(server.folder / "w.pth")
    download_file(f"{server.url}/w.pth", cache / "w.pth", sha256=digest, plain_http_hosts=LOCAL_HOSTS)
    assert files_in(cache) == ["w.pth"]


@pytest.mark.parametrize(
    ("torch_home", "cache_home", "folder"),
    [("/a", "/b", "/a/torch/checkpoints"), ("", "/b", "/b/torch/checkpoints"), ("", "", "/h/.cache/torch/checkpoints")],
)
def test_cache_folder_depends_on_the_environment(monkeypatch, torch_home, cache_home, folder):
    for name, value in (("TORCH_HOME", torch_home), ("XDG_CACHE_HOME", cache_home), ("HOME", "/h")):
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == folder
