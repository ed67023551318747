"""Global pooling layers: (B, C, H, W) -> (B, C, 1, 1). See `gem_pooling` for generalized-mean pooling."""

from torch import Tensor, nn


class GlobalAvgPool(nn.Module):
    """Compute the mean of each channel."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3), keepdim=True)


class GlobalMaxPool(nn.Module):
    """Compute the maximum of each channel; the gradient goes to a single position, which makes it deterministic."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(2).max(dim=2).values[..., None, None]


class AdaptiveAvgMaxPool(nn.Module):
    """Compute the sum of mean and maximum of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.average = GlobalAvgPool()
        self.maximum = GlobalMaxPool()

    def forward(self, maps: Tensor) -> Tensor:
        pooled: Tensor = self.average(maps) + self.maximum(maps)
        return pooled


class ClipGlobalAvgPool(nn.Module):
    """Compute the mean of each channel, clamped to 0..1."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3), keepdim=True).clamp(min=0, max=1)


class Identity(nn.Module):
    """Return the map unchanged, for backbones that pool it themselves."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps


class Flatten(nn.Module):
    """Turn every value of the map into a channel: (B, C, H, W) -> (B, CHW, 1, 1)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)[..., None, None]
