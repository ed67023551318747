#!/usr/bin/env python3
"""Compare heads, losses and test steps on features of a frozen network: python retrieval_table.py FOLDER.

FOLDER keeps the features of the real drawings in ../shared/data, so that only the first call computes them. Prints two
Markdown tables: fitted and trained heads, and test steps after the within-class projection. Intervals are 95 %
bootstrap intervals over patents. Trained rows are means of three seeds with their standard deviation.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from retrieval_rows import DIM, HEAD, LOSSES, STEPS
from torch import Tensor, nn

from fastreid import evaluation as ev
from fastreid.data.datasets.base import encode_labels
from fastreid.engine.data import build_dataset
from fastreid.engine.features.extract import extract_features
from fastreid.engine.head_only import FeatureLoader, PooledBackbone
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.setup import load_config
from fastreid.evaluation.scoring.bootstrap import percentile_intervals
from fastreid.modeling.baseline import Baseline
from fastreid.modeling.build import HEADS, build_losses
from fastreid.modeling.losses.memory import MemoryBank
from fastreid.modeling.projection import PROJECTIONS, set_projection
from fastreid.structures import Drawing, Embeddings

DATA = Path(__file__).parents[3] / "shared/data"
DESIGN, OTHER = "uspto_design", "uspto_2007"
PARTS = ("train", "query", "gallery")
CONFIG = "recipes/small_cpu.yml"
# The third map is the last one, after the layers that know only ImageNet's classes; its mean is the network's output.
NETWORK: list[Any] = ["MODEL.WEIGHTS", "pretrained", "MODEL.BACKBONE.OUT_MODULES", ["blocks.4", "blocks.5", "bn2"]]
NETWORK += ["MODEL.HEADS.EMBEDDING_DIM", 0, "MODEL.HEADS.EMBEDDING_BIAS", False, "MODEL.HEADS.PROJECTION", ""]
MAPS, OUTPUT = slice(0, 256), slice(256, None)  # columns of the features
NUM_FOLDS, SEEDS = 5, (0, 1, 2)
NUM_ITERATIONS, LEARNING_RATE = 300, 1e-3

Transform = Callable[[Tensor], Tensor]
Scores = dict[str, NDArray[np.float64]]  # "mAP" and "Rank-1" of the queries, x100, and "patents"


class MirroredBackbone(PooledBackbone):
    """Backbone and pooling of a network, applied to the mirror images."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the pooled features (B, C) of the mirrored images (B, 3, H, W)."""
        return super().forward(images.flip(3))


@dataclass(frozen=True)
class Table:
    """Features of drawings: float32 (N, D), of the drawings and of their mirror images, and their names and patents."""

    features: Tensor
    mirrored: Tensor
    drawings: tuple[Drawing, ...]

    def select(self, rows: Sequence[int]) -> "Table":
        """Return the table of some drawings."""
        index = torch.tensor(rows)
        return Table(self.features[index], self.mirrored[index], tuple(self.drawings[row] for row in rows))

    def embed(self, transform: Transform, *, flip: bool = False) -> Embeddings:
        """Return the transformed features; with flip, the mean of the unit features of both images."""
        features = transform(self.features)
        if flip:
            features = F.normalize(features) + F.normalize(transform(self.mirrored))
        return Embeddings.from_drawings(features, self.drawings)


@dataclass(frozen=True)
class Variant:
    """A way to get a transform of the features from training drawings and a seed; without a seed if not trained."""

    name: str
    fit: Callable[[Table, int], Transform]
    is_trained: bool = False


def load_tables(folder: Path, dataset: str) -> dict[str, Table]:
    """Return the tables of the training drawings, queries and gallery of a dataset, computed in the first call."""
    path = folder / f"{dataset}.pt"
    if not path.exists():
        cfg = load_config(CONFIG, [*NETWORK, "DATASETS.ROOT", str(DATA / dataset)])
        model = build_model_with_weights(cfg)
        assert isinstance(model, Baseline)
        data = build_dataset(cfg, "Patent")
        lists = dict(zip(PARTS, ([] if dataset == OTHER else data.train(), *data.test()), strict=True))
        tables = {}
        for part, drawings in lists.items():
            networks = (PooledBackbone(model), MirroredBackbone(model))
            both = [torch.as_tensor(extract_features(cfg, one, drawings).features[:]) for one in networks if drawings]
            tables[part] = [*both, [(drawing.name, drawing.patent) for drawing in drawings]]
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(tables, path)
    loaded = torch.load(path, weights_only=True)
    return {
        part: Table(content[0], content[1], tuple(Drawing(name, name, patent) for name, patent in content[2]))
        for part, content in loaded.items()
        if len(content) == 3
    }


