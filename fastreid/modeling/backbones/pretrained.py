"""ImageNet weights for backbones: published files of torchvision and IBN-Net, from a path or a download.

Both projects publish only the first eight digits of the sha256, in the file name. As in torch.hub, they detect damaged
or wrong files, but not a deliberate manipulation. Where independent public projects pin the full digest of the same
file, it is below and compared. The full digest of a used file is logged.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from fastreid.modeling.backbones.download import download_file
from fastreid.modeling.backbones.renaming import rename_tensors
from fastreid.modeling.backbones.timm_backbone import TimmBackbone
from fastreid.modeling.mismatch import explain_mismatch
from fastreid.modeling.weights import LoadReport, check_finite, extract_model_state, format_names, read_weights
from fastreid.utils.errors import InputError, WeightsError
from fastreid.utils.files import compute_sha256, expand_home
from fastreid.utils.logger import get_logger

TORCHVISION = "https://download.pytorch.org/models/"
IBN_NET = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"

MIRROR_VARIABLE = "FASTREID_WEIGHTS_MIRROR"  # environment variable: URL of a folder with the published files

LOCAL_HOSTS = ("127.0.0.1", "localhost")  # a mirror on this machine may use unencrypted http

PUBLISHED_NAME = re.compile(r"(?:se_)?resnet\d+(?:_ibn_[ab])?-([0-9a-f]{8})\.pth")
PINNED_LINK = re.compile(r"(https://[^#]+)#sha256=([0-9a-f]{64})")
CLASSIFIER_PREFIXES = (
    "fc.",
    "_fc.",
    "classifier.",
    "head.",
    "head_dist.",
    "heads.head.",
)  # of the 1000 ImageNet classes; ignored
OPTIONAL_TENSORS = re.compile(r"NL_\d|num_batches_tracked")  # may be missing in ImageNet files


@dataclass(frozen=True)
class PublishedWeights:
    """A published file: URL and full sha256; if that is "", the first eight digits in the file name are compared."""

    url: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """File name."""
        return self.url.rpartition("/")[2]


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
        InputError: there is no published file for the network, and no `path`.
        StorageError: the download failed.
        WeightsError: the file is damaged, does not match the digest in its name, or belongs to another network.
    """
    if path:
        file = resolve_path(path, plain_http_hosts)
    else:
        entry = find_published(depth, with_ibn=with_ibn, with_se=with_se, published=published)
        file = _resolve_published(entry, plain_http_hosts)
    report = load_backbone(model.get_submodule("backbone"), file)
    get_logger().info(f"{file}: sha256 {compute_sha256(file)}")
    return report


def load_backbone(backbone: nn.Module, file: str | Path, *, is_published: bool = False) -> LoadReport:
    """Load a file with the state dict of a backbone; an ImageNet classifier or a head in it is ignored.

    A file without `backbone.` in its names contains only a backbone.

    Args:
        backbone: the network.
        file: the file.
        is_published: the file is one whose digest is known here, so that its renaming is not worth a line in the log.

    Raises:
        InputError: the file does not exist.
        WeightsError: the file is damaged, or a tensor is missing, unknown or has another shape; nothing is loaded.
    """
    check_published_digest(Path(file))
    is_timm = isinstance(backbone, TimmBackbone)
    backbone, prefix = (backbone.get_submodule("body"), "backbone.body.") if is_timm else (backbone, "backbone.")
    content = extract_model_state(read_weights(file), source=str(file), expected=backbone.state_dict())
    state, ignored = dict(content), tuple[str, ...]()
    if any(name.startswith(prefix) for name in content):
        state = {name.removeprefix(prefix): value for name, value in content.items() if name.startswith(prefix)}
        ignored = tuple(name for name in content if not name.startswith(prefix))
    expected = backbone.state_dict()
    if is_timm:
        kept = {name: tensor for name, tensor in state.items() if name in expected or not _is_classifier(name)}
        renamed, how = rename_tensors(kept, backbone)
        if how:
            if not is_published:
                get_logger().info(f"{file}: {how}")
            ignored += tuple(name for name in state if name not in kept)
            state = renamed
    reinitialized = [name for name in expected if name not in state and OPTIONAL_TENSORS.search(name)]
    classifier = tuple(name for name in state if name not in expected and _is_classifier(name))
    selected = {name: tensor for name, tensor in state.items() if name not in classifier}
    faults = _find_mismatches(expected, selected, reinitialized)
    if faults:
        in_network = {f"{prefix}{name}": value for name, value in expected.items() if name not in reinitialized}
        in_file = {f"{prefix}{name}": value for name, value in selected.items()}
        raise WeightsError(
            f"{file}: weights do not match the backbone, {len(faults)} tensors differ: {format_names(faults)}; "
            f"{explain_mismatch(in_network, in_file)}"
        )
    check_finite(selected, source=str(file))
    backbone.load_state_dict(selected, strict=False)
    counts = Counter(_group_of(name) for name in reinitialized)
    num_per_group = {group: f"{num} tensors" for group, num in counts.items()}
    return LoadReport(len(selected), len(expected), num_per_group, classifier + ignored)


