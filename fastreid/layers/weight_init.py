"""Weight initialization."""

from torch import nn


def init_conv(conv: nn.Conv2d) -> None:
    """Initialize a convolution: He et al., Delving deep into rectifiers (2015), fan-out version; bias 0."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def init_convs(module: nn.Module) -> None:
    """Apply `init_conv` to every convolution of a module."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            init_conv(part)


def init_classifier(weight: nn.Parameter) -> None:
    """Initialize class weights from a normal distribution with standard deviation 0.01."""
    nn.init.normal_(weight, std=0.01)
