"""ImageNet weights for backbones: published files of torchvision and IBN-Net, from a path or a download.

A file is downloaded only if its full sha256 (64 digits) is known here. Both projects publish only the first eight
digits, in the file name. The full digests below are pinned by independent public projects for the same file and start
with the published digits. Files without a full digest must be downloaded manually; then the eight digits in the name
are verified, which detects damaged or wrong files, but not a deliberate manipulation.
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
CLASSIFIER_PREFIXES = ("fc.", "classifier.", "head.")  # of the 1000 ImageNet classes; ignored
OPTIONAL_TENSORS = re.compile(r"NL_\d|num_batches_tracked")  # may be missing in ImageNet files


@dataclass(frozen=True)
class PublishedWeights:
    """A published file: URL and full sha256 ("" if unknown)."""

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
    """Load ImageNet weights into the ResNet backbone of a network; the head is unchanged.

    Args:
        model: network whose `backbone` is a `ResNet` of the same depth and options.
        depth: 18x, 34x, 50x or 101x.
        with_ibn: whether the backbone has IBN.
        with_se: whether the backbone has squeeze-and-excitation.
        path: a file, or a link `https://...#sha256=<64 digits>`; empty: the published file.
        published: network name -> published file.
        plain_http_hosts: see `download_file`.

    Returns:
        Report of loaded tensors. Non-local blocks and batch counters keep their initial values; the ImageNet classifier
        is ignored.

    Raises:
        InputError: there is no published file with a full digest for the network, and no `path`.
        StorageError: the download failed.
        WeightsError: the file is damaged, does not match the digest in its name, or belongs to another network.
    """
    if path:
        file = _resolve_path(path, plain_http_hosts)
    else:
        name = ("se_" if with_se else "") + ("ibn_" if with_ibn else "") + depth
        file = _resolve_published(name, published, plain_http_hosts)
    return load_backbone(model.get_submodule("backbone"), file)


def load_backbone(backbone: nn.Module, file: str | Path) -> LoadReport:
    """Load a file with the state dict of a backbone; an ImageNet classifier in it is ignored.

    Raises:
        InputError: the file does not exist.
        WeightsError: the file is damaged, or a tensor is missing, unknown or has another shape; nothing is loaded.
    """
    check_published_digest(Path(file))
    state = extract_model_state(read_weights(file))
    expected = backbone.state_dict()
    reinitialized = [name for name in expected if name not in state and OPTIONAL_TENSORS.search(name)]
    ignored = tuple(name for name in state if name not in expected and name.startswith(CLASSIFIER_PREFIXES))
    selected = {name: tensor for name, tensor in state.items() if name not in ignored}
    faults = _find_mismatches(expected, selected, reinitialized)
    if faults:
        raise WeightsError(
            f"{file}: weights do not match the backbone, {len(faults)} tensors differ: {', '.join(faults[:20])}; "
            "check DEPTH, WITH_IBN, WITH_SE and PRETRAIN_PATH"
        )
    check_finite(selected)
    backbone.load_state_dict(selected, strict=False)
    counts = Counter(_group_of(name) for name in reinitialized)
    num_per_group = {group: f"{num} tensors" for group, num in counts.items()}
    return LoadReport(len(selected), len(expected), num_per_group, ignored)


def check_published_digest(file: Path) -> None:
    """Verify the eight digits of the sha256 in the name of a published file; other names are not checked.

    Raises:
        WeightsError: the digits differ.
    """
    match = PUBLISHED_NAME.fullmatch(file.name)
    if match and file.is_file() and not compute_sha256(file).startswith(match[1]):
        raise WeightsError(f"{file}: its sha256 does not start with {match[1]}, as in its name; download it again")


def cache_folder() -> Path:
    """Return the download folder: torch/checkpoints in $TORCH_HOME, $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("TORCH_HOME") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "torch" / "checkpoints"


def _resolve_path(path: str, plain_http_hosts: Collection[str]) -> Path:
    if "://" not in path:
        return Path(path).expanduser()
    link = PINNED_LINK.fullmatch(path)
    if not link:
        raise InputError(
            f"{path}: a link must be https and end in #sha256=<64 digits>; or download the file and give its path"
        )
    return download_file(link[1], cache_folder() / f"{link[2]}.pth", sha256=link[2], plain_http_hosts=plain_http_hosts)


def _resolve_published(name: str, published: Mapping[str, PublishedWeights], plain_http_hosts: Collection[str]) -> Path:
    if name not in published:
        raise InputError(
            f"no ImageNet weights are published for '{name}'; available: {', '.join(sorted(published))}; "
            "set MODEL.BACKBONE.PRETRAIN_PATH to a file, or PRETRAIN to False"
        )
    entry = published[name]
    file = cache_folder() / entry.url.rsplit("/", 1)[1]
    if entry.sha256:
        return download_file(entry.url, file, sha256=entry.sha256, plain_http_hosts=plain_http_hosts)
    if file.is_file():
        return file
    raise InputError(
        f"{entry.url}: not downloaded, as its full sha256 is unknown; download it manually and set "
        f"MODEL.BACKBONE.PRETRAIN_PATH to it, or save it as {file}"
    )


def _group_of(name: str) -> str:
    return name.split(".")[0] if name.startswith("NL_") else "batch counters"


def _find_mismatches(
    expected: Mapping[str, Tensor], loaded: Mapping[str, Tensor], optional: Collection[str]
) -> list[str]:
    missing = [f"{name} absent" for name in expected if name not in loaded and name not in optional]
    unknown = [f"{name} unknown" for name in loaded if name not in expected]
    shapes = [
        f"{name} has shape {tuple(loaded[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in loaded and loaded[name].shape != expected[name].shape
    ]
    return missing + unknown + shapes
