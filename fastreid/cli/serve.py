"""fastreid serve: answer searches in a collection over HTTP."""

import argparse
import os

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection, add_model
from fastreid.utils.errors import InputError
from fastreid.utils.option_values import ListParser, NumberParser, parse_path

TOKEN_VARIABLE = "FASTREID_TOKEN"
DEMO_COLLECTION = "logs/demo/patents.index"
_MB = 1_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid serve`."""
    add_collection(parser, is_required=False)
    parser.add_argument("--demo", action="store_true", help=f"serve {DEMO_COLLECTION}, which `make demo` makes")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on")
    parser.add_argument(
        "--port",
        type=NumberParser(int, 0, 65535, example="8000"),
        default=8000,
        metavar="N",
        help="port to listen on; 0: a free one",
    )
    add_model(parser, "that of the collection")
    group = parser.add_argument_group("access")
    group.add_argument(
        "--token-file",
        type=parse_path,
        metavar="FILE",
        help=f"file with the token that clients must send (default: that of the environment, {TOKEN_VARIABLE})",
    )
    group.add_argument(
        "--no-token", action="store_true", help="allow an address that other machines can reach without a token"
    )
    group.add_argument(
        "--tls-cert", type=parse_path, metavar="FILE", help="PEM file with the certificate of the server, for https"
    )
    group.add_argument("--tls-key", type=parse_path, metavar="FILE", help="PEM file with its private key")
    names = ListParser("search.example.org")
    group.add_argument(
        "--allow-host",
        type=names,
        default=[],
        metavar="NAME,...",
        help="more names of this server",
    )
    group.add_argument(
        "--trusted-proxy",
        type=ListParser("10.0.0.1"),
        default=[],
        metavar="ADDRESS,...",
        help="proxies whose header X-Forwarded-For has the address of the client",
    )
    group.add_argument(
        "--enable-changes",
        type=parse_path,
        metavar="DIR",
        help="allow clients with the token to add, update and remove drawings; added files are stored in this folder",
    )
    group.add_argument("--no-access-log", action="store_true", help="print no line per request")
    group = parser.add_argument_group("limits")
    count = NumberParser(int, 1, 100_000, example="64")
    seconds, megabytes = NumberParser(float, 1, 3600, example="30"), NumberParser(float, 0.01, 10_000, example="20")
    group.add_argument("--max-picture-mb", type=megabytes, default=20.0, metavar="MB", help="size of a picture")
    group.add_argument("--max-request-mb", type=megabytes, default=50.0, metavar="MB", help="size of a request")
    group.add_argument("--max-concurrent", type=count, default=64, metavar="N", help="requests at the same time")
    group.add_argument("--request-timeout", type=seconds, default=30.0, metavar="S", help="seconds for a request")
    group.add_argument(
        "--requests-per-minute",
        type=NumberParser(int, 0, 1_000_000, example="300"),
        default=300,
        metavar="N",
        help="searches and changes of one client; 20 reads count as one; 0: no limit",
    )
    group.add_argument("--max-batch", type=count, default=8, metavar="N", help="pictures per batch of the network")


def run(args: argparse.Namespace) -> int:
    """Open the collection and serve it until a signal arrives."""
    from fastreid import index
    from fastreid.service import ServiceSettings, serve
    from fastreid.service.settings import read_token
    from fastreid.utils.logger import log_to_stderr

    log_to_stderr()  # stdout has the access log
    if args.demo == (args.collection is not None):
        raise InputError("fastreid serve: give a COLLECTION, or --demo for that of `make demo`")
    if args.demo and not os.path.isdir(DEMO_COLLECTION):
        raise InputError(f"--demo: there is no {DEMO_COLLECTION} in this folder; `make demo` makes it")
    if args.max_picture_mb > args.max_request_mb:
        raise InputError(
            f"--max-picture-mb is {args.max_picture_mb:g}, more than --max-request-mb {args.max_request_mb:g}; "
            "raise the latter"
        )
    settings = ServiceSettings(
        host=args.host,
        port=args.port,
        token=read_token(args.token_file, os.environ.get(TOKEN_VARIABLE, "")),
        needs_no_token=args.no_token,
        tls_cert=args.tls_cert,
        tls_key=args.tls_key,
        allowed_hosts=tuple(args.allow_host),
        trusted_proxies=tuple(args.trusted_proxy),
        uploads=args.enable_changes,
        max_picture_bytes=round(args.max_picture_mb * _MB),
        max_request_bytes=round(args.max_request_mb * _MB),
        max_concurrent=args.max_concurrent,
        requests_per_minute=args.requests_per_minute,
        request_s=args.request_timeout,
        max_batch=args.max_batch,
    )
    serve(
        index.open(args.collection or DEMO_COLLECTION, model=args.model),
        settings,
        has_access_log=not args.no_access_log,
    )
    return 0


COMMAND = Command(
    "serve",
    "Answer searches in a collection over HTTP: REST API and search page.",
    "fastreid serve patents.index --port 8000",
    add_options,
    run,
)
