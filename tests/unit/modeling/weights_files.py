"""Files like those of torchvision and IBN-Net, and a network for them."""

import hashlib

import torch
from torch import nn

from fastreid.modeling.backbones.download import LOCK
from fastreid.modeling.backbones.resnet import ResNet

LOCAL_HOSTS = ("127.0.0.1",)


def network(depth="18x", **options):
    model = nn.Module()
    model.backbone = ResNet(depth, **options)
    return model


def imagenet_file(path, depth="18x", **options):
    """Write a file like those of torchvision: a state dict with a classifier and without batch counters."""
    tensors = {
        name: value for name, value in ResNet(depth, **options).state_dict().items() if "num_batches" not in name
    }
    torch.save(tensors | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, path)
    return tensors


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_in(folder):
    return sorted(file.name for file in folder.iterdir() if file.name != LOCK)
