"""Weights of timm networks from the Hugging Face hub, by timm's own loader.

The environment variables of the hub's client apply: HF_HUB_OFFLINE=1 uses only files that are in the cache, HF_ENDPOINT
is a mirror, HF_HOME is the folder of the cache, HF_TOKEN gives access to restricted networks.
"""

import contextlib
import functools
import importlib
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

from fastreid.modeling.backbones.timm_backbone import TimmBackbone
from fastreid.modeling.backbones.timm_network import import_timm, read_timm_description
from fastreid.modeling.weights import LoadReport
from fastreid.utils.errors import InputError, StorageError, WeightsError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import summarize_error

CONNECTION_TIMEOUT_S = 10
SCHEME = "hf-hub:"  # MODEL.BACKBONE.PRETRAIN_PATH hf-hub:OWNER/NAME@REVISION
_ADDRESS = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_MISMATCHES = (RuntimeError, KeyError, ValueError, AssertionError)  # of timm, if a file does not fit the network
_CLIENTS = ("huggingface_hub", "timm")  # loggers
_MISSING_FILE = ("RemoteEntryNotFoundError", "EntryNotFoundError")  # of a repository that exists; names by version
_REASONS = {  # class of an error of the hub's client -> what to write; the first one in the chain of causes counts
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set",
    "GatedRepoError": "access is restricted; set HF_TOKEN",
    "RepositoryNotFoundError": "there is no such repository, or it needs HF_TOKEN",
    "RevisionNotFoundError": "the repository has no such revision",
    **dict.fromkeys(_MISSING_FILE, "the repository has no weights of timm"),
}


def load_from_hub(backbone: TimmBackbone, path: str = "") -> LoadReport:
    """Load the weights of a timm network from the hub, or from the hub's cache on this machine.

    Args:
        backbone: the network.
        path: `hf-hub:OWNER/NAME`, or `hf-hub:OWNER/NAME@REVISION` for a fixed commit; "": the weights that timm has for
            the network's name.

    Raises:
        InputError: as `find_source`.
        StorageError: the weights are neither in the cache nor can they be downloaded.
        WeightsError: the weights do not match the network.
    """
    source = find_source(backbone.name, path)
    get_logger().info(f"loading weights of {backbone.name} from {source}")
    if _ADDRESS.fullmatch(source):
        _check_connection(source, "model.safetensors", what="the weights")
    overlay = {"pretrained_cfg_overlay": {"hf_hub_id": source, "source": "hf-hub"}} if path else {}
    try:
        with _silence_clients():
            loaded = import_timm().create_model(backbone.name, pretrained=True, **backbone.options, **overlay)
    except _MISMATCHES as error:
        if isinstance(error, OSError):  # some of the hub's errors are both
            raise _describe_download(f"{source}: the weights", error) from error
        raise WeightsError(
            f"{source}: weights do not match {backbone.name} ({summarize_error(error)[:160]}); choose another "
            "MODEL.BACKBONE.TIMM_NAME"
        ) from error
    except Exception as error:  # the hub's client has errors of several packages
        raise _describe_download(f"{source}: the weights", error) from error
    state = loaded.state_dict()
    backbone.body.load_state_dict(state)
    return LoadReport(len(state), len(state))


def find_source(name: str, path: str = "") -> str:
    """Return the repository, or the URL, from which `load_from_hub` loads weights; nothing is downloaded.

    Args:
        name: name of the timm network.
        path: as for `load_from_hub`.

    Raises:
        InputError: the path has another form, or timm knows no weights for the network.
    """
    description = read_timm_description(name)
    source = _parse_address(path) if path else description.get("hf_hub_id") or description.get("url")
    if not source:
        raise InputError(
            f"timm has no weights for {name}; set MODEL.BACKBONE.PRETRAIN_PATH to a file, or PRETRAIN to False"
        )
    return str(source)


@functools.cache
def read_repository_description(path: str) -> dict[str, Any]:
    """Return the description of the weights in a repository, as `read_timm_description`; {} if it has none of timm.

    Args:
        path: `hf-hub:OWNER/NAME` or `hf-hub:OWNER/NAME@REVISION`.

    Raises:
        InputError: the path has another form.
        StorageError: the file `config.json` is neither in the cache nor can it be downloaded.
    """
    address = _parse_address(path)
    _check_connection(address, "config.json", what="the pixel statistics (config.json)")
    try:
        with _silence_clients():
            description, *_ = import_timm().models.load_model_config_from_hf(address)
    except Exception as error:  # the hub's client has errors of several packages
        is_foreign = isinstance(error, (*_MISMATCHES, TypeError, AttributeError)) and not isinstance(error, OSError)
        if is_foreign or _name_class(error) in _MISSING_FILE:
            return {}  # no config.json, or one of another library
        raise _describe_download(f"{address}: the pixel statistics (config.json)", error) from error
    return dict(description)


def _parse_address(path: str) -> str:
    address = path.removeprefix(SCHEME)
    if not _ADDRESS.fullmatch(address):
        raise InputError(
            f"MODEL.BACKBONE.PRETRAIN_PATH is {path}; an address of the hub is {SCHEME}OWNER/NAME, or "
            f"{SCHEME}OWNER/NAME@REVISION"
        )
    return address


def _check_connection(address: str, name: str, *, what: str) -> None:
    """Raise a StorageError if no snapshot of a repository is in the cache and the hub cannot be reached.

    The client repeats each failed request for 23 s, and timm requests several names. Any answer is left to timm.
    """
    huggingface_hub = importlib.import_module("huggingface_hub")
    repository, _, revision = address.partition("@")
    url = huggingface_hub.hf_hub_url(repository, name, revision=revision or None)
    try:
        with _silence_clients():
            huggingface_hub.snapshot_download(repository, revision=revision or None, local_files_only=True)
        return
    except Exception:  # not in the cache; the class depends on the version
        pass
    try:
        with _silence_clients():
            huggingface_hub.get_hf_file_metadata(url, timeout=CONNECTION_TIMEOUT_S)
    except Exception as error:  # the hub's client has errors of several packages
        causes = _list_causes(error)
        if not any(_find_status(cause) or _name_class(cause) in _REASONS for cause in causes):
            raise _describe_download(f"{address}: {what}", error) from error


@contextlib.contextmanager
def _silence_clients() -> Iterator[None]:
    """Silence the warnings of the hub's client and of timm about every retry; the error at the end is one line."""
    loggers = [logging.getLogger(name) for name in _CLIENTS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _describe_download(what: str, error: Exception) -> StorageError:
    causes = _list_causes(error)
    reason = next(filter(None, (_REASONS.get(_name_class(cause)) for cause in causes)), "")
    status = next((code for cause in causes if (code := _find_status(cause))), 0)
    reason = reason or (f"the server answers with status {status}" if status else summarize_error(causes[-1])[:160])
    return StorageError(
        f"{what} are not in the cache and cannot be downloaded ({reason}); set HF_ENDPOINT to a mirror, "
        "or set MODEL.BACKBONE.PRETRAIN_PATH to a file or package: see fastreid models list"
    )


def _list_causes(error: Exception) -> list[Exception]:
    """Return an error and the errors that caused it; the last one was raised first."""
    causes = [error]
    while isinstance(cause := causes[-1].__cause__ or causes[-1].__context__, Exception) and cause not in causes:
        causes.append(cause)
    return causes


def _find_status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0))


def _name_class(error: Exception) -> str:
    return type(error).__name__
