"""The network of the patent configs, random images for it, and fast-reid's forms of its blocks and training step."""

import contextlib

import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.layers import attention, norm
from fastreid.modeling import build_model

CONFIG = "configs/patent/sbs_R101-ibn_patent_256.yml"


def load_config(depth, *options):
    cfg = get_cfg()
    cfg.merge_from_file(CONFIG)
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", depth, *options])
    return cfg


def quadratic_attention(theta, phi, g):
    """Compute the non-local sum from the matrix of every pair of positions, as in fast-reid."""
    similarity = theta.flatten(2).transpose(1, 2) @ phi.flatten(2) / theta[0, 0].numel()
    return (similarity @ g.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(theta.shape)


def ibn_forward_with_copies(self, maps):
    """Apply IBN to copies of its two halves, as in fast-reid."""
    first, rest = torch.split(maps, self.num_instance, 1)
    return torch.cat((self.IN(first.contiguous()), self.BN(rest.contiguous())), 1)


class ReferenceBlocks:
    """Context in which networks use fast-reid's forms of the non-local blocks and IBN."""

    def __enter__(self):
        self.original = attention.linear_attention, norm.IBN.forward
        attention.linear_attention, norm.IBN.forward = quadratic_attention, ibn_forward_with_copies

    def __exit__(self, *error):
        attention.linear_attention, norm.IBN.forward = self.original


def random_images(num, size_px):
    """Return random black and white images, 0 or 255 as float32 (num, 3, size_px, size_px)."""
    generator = torch.Generator().manual_seed(0)
    pages = (torch.rand(num, 1, size_px // 8, size_px // 8, generator=generator) > 0.1).float() * 255
    return nn.functional.interpolate(pages, size=(size_px, size_px)).expand(-1, 3, -1, -1)


def build_warm_network(depth):
    """Build a network with running statistics and with non-local blocks that have an effect."""
    torch.manual_seed(0)
    model = build_model(load_config(depth), num_classes=100)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".NL_" in name and "W.1.weight" in name:
                parameter.fill_(0.1)
        model.train()
        for _ in range(20):
            model.backbone((random_images(8, 64) - 127) / 60)
    return model


def total_loss(result):
    """Return the sum of the losses of a training step's result."""
    return sum(value for name, value in result.values.items() if name.startswith("loss_"))


def reference_step(model, optimizer, batch, *, scaler=None):
    """Train one step and return the loss; with a loss scaler in float16 on a GPU, as in fast-reid."""
    with contextlib.nullcontext() if scaler is None else torch.autocast("cuda", torch.float16):
        total = sum(model(batch.images, batch.targets).values())
    optimizer.zero_grad()
    if scaler is None:
        total.backward()
        optimizer.step()
    else:
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()
    return total.item()