def train_head(table: Table, seed: int, *, options: Sequence[Any], start: str = "") -> Transform:
    """Train a reduction layer with a neck, or without one from a projection in closed form, and return it.

    Args:
        table: training drawings.
        seed: seed of the initial weights and of the batches.
        options: settings of the losses and the classifier.
        start: name of the projection; "": random weights and a batch-norm neck.
    """
    features = table.features[:, MAPS]
    cfg = load_config(None, [*HEAD, "MODEL.HEADS.WITH_BNNECK", not start, *options, "SEED", seed])
    sized = cfg.clone()
    sized.merge_from_list(["MODEL.BACKBONE.FEAT_DIM", features.shape[1]])
    loader = FeatureLoader(features, table.drawings, cfg, device=torch.device("cpu"))
    torch.manual_seed(seed)
    head = HEADS.get("EmbeddingHead")(sized, loader.num_classes)
    memory = MemoryBank(cfg.MODEL.LOSSES.MEMORY.SIZE) if cfg.MODEL.LOSSES.MEMORY.SIZE else None
    model = Baseline(
        nn.Identity(), head, build_losses(cfg), pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3, memory=memory
    ).train()
    if start:
        reduction = head.get_submodule("bottleneck.0")
        assert isinstance(reduction, nn.Conv2d)
        set_projection(reduction, fit_projection(table, kind=start))
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, weight_decay=5e-4)
    for _ in range(NUM_ITERATIONS):
        batch = next(loader)
        optimizer.zero_grad()
        sum(model(batch.images, batch.targets).values()).backward()
        optimizer.step()
        if memory is not None:
            memory.commit()
    model.eval()
    return lambda rows: model(rows[:, MAPS]).detach()


def fit_projection(table: Table, *, kind: str, dim: int = DIM, columns: slice = MAPS, shrinkage: float = 0.2) -> Any:
    """Return the projection in closed form of the chosen columns of the training features."""
    targets = torch.tensor(encode_labels(table.drawings)[0])
    return PROJECTIONS[kind](table.features[:, columns], targets, dim, shrinkage=shrinkage)


def project(kind: str, **options: Any) -> Callable[[Table, int], Transform]:
    """Return a function that fits a projection of the inner maps."""

    def fit(table: Table, seed: int) -> Transform:
        projection = fit_projection(table, kind=kind, **options)
        columns = options.get("columns", MAPS)
        return lambda rows: projection(rows[:, columns])

    return fit


WITHIN_CLASS = Variant("within-class projection, 256 floats", project("within_class"))


def build_variants() -> list[Variant]:
    """Return the rows of the first table."""

    def train(options: Sequence[Any], start: str) -> Callable[[Table, int], Transform]:
        return lambda table, seed: train_head(table, seed, options=options, start=start)

    output = {"columns": OUTPUT}
    return [
        Variant("output, average pooling", lambda table, seed: lambda rows: rows[:, OUTPUT]),
        Variant("output, PCA whitening to 128 floats", project("pca", dim=128, shrinkage=0.0, **output)),
        Variant("output, within-class projection, 256 floats", project("within_class", **output)),
        Variant("inner maps (`blocks.4`, `blocks.5`)", lambda table, seed: lambda rows: rows[:, MAPS]),
        Variant("PCA whitening to 64 floats", project("pca", dim=64, shrinkage=0.0)),
        Variant("PCA whitening to 128 floats", project("pca", dim=128, shrinkage=0.0)),
        WITHIN_CLASS,
        *(Variant(f"new head: {name}", train(options, ""), is_trained=True) for name, options in LOSSES.items()),
        *(
            Variant(f"projection, then {name}", train(options, "within_class"), is_trained=True)
            for name, options in LOSSES.items()
        ),
    ]


def evaluate(sides: Sequence[Embeddings], step: ev.Step | None = None, *, train: Tensor) -> Scores:
    """Return the scores of the queries that have a match; the sides are queries and gallery."""
    queries, gallery = sides
    result = ev.Evaluator(steps=() if step is None else (step,))(queries, gallery, training=lambda: train)
    scores = result.per_query
    assert scores is not None
    names = np.array(queries.patents)[scores.has_match]
    return {name: scores.values[name][scores.has_match] for name in ("mAP", "Rank-1")} | {"patents": names}


