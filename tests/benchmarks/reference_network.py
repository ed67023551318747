"""The patent network, what it looks at, and the reference's way of non-local blocks, IBN and steps, to time ours beside."""

import contextlib

import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.layers import attention, norm
from fastreid.modeling import build_model

CONFIG = "configs/patent/sbs_R101-ibn_patent_256.yml"


def config(depth, *words):
    cfg = get_cfg()
    cfg.merge_from_file(CONFIG)
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", depth, *words])
    return cfg


def with_all_pairs(theta, phi, g):
    """The non-local sum through the matrix of all pairs of places, as the reference has it."""
    likeness = theta.flatten(2).transpose(1, 2) @ phi.flatten(2) / theta[0, 0].numel()
    return (likeness @ g.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(theta.shape)


def split_and_copied(self, maps):
    """IBN with its two halves copied, as the reference has it."""
    first, rest = torch.split(maps, self.num_instance, 1)
    return torch.cat((self.IN(first.contiguous()), self.BN(rest.contiguous())), 1)


class AsReference:
    """Inside, the network works as the reference wrote it."""

    def __enter__(self):
        self.kept = attention.linear_attention, norm.IBN.forward
        attention.linear_attention, norm.IBN.forward = with_all_pairs, split_and_copied

    def __exit__(self, *fault):
        attention.linear_attention, norm.IBN.forward = self.kept


def drawings(num, size_px):
    generator = torch.Generator().manual_seed(0)
    pages = (torch.rand(num, 1, size_px // 8, size_px // 8, generator=generator) > 0.1).float() * 255
    return nn.functional.interpolate(pages, size=(size_px, size_px)).expand(-1, 3, -1, -1)


def used_network(depth):
    """A network whose batch norms have seen drawings and whose non-local blocks are at work."""
    torch.manual_seed(0)
    model = build_model(config(depth), num_classes=100)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".NL_" in name and "W.1.weight" in name:
                parameter.fill_(0.1)
        model.train()
        for _ in range(20):
            model.backbone((drawings(8, 64) - 127) / 60)
    return model


def reference_step(model, optimizer, batch, *, scaler=None):
    """One step; with a scaler of losses in float16 on a GPU, as the reference trains."""
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
