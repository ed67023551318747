"""The connection to a Milvus server: the token, with and without TLS."""

import base64
import os
from concurrent import futures

import pytest
from certificates import make_certificate

import fastreid.index
from fastreid.index.backends.milvus_client import TOKEN_VARIABLE
from fastreid.utils.errors import EnvironmentSetupError, StorageError

pytest.importorskip("pymilvus", reason="the extra `milvus` is not installed")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_token_is_sent_and_checked(monkeypatch, caplog, tmp_path, scheme):
    grpc = pytest.importorskip("grpc")
    tokens = []

    class Service(grpc.GenericRpcHandler):
        def service(self, call):
            tokens.append(dict(call.invocation_metadata).get("authorization", ""))
            is_valid = tokens[-1] == base64.b64encode(b"right").decode()
            code = grpc.StatusCode.UNIMPLEMENTED if is_valid else grpc.StatusCode.UNAUTHENTICATED
            message = "no such method" if is_valid else "auth check failure, please check api key is correct"
            return grpc.unary_unary_rpc_method_handler(lambda request, context: context.abort(code, message))

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Service()])
    if scheme == "https":
        certificate, key = make_certificate(tmp_path)
        pair = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
        port = server.add_secure_port("127.0.0.1:0", pair)
        monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(certificate))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    address = f"{scheme}://127.0.0.1:{port}/a"
    server.start()
    try:
        monkeypatch.setenv(TOKEN_VARIABLE, "secret")
        with pytest.raises(EnvironmentSetupError, match=f"token is missing or wrong; set .*{TOKEN_VARIABLE}"):
            fastreid.index.open(address)
        monkeypatch.setenv(TOKEN_VARIABLE, "right\n")
        with pytest.raises(StorageError, match="Received UNIMPLEMENTED"):
            fastreid.index.open(address)
    finally:
        server.stop(0).wait()
    assert tokens[0] == base64.b64encode(b"secret").decode()
    assert "secret" not in caplog.text
    assert os.environ[TOKEN_VARIABLE]
