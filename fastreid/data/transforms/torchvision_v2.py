"""torchvision's transforms, imported on first use: the import takes over a second, which most commands can save."""

from typing import Any


def import_v2() -> Any:
    """Return `torchvision.transforms.v2`."""
    from torchvision.transforms import v2

    return v2
