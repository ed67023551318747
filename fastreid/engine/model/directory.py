"""Model directories: everything that searching with a network needs, in one folder, usable as MODEL.WEIGHTS.

- `model.safetensors`: the weights, without the classifier, and without the backbone if it is unchanged from a package
  of the extra `pretrained`
- `config.yaml`: the settings of the network and of its images that differ from the defaults
- `README.md`: the model card with data, scores, license and intended use
- `model.onnx` and `export.json`: the network for onnxruntime, if `fastreid export` wrote the folder
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fastreid.config import CfgNode, get_cfg
from fastreid.config.config import flat_defaults, iter_settings
from fastreid.engine.export.record import RECORD_FILE
from fastreid.engine.features.image_settings import PAGE_SETTINGS, TEST_SETTINGS
from fastreid.modeling.backbones import packages
from fastreid.modeling.weights import extract_model_state, read_weights
from fastreid.utils.errors import InputError, WeightsError
from fastreid.utils.files import atomic_write, write_text
from fastreid.utils.text import summarize_error

WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.yaml", "README.md"
DEFAULT_MODEL = "lines-mobilenetv2"  # used where no model is named

_CLASSIFIER = "heads.weight"
_BACKBONE = "backbone."
TRAINING_ONLY_SETTINGS = (  # settings of MODEL that searching does not use, by the start of their names
    *("MODEL.DEVICE", "MODEL.COMPILE", "MODEL.FREEZE_LAYERS", "MODEL.WEIGHTS", "MODEL.LOSSES.", "MODEL.DISTILL."),
    *("MODEL.HEADS.NUM_CLASSES", "MODEL.HEADS.CLS_LAYER", "MODEL.HEADS.MARGIN", "MODEL.HEADS.SCALE"),
    *("MODEL.HEADS.PARTIAL_FC_RATIO", "MODEL.HEADS.SUB_CENTERS", "MODEL.HEADS.PROJECTION", "MODEL.HEADS.SHRINKAGE"),
    "MODEL.HEADS.NECK_FEAT",
    *("MODEL.BACKBONE.DROP_PATH", "MODEL.BACKBONE.GRADIENT_CHECKPOINTING"),
)


@dataclass(frozen=True)
class ModelCard:
    """What the README.md of a model directory says.

    Args:
        title: name of the model.
        license: of the weights.
        description: what the network is, in one paragraph.
        data: what it was trained on.
        command: the command that trained it.
        scores: name of a test -> its scores, such as {"mAP": 60.1}, in percent.
        intended_use: what it is for, and what it is not for.
    """

    title: str
    license: str = "unknown"
    description: str = ""
    data: str = ""
    command: str = ""
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    intended_use: str = "Ranking line drawings, such as sheets of design patents, by the object that they show."

    def format(self, settings: Sequence[str]) -> str:
        """Return the text of the card; `settings` are lines of the config."""
        header = yaml.safe_dump({"license": self.license, "library_name": "fastreid"}, sort_keys=True)
        parts = [f"---\n{header}---", f"# {self.title}", self.description, f"## Intended use\n\n{self.intended_use}"]
        if self.data:
            parts.append(f"## Training data\n\n{self.data}")
        if self.command:
            parts.append(f"## Training command\n\n```shell\n{self.command}\n```")
        if self.scores:
            names = list(dict.fromkeys(name for scores in self.scores.values() for name in scores))
            rows = [
                f"| {test} | " + " | ".join(f"{scores[name]:.1f}" if name in scores else "" for name in names) + " |"
                for test, scores in self.scores.items()
            ]
            table = [f"| test | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}", *rows]
            parts.append("## Scores\n\n" + "\n".join(table))
        parts.append("## Settings\n\n```yaml\n" + "\n".join(settings) + "\n```")
        return "\n\n".join(part for part in parts if part) + "\n"


def save_model_directory(folder: str | Path, cfg: CfgNode, model: nn.Module, card: ModelCard) -> Path:
    """Write a network as a model directory.

    Args:
        folder: is created.
        cfg: settings of the network.
        model: the network.
        card: the model card.

    Returns:
        The folder.

    Raises:
        InputError: the folder exists and is not a model directory.
        StorageError: a file cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG_FILE).is_file():
        raise InputError(f"{folder}: exists and is not a model directory; choose another folder")
    state = {name: tensor for name, tensor in model.state_dict().items() if name != _CLASSIFIER}
    settings = select_settings(cfg)
    if _is_backbone_of_package(cfg, state):
        state = {name: tensor for name, tensor in state.items() if not name.startswith(_BACKBONE)}
    else:
        settings = {name: value for name, value in settings.items() if "PRETRAIN" not in name}
    folder.mkdir(parents=True, exist_ok=True)
    text = format_settings(settings)
    with atomic_write(folder / WEIGHTS_FILE) as file:
        file.write(save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}))
    write_text(folder / CONFIG_FILE, text)
    write_text(folder / CARD_FILE, card.format(text.splitlines()))
    return folder