def check_published_digest(file: Path) -> None:
    """Verify the eight digits of the sha256 in the name of a published file; other names are not checked.

    Raises:
        WeightsError: the digits differ.
    """
    match = PUBLISHED_NAME.fullmatch(file.name)
    if match and file.is_file() and not compute_sha256(file).startswith(match[1]):
        raise WeightsError(f"{file}: its sha256 does not start with {match[1]}, as in its name; download it again")


def find_published(
    depth: str, *, with_ibn: bool, with_se: bool, published: Mapping[str, PublishedWeights] = PUBLISHED
) -> PublishedWeights:
    """Return the published file of a ResNet.

    Raises:
        InputError: there is none.
    """
    name = ("se_" if with_se else "") + ("ibn_" if with_ibn else "") + depth
    if name not in published:
        raise InputError(
            f"no ImageNet weights are published for '{name}'; available: {', '.join(sorted(published))}; "
            "set MODEL.BACKBONE.PRETRAIN_PATH to a file, or PRETRAIN to False"
        )
    return published[name]


def check_path(path: str) -> None:
    """Check that a path is that of a file, or a link `https://...#sha256=<64 digits>`; nothing is downloaded.

    Raises:
        InputError: it is not.
    """
    if "://" in path:
        if not PINNED_LINK.fullmatch(path):
            raise InputError(
                f"{path}: a link must be https and end in #sha256=<64 digits>; or download the file and give its path"
            )
    elif not Path(expand_home(path)).is_file():
        raise InputError(
            f"MODEL.BACKBONE.PRETRAIN_PATH {path}: no such weights file; check the path. A link, package:NAME and, for "
            "networks of timm, hf-hub:OWNER/NAME are possible too"
        )


def resolve_path(path: str, plain_http_hosts: Collection[str] = ()) -> Path:
    """Return the file of a path, or download that of a link `https://...#sha256=<64 digits>`.

    Raises:
        InputError: there is no such file, or a link has another form.
        StorageError: the download failed.
        WeightsError: the downloaded file has another digest.
    """
    check_path(path)
    link = PINNED_LINK.fullmatch(path)
    if not link:
        return Path(expand_home(path))
    return download_file(link[1], cache_folder() / f"{link[2]}.pth", sha256=link[2], plain_http_hosts=plain_http_hosts)


def cache_folder() -> Path:
    """Return the download folder: torch/checkpoints in $TORCH_HOME, $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("TORCH_HOME") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(expand_home(base)) / "torch" / "checkpoints"


def _resolve_published(entry: PublishedWeights, plain_http_hosts: Collection[str]) -> Path:
    for folder in (cache_folder(), *_other_cache_folders()):
        file = folder / entry.name
        if file.is_file() and compute_sha256(file).startswith(entry.sha256 or _digits_in_name(entry.name)):
            return file
    mirror = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    return download_file(
        f"{mirror}/{entry.name}" if mirror else entry.url,
        cache_folder() / entry.name,
        sha256=entry.sha256,
        sha256_start="" if entry.sha256 else _digits_in_name(entry.name),
        plain_http_hosts=(*plain_http_hosts, *LOCAL_HOSTS) if mirror else plain_http_hosts,
    )


def _other_cache_folders() -> list[Path]:
    """Return the folder where torch.hub, torchvision and timm keep the same files."""
    base = os.environ.get("TORCH_HOME")
    home = Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return [home.expanduser() / "hub" / "checkpoints"]


def _digits_in_name(name: str) -> str:
    match = PUBLISHED_NAME.fullmatch(name)
    return match[1] if match else ""


def _group_of(name: str) -> str:
    return name.split(".")[0] if name.startswith("NL_") else "batch counters"


def _is_classifier(name: str) -> bool:
    return name.startswith(CLASSIFIER_PREFIXES)


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
