"""Weights of timm networks from the Hugging Face hub, by timm's own loader.

The environment variables of the hub's client apply: HF_HUB_OFFLINE=1 uses only files that are in the cache, HF_ENDPOINT
is a mirror, HF_HOME is the folder of the cache, HF_TOKEN gives access to restricted networks.
"""

import re

from fastreid.modeling.backbones.timm_backbone import TimmBackbone
from fastreid.modeling.backbones.timm_network import import_timm, read_timm_description
from fastreid.modeling.weights import LoadReport
from fastreid.utils.errors import InputError, StorageError, WeightsError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import summarize_error

SCHEME = "hf-hub:"  # MODEL.BACKBONE.PRETRAIN_PATH hf-hub:OWNER/NAME@REVISION
_ADDRESS = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_MISMATCHES = (RuntimeError, KeyError, ValueError, AssertionError)  # of timm, if a file does not fit the network


def load_from_hub(backbone: TimmBackbone, path: str = "") -> LoadReport:
    """Load the weights of a timm network from the hub, or from the hub's cache on this machine.

    Args:
        backbone: the network.
        path: `hf-hub:OWNER/NAME`, or `hf-hub:OWNER/NAME@REVISION` for a fixed commit; "": the weights that timm has for
            the network's name.

    Raises:
        InputError: the path has another form, or timm knows no weights for the network.
        StorageError: the weights are neither in the cache nor can they be downloaded.
        WeightsError: the weights do not match the network.
    """
    address = path.removeprefix(SCHEME)
    if path and not _ADDRESS.fullmatch(address):
        raise InputError(
            f"MODEL.BACKBONE.PRETRAIN_PATH is {path}; an address of the hub is {SCHEME}OWNER/NAME, or "
            f"{SCHEME}OWNER/NAME@REVISION"
        )
    description = read_timm_description(backbone.name)
    source = address or description.get("hf_hub_id") or description.get("url") or ""
    if not source:
        raise InputError(
            f"timm has no weights for {backbone.name}; set MODEL.BACKBONE.PRETRAIN_PATH to a file, or PRETRAIN to False"
        )
    get_logger().info(f"loading weights of {backbone.name} from {source}")
    overlay = {"pretrained_cfg_overlay": {"hf_hub_id": address, "source": "hf-hub"}} if address else {}
    try:
        loaded = import_timm().create_model(backbone.name, pretrained=True, **backbone.options, **overlay)
    except _MISMATCHES as error:
        if isinstance(error, OSError):  # some of the hub's errors are both
            raise _describe_download(source, error) from error
        raise WeightsError(
            f"{source}: weights do not match {backbone.name} ({summarize_error(error)[:160]}); choose another "
            "MODEL.BACKBONE.TIMM_NAME"
        ) from error
    except Exception as error:  # the hub's client has errors of several packages
        raise _describe_download(source, error) from error
    state = loaded.state_dict()
    backbone.body.load_state_dict(state)
    return LoadReport(len(state), len(state))


def _describe_download(source: str, error: Exception) -> StorageError:
    return StorageError(
        f"{source}: the weights are not in the cache and cannot be downloaded ({summarize_error(error)[:160]}); set "
        "HF_ENDPOINT to a mirror, or set MODEL.BACKBONE.PRETRAIN_PATH to a file or package: see fastreid models list"
    )
