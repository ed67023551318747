"""The smallest files with which documented commands run, under the names that the documentation uses."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from index_pages import draw_page, write_model, write_pages
from PIL import Image
from scipy.io import savemat

import fastreid.index
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.setup import load_config
from fastreid.modeling.backbones.resnet import ResNet

PAGES = [f"D08012{number:02}/{view}.png" for number in range(33, 36) for view in range(3)]
TOKEN = "a-token-of-24-characters"


def link_datasets(folder: Path, shared: Path) -> None:
    """Link `datasets`, a folder in the layout of DeepPatent with all its lists and the synthetic drawings."""
    (folder / "datasets").mkdir(exist_ok=True)
    for path in (shared / "datasets").iterdir():
        (folder / "datasets" / path.name).symlink_to(path)


def link_patents(folder: Path, shared: Path) -> None:
    """Link `my-patents`, a folder of each patent, and write lists of them for own/list.yml."""
    patents = shared / "my-patents"
    (folder / "my-patents").symlink_to(patents)
    (folder / "datasets").mkdir(exist_ok=True)
    link = folder / "datasets/my-patents"
    link.symlink_to(folder / "lists")
    shutil.copytree(patents, folder / "lists")
    names = [path.relative_to(patents) for path in sorted(patents.rglob("*.png"))]
    rows = [(name.as_posix(), name.parts[0]) for name in names]
    patents = sorted({patent for _, patent in rows})
    train, tests = patents[: len(patents) // 2], patents[len(patents) // 2 :]
    queries = {next(name for name, patent in rows if patent == test) for test in tests}
    lists = {
        "train": [row for row in rows if row[1] in train],
        "query": [row for row in rows if row[0] in queries],
        "gallery": [row for row in rows if row[1] in tests and row[0] not in queries],
    }
    for name, lines in lists.items():
        with open(folder / f"lists/{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("path", "id"), *lines])


def link_pages(folder: Path, shared: Path) -> None:
    """Link `drawings` and `inbox`, and write pictures, metadata and a token."""
    (folder / "drawings").symlink_to(shared / "drawings")
    (folder / "inbox").symlink_to(shared / "drawings")
    for name in ("query.png", "1.png"):
        shutil.copy(shared / "drawings" / PAGES[4], folder / name)
    Image.fromarray(draw_page(99)).save(folder / "1.png")
    (folder / "patents.csv").write_text("patent,locarno,jurisdiction\nD0801233,06-01,US\nD0801234,07-02,EM\n")
    (folder / "token.txt").write_text(TOKEN)
    (folder / "token.txt").chmod(0o600)


def copy_collection(folder: Path, shared: Path) -> None:
    """Copy `patents.index`, a collection of the drawings with a tiny model."""
    shutil.copytree(shared / "patents.index", folder / "patents.index")


def copy_model(folder: Path, shared: Path) -> None:
    """Copy the model directory `models/mine` and write `card.yml`."""
    shutil.copytree(shared / "models/mine", folder / "models/mine")
    write_card(folder, shared)


def write_card(folder: Path, shared: Path) -> None:
    """Write the card of a model."""
    (folder / "card.yml").write_text("title: mine\n")


def copy_runs(folder: Path, shared: Path) -> None:
    """Copy a finished run to `logs/a`, `logs/b`, `logs/A` and `logs/B`."""
    for name in "abAB":
        shutil.copytree(shared / "run", folder / "logs" / name)


def write_home(folder: Path, shared: Path) -> None:
    """Make the folders of the home folder that a shell would write to."""
    (folder / "home/.local/share/bash-completion/completions").mkdir(parents=True)
    (folder / "model.pth").write_bytes(b"weights")


def write_backbone(folder: Path, shared: Path) -> None:
    """Write weights of a network with 18 layers, in the form of IBN-Net's files."""
    torch.save(ResNet("18x", with_ibn=True).state_dict(), folder / "backbone.pth")


def draw_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([draw_page(seed)] * 3, axis=-1)).save(path)


def write_public_datasets(folder: Path, shared: Path) -> None:
    """Write a few images of each public dataset in the layout of its authors below `data`."""
    root = folder / "data"
    for market, parts, name in (
        ("Market-1501-v15.09.15", ("bounding_box_train", "query", "bounding_box_test"), "{:04}_c{}s1_000151_01.jpg"),
        ("VeRi", ("image_train", "image_query", "image_test"), "{:04}_c{:03}_00016450_0.jpg"),
    ):
        for first, part, cameras in zip((1, 5, 5), parts, ((1, 2, 3, 4), (1,), (2, 3))):
            for identity in range(first, first + 4):
                for camera in cameras:
                    draw_image(root / market / part / name.format(identity, camera), identity)
    views = [(identity, view) for identity in range(1, 9) for view in range(4)]
    for test in (0, 1):
        lines = ["image_id class_id super_class_id path"]
        for row, (identity, view) in enumerate((pair for pair in views if (pair[0] > 4) == test), 1):
            label, name = identity + 11314 * test, f"chair_final/{identity}_{view}.JPG"
            draw_image(root / "Stanford_Online_Products" / name, identity)
            lines.append(f"{row} {label} 1 {name}")
        part = "test" if test else "train"
        (root / f"Stanford_Online_Products/Ebay_{part}.txt").write_text("\n".join(lines) + "\n")
    write_shop_birds_and_cars(root, views)


