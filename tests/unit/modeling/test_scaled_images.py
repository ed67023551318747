"""Networks that accept only some image sizes, and TEST.SCALES."""

import pytest
from torch import nn

from fastreid.engine.features.image_scales import check_scaled_images
from fastreid.modeling.backbones import TimmBackbone
from fastreid.utils.errors import InputError


class AtLeast64(TimmBackbone):
    """A timm network, without timm, that needs images of at least 64 x 64 px."""

    def __init__(self):
        nn.Module.__init__(self)
        self.name, self.body, self._has_frozen_norms = "patches", nn.Conv2d(3, 12, 64), False

    def forward(self, images):
        return self.body(images)


def test_scale_that_a_network_does_not_accept_is_named():
    model = nn.ModuleDict({"backbone": AtLeast64()})
    check_scaled_images(model, (1.0, 1.4), (64, 64))
    message = (
        r"^TEST\.SCALES 0\.5: .* patches does not accept images of 32 x 32 px \(.*\); set TEST\.SCALES to \[1\.0\]$"
    )
    with pytest.raises(InputError, match=message):
        check_scaled_images(model, (0.5, 1.0), (64, 64))


def test_networks_that_accept_any_size_are_not_probed():
    check_scaled_images(nn.ModuleDict({"backbone": nn.Linear(2, 2)}), (0.5, 1.0), (64, 64))
    check_scaled_images(nn.Linear(2, 2), (0.5, 1.0), (64, 64))
