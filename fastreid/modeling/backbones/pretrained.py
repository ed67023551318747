"""Start weights for a backbone: torchvision's and IBN-Net's ImageNet files, by path or by download.

A file is only downloaded when all 64 digits of its sha256 are known here. Both projects publish eight of them, in the
file's name. The full digests below are those that independent public projects pin for the same file and that begin
with the published eight; where none was found the entry has none, and the file has to be fetched by hand: then the
eight digits in its name are checked, which tells a damaged or mistaken file, not a determined forger.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from fastreid.modeling.backbones.download import download_file
from fastreid.modeling.weights import LoadReport, check_finite, extract_model_state, read_weights
from fastreid.utils.errors import InputError, WeightsError
from fastreid.utils.files import compute_sha256

TORCHVISION = "https://download.pytorch.org/models/"
IBN_NET = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"

PUBLISHED_NAME = re.compile(r"(?:se_)?resnet\d+(?:_ibn_[ab])?-([0-9a-f]{8})\.pth")
PINNED_LINK = re.compile(r"(https://[^#]+)#sha256=([0-9a-f]{64})")
CLASSIFIER_PREFIXES = ("fc.", "classifier.", "head.")  # of ImageNet's 1000 classes: left out
OPTIONAL_TENSORS = re.compile(r"NL_\d|num_batches_tracked")  # what ImageNet files need not have


@dataclass(frozen=True)
class PublishedWeights:
    """A file on the net: its link, and its sha256 if all of it is known ("" if not)."""

    url: str
    sha256: str = ""


PUBLISHED: Mapping[str, PublishedWeights] = {
    "18x": PublishedWeights(
        f"{TORCHVISION}resnet18-f37072fd.pth", "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"
    ),
    "34x": PublishedWeights(
        f"{TORCHVISION}resnet34-b627a593.pth", "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f"
    ),
    "50x": PublishedWeights(
        f"{TORCHVISION}resnet50-0676ba61.pth", "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"
    ),
    "101x": PublishedWeights(
        f"{TORCHVISION}resnet101-63fe2227.pth", "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a"
    ),
    "ibn_18x": PublishedWeights(f"{IBN_NET}resnet18_ibn_a-2f571257.pth"),
    "ibn_34x": PublishedWeights(f"{IBN_NET}resnet34_ibn_a-94bc1577.pth"),
    "ibn_50x": PublishedWeights(
        f"{IBN_NET}resnet50_ibn_a-d9d0bb7b.pth", "d9d0bb7b2ba34d7e6e12c4616c9d233914762e49fbb9fcb49d7f4d65da6f759c"
    ),
    "ibn_101x": PublishedWeights(f"{IBN_NET}resnet101_ibn_a-59ea0ac6.pth"),
    "se_ibn_101x": PublishedWeights(f"{IBN_NET}se_resnet101_ibn_a-fabed4e2.pth"),
}


def load_pretrained(
    model: nn.Module,
    *,
    depth: str,
    with_ibn: bool,
    with_se: bool,
    path: str = "",
    published: Mapping[str, PublishedWeights] = PUBLISHED,
    plain_http_hosts: Collection[str] = (),
) -> LoadReport:
    """Fill a network's ResNet backbone with ImageNet weights; the head keeps its own.

    Args:
        model: a network whose `backbone` is a `ResNet` of the same depth and options.
        depth: 18x, 34x, 50x or 101x.
        with_ibn: whether it has IBN.
        with_se: whether it has squeeze-and-excitation.
        path: a file, or a link `https://...#sha256=<64 digits>`; empty: the published file.
        published: which file belongs to which network.
        plain_http_hosts: as `fetch` has it.

    Returns:
        What was loaded; non-local blocks and batch counters keep their fresh values, ImageNet's classifier is left out.

    Raises:
        InputError: there is no published file for the network, or no full digest for it; give `path`.
        StorageError: the download failed.
        WeightsError: the file is damaged, not the one its name says, or of another network.
    """
    if path:
        file = _resolve_path(path, plain_http_hosts)
    else:
        name = ("se_" if with_se else "") + ("ibn_" if with_ibn else "") + depth
        file = _resolve_published(name, published, plain_http_hosts)
    return load_backbone(model.get_submodule("backbone"), file)


def load_backbone(backbone: nn.Module, file: str | Path) -> LoadReport:
    """Fill any backbone from a file of its state dict, with or without ImageNet's classifier.

    Raises:
        InputError: there is no such file.
        WeightsError: the file is damaged, or a tensor is missing, unknown or of another shape; nothing is loaded.
    """
    check_published_digest(Path(file))
    state = extract_model_state(read_weights(file))
    wanted = backbone.state_dict()
    anew = [name for name in wanted if name not in state and OPTIONAL_TENSORS.search(name)]
    left_out = tuple(name for name in state if name not in wanted and name.startswith(CLASSIFIER_PREFIXES))
    chosen = {name: tensor for name, tensor in state.items() if name not in left_out}
    faults = _find_mismatches(wanted, chosen, anew)
    if faults:
        raise WeightsError(
            f"{file}: not weights of this backbone, {len(faults)} tensors differ: {', '.join(faults[:20])}; "
            "check DEPTH, WITH_IBN, WITH_SE and PRETRAIN_PATH"
        )
    check_finite(chosen)
    backbone.load_state_dict(chosen, strict=False)
    counts = Counter(_group_of(name) for name in anew)
    return LoadReport(len(chosen), len(wanted), {kind: f"{num} tensors" for kind, num in counts.items()}, left_out)


def check_published_digest(file: Path) -> None:
    """Hold a file that carries a published name to the eight digits in that name; other names are free."""
    known = PUBLISHED_NAME.fullmatch(file.name)
    if known and file.is_file() and not compute_sha256(file).startswith(known[1]):
        raise WeightsError(f"{file}: its sha256 does not begin with {known[1]}, as its name says; fetch it again")


def cache_folder() -> Path:
    """Where downloads are kept: $TORCH_HOME, else $XDG_CACHE_HOME, else ~/.cache, and there torch/checkpoints."""
    base = os.environ.get("TORCH_HOME") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "torch" / "checkpoints"


def _resolve_path(path: str, plain_http_hosts: Collection[str]) -> Path:
    if "://" not in path:
        return Path(path).expanduser()
    link = PINNED_LINK.fullmatch(path)
    if not link:
        raise InputError(f"{path}: a link must be https and end in #sha256=<64 digits>; or fetch it and give its path")
    return download_file(link[1], cache_folder() / f"{link[2]}.pth", sha256=link[2], plain_http_hosts=plain_http_hosts)


def _resolve_published(name: str, published: Mapping[str, PublishedWeights], plain_http_hosts: Collection[str]) -> Path:
    if name not in published:
        raise InputError(
            f"no ImageNet weights are published for '{name}'; known: {', '.join(sorted(published))}; "
            "give MODEL.BACKBONE.PRETRAIN_PATH or set PRETRAIN False"
        )
    entry = published[name]
    file = cache_folder() / entry.url.rsplit("/", 1)[1]
    if entry.sha256:
        return download_file(entry.url, file, sha256=entry.sha256, plain_http_hosts=plain_http_hosts)
    if file.is_file():
        return file
    raise InputError(
        f"{entry.url}: its full sha256 is not known here, so it is not downloaded; fetch it yourself and give its path "
        f"as MODEL.BACKBONE.PRETRAIN_PATH, or put it at {file}"
    )


def _group_of(name: str) -> str:
    return name.split(".")[0] if name.startswith("NL_") else "batch counters"


def _find_mismatches(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], anew: Collection[str]) -> list[str]:
    missing = [f"{name} absent" for name in wanted if name not in found and name not in anew]
    unknown = [f"{name} unknown" for name in found if name not in wanted]
    shapes = [
        f"{name} {tuple(found[name].shape)} for {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    return missing + unknown + shapes
