"""How weights start."""

from torch import nn


def init_conv(conv: nn.Conv2d) -> None:
    """Normal with variance 2 / (k k out): He et al., Delving deep into rectifiers (2015), by what leaves a layer."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def init_convs(module: nn.Module) -> None:
    """`init_conv` for every convolution within."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            init_conv(part)


def init_classifier(weight: nn.Parameter) -> None:
    """Class weights: normal with standard deviation .01."""
    nn.init.normal_(weight, std=0.01)