def find_model_directory(name: str | Path) -> Path | None:
    """Return the folder of a model directory, or of a shipped model by its name; None if it is neither.

    A model directory has weights, an exported network, or both.
    """
    for folder in (Path(name), get_model_folder() / str(name)):
        has_network = any((folder / file).is_file() for file in (WEIGHTS_FILE, RECORD_FILE))
        if str(name) and (folder / CONFIG_FILE).is_file() and has_network:
            return folder.resolve()
    return None


def get_model_folder() -> Path:
    """Return the folder of the shipped models."""
    return Path(__file__).parents[2] / "models"


def list_models() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(path.parent.name for path in get_model_folder().glob(f"*/{CONFIG_FILE}"))


def read_directory_state(folder: Path, model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a model directory; a backbone that it does not contain is that of `model`."""
    state = extract_model_state(read_weights(folder / WEIGHTS_FILE), source=str(folder))
    if not any(name.startswith(_BACKBONE) for name in state):
        state |= {name: tensor for name, tensor in model.state_dict().items() if name.startswith(_BACKBONE)}
    return state


def contains_backbone(folder: Path) -> bool:
    """Return whether the weights of a model directory include those of the backbone.

    Raises:
        WeightsError: the file is damaged.
    """
    try:
        names = _read_names(folder / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{folder / WEIGHTS_FILE}: cannot be read ({summarize_error(error)}); copy it again"
        ) from error
    return any(name.startswith(_BACKBONE) for name in names)


def read_pretrain_path(folder: Path) -> str:
    """Return MODEL.BACKBONE.PRETRAIN_PATH of a model directory: the weights of a backbone that it does not contain."""
    cfg = get_cfg()
    cfg.merge_from_file(folder / CONFIG_FILE)
    return str(cfg.MODEL.BACKBONE.PRETRAIN_PATH)


def _read_names(path: Path) -> list[str]:
    """Return the names of the tensors of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def select_settings(cfg: CfgNode) -> dict[str, Any]:
    """Return the settings of the network and of its images that differ from the defaults, by full name."""
    defaults = flat_defaults()
    network = [name for name in defaults if name.startswith("MODEL.") and not name.startswith(TRAINING_ONLY_SETTINGS)]
    wanted = {*network, *PAGE_SETTINGS, *TEST_SETTINGS, "TEST.METRIC"}
    return {name: value for name, value in iter_settings(cfg) if name in wanted and value != defaults[name]}


def _is_backbone_of_package(cfg: CfgNode, state: Mapping[str, Tensor]) -> bool:
    """Return whether the backbone's weights are unchanged ones of an installed package."""
    backbone = cfg.MODEL.BACKBONE
    if not (backbone.PRETRAIN and backbone.PRETRAIN_PATH.startswith(packages.SCHEME)):
        return False
    from fastreid.modeling import build_model, load_pretrained_backbone

    with torch.random.fork_rng(devices=[]):
        fresh = build_model(cfg, num_classes=1)
    load_pretrained_backbone(cfg, fresh)
    names = [name for name in state if name.startswith(_BACKBONE)]
    original = fresh.state_dict()
    return all(torch.equal(state[name].cpu(), original[name]) for name in names)


def select_network_settings(cfg: CfgNode) -> dict[str, Any]:
    """Return the settings of MODEL that shape the features and differ from the defaults; tuples are lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in select_settings(cfg).items()
        if name.startswith("MODEL.") and "PRETRAIN" not in name
    }


def format_settings(settings: Mapping[str, Any]) -> str:
    """Return settings by full name as the text of a config file."""
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, key = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key] = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(tree, sort_keys=False)