def write_shop_birds_and_cars(root: Path, views: list[tuple[int, int]]) -> None:
    shop, birds, labels, cars = [], [], [], []
    for row, (identity, view) in enumerate(views, 1):
        name = f"img/WOMEN/Dresses/id_{identity:08}/02_{view}_front.jpg"
        draw_image(root / "InShop" / name, identity)
        part = "train" if identity <= 4 else "gallery" if view else "query"
        shop.append(f"{name} id_{identity:08} {part}")
        label = identity if identity <= 4 else identity + 96  # the first classes of the training and of the test
        draw_image(root / f"CUB_200_2011/images/{label:03}.Bird/{view}.jpg", identity)
        birds.append(f"{row} {label:03}.Bird/{view}.jpg")
        labels.append(f"{row} {label}")
        draw_image(root / f"Cars_196/car_ims/{row:06}.jpg", identity)
        cars.append((f"car_ims/{row:06}.jpg", label, 0))
    head = [str(len(shop)), "image_name item_id evaluation_status"]
    (root / "InShop/list_eval_partition.txt").write_text("\n".join([*head, *shop]) + "\n")
    (root / "CUB_200_2011/images.txt").write_text("\n".join(birds) + "\n")
    (root / "CUB_200_2011/image_class_labels.txt").write_text("\n".join(labels) + "\n")
    annotations = np.array(cars, dtype=[("relative_im_path", object), ("class", object), ("test", object)])
    savemat(root / "Cars_196/cars_annos.mat", {"annotations": annotations, "class_names": np.array(["a"], object)})


FILES: dict[str, Callable[[Path, Path], None]] = {
    "datasets": link_datasets,
    "patents": link_patents,
    "pages": link_pages,
    "collection": copy_collection,
    "model": copy_model,
    "card": write_card,
    "backbone": write_backbone,
    "runs": copy_runs,
    "home": write_home,
    "public datasets": write_public_datasets,
}


def build_shared_files(folder: Path, *, drawings: Path, run: Path) -> None:
    """Write what the functions above copy or link.

    Args:
        folder: to write to.
        drawings: data root with the synthetic drawings of the tiny config.
        run: output folder of a finished run.
    """
    write_pages(folder / "drawings", PAGES)
    model = write_model(folder / "models/mine")
    fastreid.index.create(folder / "patents.index", model=model).add([folder / "drawings"])
    (folder / "run").symlink_to(run)
    generated = next(drawings.glob("generated-*"))
    (folder / "datasets").mkdir()
    (folder / "datasets" / generated.name).symlink_to(generated)
    (folder / "datasets/train_data").symlink_to(generated / "train_data")
    link_test_set(folder / "datasets/codalab_test_set", generated / "train_data")
    lines = (generated / "train_data/train_patent_trn.txt").read_text(encoding="utf-8").splitlines()
    for row, line in enumerate(lines[:60]):
        name, _, identity = line.rpartition(" ")
        (folder / f"my-patents/D{int(identity):07}").mkdir(parents=True, exist_ok=True)
        image = generated / "train_data/patent_data" / name
        shutil.copy(image, folder / f"my-patents/D{int(identity):07}/{row}{image.suffix}")


def link_test_set(folder: Path, validation: Path) -> None:
    """Write the test set of the challenge with the drawings of the validation lists."""
    (folder / "lists").mkdir(parents=True)
    for images, test, name in (("queries", "test_queries", "val_query"), ("database", "test_database", "val_db")):
        lines = (validation / f"{name}_patent.txt").read_text(encoding="utf-8").splitlines()
        names = [line.rpartition(" ")[0] for line in lines]
        (folder / images).mkdir()
        flat = [f"{row}{Path(name).suffix}" for row, name in enumerate(names)]
        for name, short in zip(names, flat):
            shutil.copy(validation / "patent_data" / name, folder / images / short)
        (folder / f"lists/{test}.txt").write_text("".join(f"{name}\n" for name in flat))


def write_missing_weights(config: str, settings: list[str]) -> None:
    """Write the weights file that a config starts from, with random weights, unless it exists."""
    weights = load_config(config, settings).MODEL.WEIGHTS
    if weights.endswith(".pth") and not Path(weights).exists():
        cfg = load_config(config, [*settings, "MODEL.WEIGHTS", ""])
        Path(weights).parent.mkdir(parents=True, exist_ok=True)
        torch.save({"model": build_model_with_weights(cfg, random_weights=True).state_dict()}, weights)
