"""Backbones of timm (PyTorch Image Models), an optional dependency."""

import copy
import functools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastreid.modeling.backbones.timm_network import (
    check_timm_name,
    create_timm_network,
    enable_checkpointing,
    import_timm,
    read_map_dims,
)
from fastreid.utils.errors import InputError, describe_unknown

Tokens = Literal["class", "patches", "both"]


def _store(captured: dict[str, Any], name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
    captured[name] = output


class TimmBackbone(nn.Module):
    """A timm network without its classifier; it returns maps (B, C, H, W), vectors (B, C), or a list of these.

    Networks with channels last, such as Swin, are permuted. Networks with position embeddings accept images of other
    sizes, by interpolation, if timm supports that; their parameters keep the shapes of the pretrained network.

    Args:
        name: timm model name, such as "convnext_tiny".
        out_index: which outputs are the features: numbers of timm's feature maps, and one more for the output of the
            whole network; -1 is that output. Empty: that output. Several, in ascending order, give a list.
        out_modules: instead of `out_index`, names of modules inside the network whose outputs are the features, such as
            "blocks.5"; the list has their order.
        tokens: features of a transformer: "class" token as vectors (all patches if it has none), "patches" as maps, or
            "both" as a list.
        drop_path: probability 0..1 of skipping the last block in training (stochastic depth); earlier blocks less.
        gradient_checkpointing: recompute activations in the backward pass.
        norm: batch norms: "BN" (as the network has them), "syncBN" (statistics over all processes) or "FrozenBN"
            (pretrained statistics and parameters stay as they are).

    Attributes:
        options: options of `timm.create_model` that create the same network.
        feature_dim: floats per drawing after pooling: the channels of all outputs.

    Raises:
        EnvironmentSetupError: timm is not installed.
        InputError: the model is unknown or cannot be created, or does not support an option; when called: its features
            are neither maps nor tokens.
    """

    def __init__(
        self,
        name: str,
        *,
        out_index: Sequence[int] = (),
        out_modules: Sequence[str] = (),
        tokens: Tokens = "class",
        drop_path: float = 0.0,
        gradient_checkpointing: bool = False,
        norm: str = "BN",
    ):
        super().__init__()
        check_timm_name(name)
        self.name = name
        self.body, self.options = create_timm_network(name, drop_path=drop_path)
        self.tokens = tokens
        self._map_dims = read_map_dims(self.body)
        if out_index and out_modules:
            raise InputError("set only one of MODEL.BACKBONE.OUT_INDEX and OUT_MODULES")
        if len(set(out_modules)) < len(out_modules):
            raise InputError(f"MODEL.BACKBONE.OUT_MODULES is {list(out_modules)}; each module can be used once")
        self.out_index = self._resolve(out_index)
        self.out_modules = tuple(out_modules)
        self._module_dims: dict[str, int] = {}
        self._channels_last: set[str] = set()
        if out_modules:
            self.feature_dim: int = self._find_module_dims()
        else:
            self.feature_dim = sum(self._output_dim(index) for index in self.out_index)
        if gradient_checkpointing:
            enable_checkpointing(self.body, name)
        self._has_frozen_norms = norm == "FrozenBN"
        if norm == "syncBN":
            self.body = import_timm().layers.convert_sync_batchnorm(self.body)
        elif norm not in ("BN", "FrozenBN"):
            raise InputError(
                f"MODEL.BACKBONE.NORM is {norm}; a timm network keeps its norms: use BN, syncBN or FrozenBN"
            )
        if norm != "BN" and not self._batch_norms():
            raise InputError(f"MODEL.BACKBONE.NORM is {norm}, but {name} has no batch norm; set it to BN")
        if self._has_frozen_norms:
            for module in self._batch_norms():
                module.requires_grad_(False)

    @property
    def own_size_px(self) -> tuple[int, int] | None:
        """Size (H, W) for which timm designed the network; None if unknown."""
        size = (getattr(self.body, "default_cfg", None) or {}).get("input_size")
        return (int(size[-2]), int(size[-1])) if size else None

    @property
    def stages(self) -> dict[str, tuple[str, ...]]:
        """Groups of parameters for layer-wise learning rates: name -> parameters, in order from the input.

        The groups are those of timm; the first is the stem, the others are layer1, layer2 and so on.

        Raises:
            InputError: timm has no groups for the network.
        """
        try:
            groups = import_timm().models.group_parameters(self.body, self.body.group_matcher(coarse=False))
        except Exception as error:  # timm raises several kinds for networks without groups
            raise InputError(
                f"SOLVER.LAYER_DECAY and STAGE_FACTORS: timm defines no layers for {self.name}; "
                "set LAYER_DECAY to 1 and remove STAGE_FACTORS"
            ) from error
        return {
            f"layer{number}" if number else "stem": tuple(f"body.{name}" for name in groups[key])
            for number, key in enumerate(sorted(groups))
        }

    def train(self, mode: bool = True) -> "TimmBackbone":
        """Set the mode; frozen batch norms stay in evaluation mode."""
        super().train(mode)
        if self._has_frozen_norms:
            for module in self._batch_norms():
                module.eval()
        return self

    def _batch_norms(self) -> list[nn.Module]:
        return [module for module in self.body.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        features = self._compute_features(images)
        return features[0] if len(features) == 1 else features

    def _compute_features(self, images: Tensor) -> list[Tensor]:
        if self.out_modules:
            captured = self._run_to_modules(images)
            outputs = [(self._to_nchw(name, captured[name]), self._module_dims[name]) for name in self.out_modules]
        else:
            by_index = self._run(images)
            outputs = [(by_index[index], self._channels(index)) for index in self.out_index]
        return [part for output, num_channels in outputs for part in self._select(output, num_channels, images)]

    def _run(self, images: Tensor) -> dict[int, Any]:
        """Return the outputs of the network by their index."""
        last = len(self._map_dims)
        maps = [index for index in self.out_index if index < last]
        if not maps:
            return {last: self.body.forward_features(images)}
        if last not in self.out_index:
            only = self.body.forward_intermediates(images, indices=maps, output_fmt="NCHW", intermediates_only=True)
            return dict(zip(maps, only, strict=True))
        output, intermediates = self.body.forward_intermediates(images, indices=maps, output_fmt="NCHW")
        return dict(zip(maps, intermediates, strict=True)) | {last: output}

    def _run_to_modules(self, images: Tensor) -> dict[str, Any]:
        """Return the outputs of `out_modules` in a forward pass."""
        captured: dict[str, Any] = {}
        handles = [
            self.body.get_submodule(name).register_forward_hook(functools.partial(_store, captured, name))
            for name in self.out_modules
        ]
        try:
            self.body.forward_features(images)
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in self.out_modules if name not in captured]
        if missing:
            raise InputError(
                f"MODEL.BACKBONE.OUT_MODULES: {self.name} does not use {', '.join(missing)}; choose another module"
            )
        return captured

    def _find_module_dims(self) -> int:
        """Find the channels of each of `out_modules`, by forward passes on torch's meta device; return their sum.

        The axis of the channels does not depend on the height of the images.
        """
        known = dict(self.body.named_modules())
        for name in self.out_modules:
            if name not in known:
                shallow = [module for module in known if module and module.count(".") < 2]
                raise InputError(describe_unknown("MODEL.BACKBONE.OUT_MODULES", name, shallow))
        network = copy.copy(self)
        network._modules = {"body": copy.deepcopy(self.body).to("meta").eval()}
        height, width = self.own_size_px or (224, 224)
        images = torch.zeros(1, 3, height, width, device="meta")
        with torch.no_grad():
            outputs = network._run_to_modules(images)
            try:
                others = network._run_to_modules(torch.zeros(1, 3, 2 * height, width, device="meta"))
            except Exception:  # networks of a fixed size reject the images in many ways
                others = {}
        for name, output in outputs.items():
            if not isinstance(output, Tensor) or output.ndim not in (3, 4):
                raise InputError(
                    f"MODEL.BACKBONE.OUT_MODULES: {name} of {self.name} returns neither a map nor tokens; "
                    "choose another module"
                )
            is_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
            if name in others:
                is_last = others[name].shape[1] != output.shape[1]
            if output.ndim == 4 and is_last:
                self._channels_last.add(name)
            self._module_dims[name] = output.shape[-1] if output.ndim == 3 or is_last else output.shape[1]
        parts = [
            part
            for name in self.out_modules
            for part in self._select(self._to_nchw(name, outputs[name]), self._module_dims[name], images)
        ]
        return sum(part.shape[1] for part in parts)

    def _to_nchw(self, name: str, output: Any) -> Any:
        """Return the output of a module with the channels in front."""
        return output.permute(0, 3, 1, 2) if name in self._channels_last else output

    def _select(self, output: Any, num_channels: int, images: Tensor) -> list[Tensor]:
        """Return the features of an output as maps and vectors."""
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[1] == num_channels:
            return [output]
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[3] == num_channels:
            return [output.permute(0, 3, 1, 2)]
        if isinstance(output, Tensor) and output.ndim == 3 and output.shape[2] == num_channels:
            return self._split_tokens(output, images)
        given = str(tuple(output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise InputError(
            f"MODEL.BACKBONE.TIMM_NAME {self.name} returns features {given}, neither a map (B, {num_channels}, H, "
            f"W) nor tokens (B, N, {num_channels}); choose another network"
        )

    def _split_tokens(self, tokens: Tensor, images: Tensor) -> list[Tensor]:
        num_prefix = getattr(self.body, "num_prefix_tokens", int(self._has_class_token))
        grid = self._grid_size(images)
        if grid is not None and tokens.shape[1] == grid[0] * grid[1]:  # inside a network, in front of the class token
            num_prefix = 0
        patches = tokens[:, num_prefix:].transpose(1, 2)
        height, width = patches.shape[2], 1
        if grid is not None and patches.shape[2] == grid[0] * grid[1]:
            height, width = grid
        maps = patches.reshape(*patches.shape[:2], height, width)
        if self._uses_class_token and num_prefix:
            return [tokens[:, 0], maps] if self.tokens == "both" else [tokens[:, 0]]
        return [maps]

    def _grid_size(self, images: Tensor) -> tuple[int, int] | None:
        """Return the numbers of patches (H, W); None if the network does not say."""
        embedding: Any = getattr(self.body, "patch_embed", None)
        if not hasattr(embedding, "dynamic_feat_size"):
            return None
        height, width = embedding.dynamic_feat_size(images.shape[-2:])
        return int(height), int(width)

    @property
    def _has_class_token(self) -> bool:
        return getattr(self.body, "cls_token", None) is not None

    @property
    def _uses_class_token(self) -> bool:
        return self.tokens != "patches" and self._has_class_token

    def _channels(self, index: int) -> int:
        return self._map_dims[index] if index < len(self._map_dims) else int(self.body.num_features)

    def _output_dim(self, index: int) -> int:
        is_output = index == len(self._map_dims)
        return self._channels(index) * (2 if is_output and self.tokens == "both" and self._uses_class_token else 1)

    def _resolve(self, out_index: Sequence[int]) -> tuple[int, ...]:
        """Return nonnegative indices in order; -1 is the network's output."""
        num = len(self._map_dims)
        resolved = tuple(index + num + 1 if index < 0 else index for index in out_index) or (num,)
        if min(resolved) < 0 or max(resolved) > num:
            raise InputError(
                f"MODEL.BACKBONE.OUT_INDEX is {list(out_index)}; {self.name} has the outputs 0 to {num}: "
                f"{num} maps with {', '.join(map(str, self._map_dims)) or 'no'} channels, and {num} or -1 is its output"
            )
        ascending = sorted(set(resolved))
        if list(resolved) != ascending:  # the order of the channels is part of the trained weights
            raise InputError(
                f"MODEL.BACKBONE.OUT_INDEX is {list(out_index)}; each output can be used once, in ascending order: set "
                f"it to {[-1 if index == num else index for index in ascending]}"
            )
        return resolved