def cross_validate(table: Table, variant: Variant, seed: int) -> Scores:
    """Return the scores of all drawings: each is a query among the drawings of its fold, which is not trained on."""
    patents = sorted({drawing.patent for drawing in table.drawings})
    places = np.random.default_rng(0).permutation(len(patents)) % NUM_FOLDS
    fold_of = dict(zip(patents, places.tolist(), strict=True))
    parts = []
    for fold in range(NUM_FOLDS):
        inside = [fold_of[drawing.patent] == fold for drawing in table.drawings]
        rows = np.arange(len(inside))
        train, test = (table.select(rows[np.array(inside) == chosen].tolist()) for chosen in (False, True))
        embeddings = test.embed(variant.fit(train, seed))
        parts.append(evaluate([embeddings, embeddings], train=train.features))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def format_scores(runs: Sequence[Scores], baseline: Scores | None = None) -> list[str]:
    """Return the cells of a row: mAP with its interval, or the interval of the gain over a baseline, and Rank-1."""
    mean = {name: np.mean([run[name] for run in runs], axis=0) for name in ("mAP", "Rank-1")}
    values = mean["mAP"] if baseline is None else mean["mAP"] - baseline["mAP"]
    patents = np.unique(runs[0]["patents"], return_inverse=True)[1]
    low, high = percentile_intervals({"mAP": values}, patents, level=0.95, num_resamples=1000, seed=0)["mAP"]
    spread = f" ± {np.std([run['mAP'].mean() for run in runs], ddof=1):.1f}" if len(runs) > 1 else ""
    interval = f" [{low:.1f}, {high:.1f}]" if baseline is None else f" | [{low:+.1f}, {high:+.1f}]"
    return [f"{mean['mAP'].mean():.1f}{spread}{interval}", f"{mean['Rank-1'].mean():.1f}"]


def print_row(name: str, cells: Sequence[str]) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join([name, *cells])} |", flush=True)


def print_heads(sets: Mapping[str, Mapping[str, Table]], everything: Table, variants: Sequence[Variant]) -> None:
    """Print the scores of heads, fitted to the training drawings of DESIGN; in the last two columns cross-validated."""
    train = sets[DESIGN]["train"]
    for variant in variants:
        seeds = SEEDS if variant.is_trained else SEEDS[:1]
        transforms = [variant.fit(train, seed) for seed in seeds]
        cells = []
        for tables in sets.values():
            sides = [[tables[part].embed(transform) for part in PARTS[1:]] for transform in transforms]
            cells += format_scores([evaluate(side, train=train.features) for side in sides])
        cells += format_scores([cross_validate(everything, variant, seed) for seed in seeds])
        print_row(variant.name, cells)


def print_steps(sets: Mapping[str, Mapping[str, Table]], steps: Mapping[str, ev.Step]) -> None:
    """Print the scores of test steps after the within-class projection, and the intervals of their gains."""
    transform = WITHIN_CLASS.fit(sets[DESIGN]["train"], 0)
    known = transform(sets[DESIGN]["train"].features)

    def score(tables: Mapping[str, Table], step: ev.Step | None = None, *, flip: bool = False) -> Scores:
        return evaluate([tables[part].embed(transform, flip=flip) for part in PARTS[1:]], step, train=known)

    plain = {name: score(tables) for name, tables in sets.items()}
    print_row("plain search", [cell for scores in plain.values() for cell in format_scores([scores], scores)])
    mirrored = {name: score(tables, flip=True) for name, tables in sets.items()}
    print_row("flip", [cell for name in sets for cell in format_scores([mirrored[name]], plain[name])])
    for label, step in steps.items():
        print_row(label, [cell for name in sets for cell in format_scores([score(sets[name], step)], plain[name])])


def join_parts(tables: Mapping[str, Table]) -> Table:
    """Return all drawings of a dataset; the lists number their patents independently, so the folder is the patent."""
    parts = [tables[part] for part in PARTS]
    names = [drawing.name for part in parts for drawing in part.drawings]
    return Table(
        torch.cat([part.features for part in parts]),
        torch.cat([part.mirrored for part in parts]),
        tuple(Drawing(name, name, name.split("/")[0]) for name in names),
    )


def main(folder: Path) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    sets = {name: load_tables(folder, name) for name in (DESIGN, OTHER)}
    everything = join_parts(sets[DESIGN])
    header = ["design patents: mAP", "Rank-1", "patents of 2007: mAP", "Rank-1"]
    print_row("features", [*header, "cross-validated: mAP", "Rank-1"])
    print_row("---", ["---"] * 6)
    print_heads(sets, everything, build_variants())
    print()
    print_row("step", [header[0], "gain", *header[1:3], "gain", "Rank-1"])
    print_row("---", ["---"] * 6)
    print_steps(sets, STEPS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
