"""Tokens, names of the server, pages of other sites, and the access log."""

import json

import pytest
from service_requests import get_error, start_client

from fastreid.service import ServiceSettings
from fastreid.service.auth import split_port
from fastreid.service.settings import check_packages, is_loopback, read_token
from fastreid.utils.errors import EnvironmentSetupError, InputError

TOKEN = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def lines():
    return []


@pytest.fixture(scope="module")
def protected(collection_folder, lines):
    options = {"token": TOKEN, "allowed_hosts": ("search.example.org",), "log": lines.append}
    with start_client(collection_folder, **options) as client:
        yield client


def test_token_protects_the_api_and_the_metrics(protected, picture):
    for path in ("/api/v1/collection", "/api/v1/drawings/x/image", "/api/v1/none", "/metrics", "/metrics/"):
        for header in (None, "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", "Bearer \u00e9"):
            headers = {} if header is None else {"Authorization": header.encode("utf-8")}
            response = protected.get(path, headers=headers)
            get_error(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
    get_error(protected.post("/api/v1/search", files=[picture.part]), 401, "unauthorized")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert protected.get("/api/v1/collection", headers=headers).json()["needs_token"] is True
    assert protected.get("/metrics", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
    assert protected.post("/api/v1/search", files=[picture.part], headers=headers).status_code == 200
    for path in ("/", "/page.js", "/docs", "/openapi.json", "/healthz", "/readyz"):
        assert protected.get(path).status_code == 200


def test_only_names_of_the_server_are_answered(protected):
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000", "10.1.2.3", "search.example.org"):
        assert protected.get("/healthz", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example", "", "[::1", "localhost:x", "a b"):
        get_error(protected.get("/healthz", headers={"Host": host}), 421, "wrong_host")
    assert (split_port("[::1]:8000"), split_port("a:80"), split_port("a:b:c")) == ("::1", "a", "")


def test_pages_of_other_sites_cannot_send_searches(client, picture):
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1.evil.example"):
        response = client.post("/api/v1/search", files=[picture.part], headers={"Origin": origin})
        get_error(response, 403, "forbidden")
    response = client.post("/api/v1/search", files=[picture.part], headers={"Origin": "http://127.0.0.1"})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


def test_access_log_has_no_content_of_requests(protected, lines, picture):
    lines.clear()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    files = [("pictures", ("secret-name.png", picture.content))]
    protected.post("/api/v1/search?secret=1", files=files, headers=headers)
    protected.get("/api/v1/drawings/secret-id", headers=headers)
    protected.get("/api/v1/secret", headers=headers)
    entries = [json.loads(line) for line in lines]
    assert [(entry["method"], entry["route"], entry["status"]) for entry in entries] == [
        ("POST", "/api/v1/search", 200),
        ("GET", "/api/v1/drawings/{name:path}", 404),
        ("GET", "none", 404),
    ]
    assert all(entry.keys() == {"time", "method", "route", "status", "ms", "client"} for entry in entries)
    assert "secret" not in "".join(lines)
    assert TOKEN not in "".join(lines)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": "0.0.0.0"}, "--host 0.0.0.0 can be reached from other machines"),
        ({"host": "::"}, "can be reached from other machines"),
        ({"host": "search.example.org"}, "can be reached from other machines"),
        ({"token": "short"}, "at least 16 ASCII characters"),
        ({"token": "a b" * 10}, "without spaces"),
        ({"uploads": "folder"}, "--enable-changes needs a token"),
        ({"trusted_proxies": ("proxy",)}, "--trusted-proxy 'proxy' is invalid"),
    ],
)
def test_unsafe_settings_are_rejected(settings, message):
    with pytest.raises(InputError, match=message):
        ServiceSettings(**settings)


def test_safe_settings_are_accepted(tmp_path):
    for settings in ({"host": "localhost"}, {"host": "::1"}, {"host": "0.0.0.0", "token": TOKEN}):
        ServiceSettings(**settings)
    assert ServiceSettings(host="0.0.0.0", needs_no_token=True).token == ""
    assert is_loopback("127.5.0.1")
    assert not is_loopback("localhost.example.org")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token", "other") == TOKEN
    assert read_token(None, f" {TOKEN} ") == TOKEN
    (tmp_path / "token").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_token(tmp_path / "token", "")
    with pytest.raises(InputError, match="cannot be read"):
        read_token(tmp_path / "absent", "")


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(EnvironmentSetupError, match="fastreid serve needs uvicorn: pip install"):
        check_packages()
