"""Create networks of timm (PyTorch Image Models), an optional dependency."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from fastreid.utils.errors import EnvironmentSetupError, InputError, suggest_nearest
from fastreid.utils.text import summarize_error

_ANY_SIZE = {"dynamic_img_size": True}  # interpolate position embeddings, or pad the windows, for other image sizes
_OWN_POOLING: tuple[Mapping[str, str], ...] = ({"global_pool": ""}, {})  # families such as CoaT accept only their own


def check_timm_name(name: str) -> None:
    """Check that timm has a network of this name.

    Raises:
        EnvironmentSetupError: timm is not installed.
        InputError: the model is unknown; the message has the nearest name.
    """
    timm = import_timm()
    if not name or not timm.is_model(name):
        hint = suggest_nearest(name, timm.list_models()) if name else ""
        raise InputError(
            f"MODEL.BACKBONE.TIMM_NAME '{name}' is not a timm model; set it to one of timm.list_models().{hint}"
        )


def read_timm_description(name: str) -> dict[str, Any]:
    """Return timm's description of a network: `mean` and `std` (levels 0..1), `input_size` (C, H, W) and others.

    Raises:
        EnvironmentSetupError: timm is not installed.
        InputError: the model is unknown.
    """
    check_timm_name(name)
    description = import_timm().get_pretrained_cfg(name)
    return {} if description is None else dict(description.to_dict())


def create_timm_network(name: str, *, drop_path: float = 0.0) -> tuple[Any, dict[str, Any]]:
    """Create a network of timm without classifier, pooling and weights, for any image size that it supports.

    Args:
        name: a name of `timm.list_models()`.
        drop_path: see `TimmBackbone`.

    Returns:
        The network, and the options of `timm.create_model` that it was created with.

    Raises:
        InputError: timm cannot create it, or it has no stochastic depth.
    """
    timm = import_timm()
    rate = {"drop_path_rate": drop_path} if drop_path else {}
    error: Exception | None = None
    for size in (_ANY_SIZE, {}):
        for pooling in _OWN_POOLING:
            options = {"num_classes": 0, **pooling, **size, **rate}
            try:
                return timm.create_model(name, pretrained=False, **options), options
            except Exception as caught:  # networks of timm fail in many ways, for example if a package is missing
                error = caught  # of the last try, with the fewest options
    reason = summarize_error(error or Exception())[:160]
    if "drop_path_rate" in reason:
        raise InputError(f"MODEL.BACKBONE.DROP_PATH is {drop_path:g}, but {name} has no stochastic depth; set it to 0")
    raise InputError(
        f"MODEL.BACKBONE.TIMM_NAME {name}: timm cannot create the network ({reason}); choose another one"
    ) from error


def read_map_dims(body: Any) -> tuple[int, ...]:
    """Return the channels of the feature maps that timm can return from inside a network; empty: none."""
    info = getattr(body, "feature_info", None)
    if not hasattr(body, "forward_intermediates") or not info:
        return ()
    return tuple(int(entry["num_chs"]) for entry in info)


def enable_checkpointing(body: Any, name: str) -> None:
    """Recompute activations in the backward pass.

    Raises:
        InputError: timm does not support it for this network.
    """
    try:
        body.set_grad_checkpointing(True)
    except Exception as error:  # timm asserts, or the network has no such method
        raise InputError(
            f"MODEL.BACKBONE.GRADIENT_CHECKPOINTING: timm does not support it for {name}; set it to False"
        ) from error


def import_timm() -> ModuleType:
    """Import timm.

    Raises:
        EnvironmentSetupError: it is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise EnvironmentSetupError("build_timm_backbone needs timm: pip install timm") from error
