"""Readers of public retrieval datasets, on small trees with the layouts of the downloads."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from fastreid.config import get_cfg
from fastreid.data.build import DATASETS
from fastreid.data.datasets.base import InvalidListError
from fastreid.data.datasets.products import CUB, SOP, Cars196, InShop
from fastreid.data.datasets.reid import Market1501, VeRi
from fastreid.data.transforms.build import build_train_transforms
from fastreid.engine.data import build_datasets
from fastreid.engine.run_checks import check_component_names, check_model_selection
from fastreid.engine.setup import load_config
from fastreid.evaluation.scoring.matches import build_ground_truth
from fastreid.evaluation.scoring.metrics import check_score_name
from fastreid.utils.errors import InputError

BENCHMARKS = Path(__file__).parents[3] / "configs/benchmarks"


def write_images(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(path, format="JPEG")


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def summarize(drawings):
    return [(drawing.name, drawing.patent, drawing.camera) for drawing in drawings]


CUB_IMAGES = [
    "001.Albatross/A_1.jpg",
    "100.Pelican/P_1.jpg",
    "101.Pelican/P_2.jpg",
    "101.Pelican/P_3.jpg",
    "200.Y/Y.jpg",
]


def write_cub(root):
    folder = root / "CUB_200_2011"
    write_images(folder / "images", CUB_IMAGES)
    write_lines(folder / "images.txt", [f"{row} {name}" for row, name in enumerate(CUB_IMAGES, 1)])
    write_lines(folder / "image_class_labels.txt", ["1 1", "2 100", "3 101", "4 101", "5 200"])
    return folder


def test_cub_trains_on_the_first_hundred_classes(tmp_path):
    write_cub(tmp_path)
    dataset = CUB(tmp_path)
    assert summarize(dataset.train()) == [(CUB_IMAGES[0], "1", -1), (CUB_IMAGES[1], "100", -1)]
    queries, gallery = dataset.test()
    assert queries is gallery
    assert [drawing.patent for drawing in queries] == ["101", "101", "200"]
    assert queries[0].source == "images.txt:3"


def test_each_test_image_is_a_query_that_ignores_itself(tmp_path):
    write_cub(tmp_path)
    queries, gallery = CUB(tmp_path).test()
    truth = build_ground_truth(
        [drawing.patent for drawing in queries],
        [drawing.patent for drawing in gallery],
        query_names=[drawing.name for drawing in queries],
        gallery_names=[drawing.name for drawing in gallery],
        query_cameras=[drawing.camera for drawing in queries],
        gallery_cameras=[drawing.camera for drawing in gallery],
    )
    matches, ignored = truth.classify_rows(np.arange(3), np.tile(np.arange(3), (3, 1)))
    assert matches.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    assert ignored.tolist() == np.eye(3, dtype=bool).tolist()


@pytest.mark.parametrize(
    ("file", "lines", "message"),
    [
        ("images.txt", ["1 001.Albatross/A_1.jpg", "2"], "images.txt:2: 1 fields, expected 2: '2'"),
        ("images.txt", ["1 001.Albatross/A_1.jpg", "1 001.Albatross/A_1.jpg"], "is also in images.txt:1"),
        ("images.txt", ["1 001.Albatross/missing.jpg"], "images.txt:1: no file "),
        ("images.txt", ["1 ../images.txt"], "images.txt:1: '../images.txt' leaves "),
        ("images.txt", ["9 001.Albatross/A_1.jpg"], "images.txt:1: image 9 has no line in image_class_labels.txt"),
        ("images.txt", [], "contains no image; download the dataset again"),
        ("image_class_labels.txt", ["1 201"], "image_class_labels.txt:1: the class is '201'; allowed are 1 to 200"),
        ("image_class_labels.txt", ["1 a"], "the class is 'a'"),
    ],
)
def test_invalid_list_is_an_error_with_file_and_line(tmp_path, file, lines, message):
    write_lines(write_cub(tmp_path) / file, lines)
    with pytest.raises(InvalidListError, match=re.escape(message)):
        CUB(tmp_path).train()


def test_list_that_is_no_text_is_an_error(tmp_path):
    (write_cub(tmp_path) / "images.txt").write_bytes(b"1 \xff.jpg\n")
    with pytest.raises(InputError, match=r"images.txt: not UTF-8 text \(byte 2\)"):
        CUB(tmp_path).train()


DATASET_CLASSES = {"CUB": CUB, "Cars196": Cars196, "SOP": SOP, "InShop": InShop, "Market1501": Market1501, "VeRi": VeRi}


@pytest.mark.parametrize("name", DATASET_CLASSES)
def test_missing_dataset_is_an_error_that_names_the_folder(tmp_path, name):
    (tmp_path / "other").mkdir()
    for read in (DATASET_CLASSES[name](tmp_path).train, DATASET_CLASSES[name](tmp_path).test):
        with pytest.raises(InputError, match=rf"{name}: .* does not contain .* contains other/; download the dataset"):
            read()


@pytest.mark.parametrize("name", DATASET_CLASSES)
def test_dataset_is_registered(tmp_path, name):
    assert isinstance(DATASETS.get(name)(get_cfg(), tmp_path), DATASET_CLASSES[name])


@pytest.mark.parametrize(
    ("name", "substitute"), [("CUB200", "CUB"), ("StanfordOnlineProducts", "SOP"), ("VeRi776", "VeRi")]
)
def test_other_names_of_a_dataset_are_errors_with_the_name(name, substitute):
    with pytest.raises(InputError, match=f"'{name}' does not exist here; use {substitute}"):
        DATASETS.get(name, "DATASETS.NAMES")


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.yml")), ids=lambda path: path.stem)
def test_config_of_a_benchmark_has_color_and_known_components(path):
    cfg = load_config(path, ["MODEL.DEVICE", "cpu"])
    check_component_names(cfg, training=True)
    check_score_name(cfg.TEST.SELECT_BY, top_k=cfg.TEST.TOP_K, recalls=cfg.TEST.RECALLS)
    build_train_transforms(cfg)
    assert cfg.INPUT.COLOR == "rgb"
    assert cfg.DATASETS.NAMES == cfg.DATASETS.TESTS
    assert f"logs/benchmarks/{path.stem}" == cfg.OUTPUT_DIR


def test_every_public_dataset_has_a_config():
    names = {load_config(path, ["MODEL.DEVICE", "cpu"]).DATASETS.NAMES for path in BENCHMARKS.glob("*.yml")}
    assert names == {(name,) for name in DATASET_CLASSES}


def write_cars(root, rows, *, folder="Cars_196"):
    rows = [(f"car_ims/{row:06}.jpg", label) for row, label in enumerate(rows, 1)]
    write_images(root / folder, [name for name, _ in rows])
    fields = [("relative_im_path", object), ("bbox_x1", object), ("class", object), ("test", object)]
    annotations = np.array([(name, 1, label, 0) for name, label in rows], dtype=fields)
    savemat(root / folder / "cars_annos.mat", {"annotations": annotations, "class_names": np.array(["a"], object)})


def test_cars_reads_the_joined_annotations(tmp_path):
    write_cars(tmp_path, [1, 98, 99, 196, 99])
    dataset = Cars196(tmp_path)
    assert summarize(dataset.train()) == [("car_ims/000001.jpg", "1", -1), ("car_ims/000002.jpg", "98", -1)]
    queries, gallery = dataset.test()
    assert queries is gallery
    assert [drawing.patent for drawing in queries] == ["99", "196", "99"]


def test_cars_with_one_image_is_read(tmp_path):
    write_cars(tmp_path, [5], folder="cars196")
    assert summarize(Cars196(tmp_path).train()) == [("car_ims/000001.jpg", "5", -1)]


def test_cars_joins_the_two_halves_of_the_newer_layout(tmp_path):
    folder = tmp_path / "Cars_196"
    halves = {
        "devkit/cars_train_annos.mat": ("cars_train", [3, 120]),
        "cars_test_annos_withlabels.mat": ("cars_test", [3, 120]),
    }
    for file, (subfolder, labels) in halves.items():
        names = [f"{row:05}.jpg" for row in range(1, len(labels) + 1)]
        write_images(folder / subfolder, names)
        rows = np.array(list(zip(names, labels)), dtype=[("fname", object), ("class", object)])
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        savemat(folder / file, {"annotations": rows})
    dataset = Cars196(tmp_path)
    assert [drawing.name for drawing in dataset.train()] == ["cars_train/00001.jpg", "cars_test/00001.jpg"]
    assert [drawing.name for drawing in dataset.test()[0]] == ["cars_train/00002.jpg", "cars_test/00002.jpg"]
    (folder / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(InputError, match=r"does not contain Cars_196/cars_test_annos_withlabels.mat"):
        dataset.train()


def test_damaged_matlab_files_are_errors(tmp_path):
    write_cars(tmp_path, [1])
    file = tmp_path / "Cars_196/cars_annos.mat"
    file.write_bytes(file.read_bytes()[:150])
    with pytest.raises(InputError, match=r"cars_annos.mat: not a MATLAB file with `annotations`"):
        Cars196(tmp_path).train()
    savemat(file, {"annotations": np.array([("a.jpg",)], dtype=[("relative_im_path", object)])})
    with pytest.raises(
        InvalidListError, match=r"cars_annos.mat:1: has the fields relative_im_path, but no path or no cl"
    ):
        Cars196(tmp_path).train()


def test_sop_reads_products_of_its_two_lists(tmp_path):
    folder = tmp_path / "Stanford_Online_Products"
    names = ["bicycle_final/111_0.JPG", "bicycle_final/111_1.JPG", "chair_final/112_0.JPG", "chair_final/112_1.JPG"]
    write_images(folder, names)
    header = "image_id class_id super_class_id path"
    write_lines(folder / "Ebay_train.txt", [header, f"1 1 1 {names[0]}", f"2 1 1 {names[1]}"])
    write_lines(folder / "Ebay_test.txt", [header, f"3 11319 2 {names[2]}", f"4 11319 2 {names[3]}"])
    dataset = SOP(tmp_path)
    assert summarize(dataset.train()) == [(names[0], "1", -1), (names[1], "1", -1)]
    queries, gallery = dataset.test()
    assert queries is gallery
    assert summarize(queries) == [(names[2], "11319", -1), (names[3], "11319", -1)]


@pytest.mark.parametrize(("list_folder", "image_folder"), [("", ""), ("Eval", "Img"), ("Anno", "Img")])
def test_inshop_has_its_own_queries(tmp_path, list_folder, image_folder):
    folder, names = (
        tmp_path / "InShop",
        [f"img/WOMEN/Dresses/id_0000000{item}/02_{item}_front.jpg" for item in range(1, 5)],
    )
    write_images(folder / image_folder, names)
    parts = [("id_1", "train"), ("id_2", "query"), ("id_2", "gallery"), ("id_3", "gallery")]
    rows = [f"{name}   {item} {part}" for name, (item, part) in zip(names, parts)]
    path = folder / list_folder / "list_eval_partition.txt"
    write_lines(path, [4, "image_name item_id evaluation_status", *rows])
    dataset = InShop(tmp_path)
    assert summarize(dataset.train()) == [(names[0], "id_1", -1)]
    queries, gallery = dataset.test()
    assert summarize(queries) == [(names[1], "id_2", -1)]
    assert summarize(gallery) == [(names[2], "id_2", -1), (names[3], "id_3", -1)]
    write_lines(path, [1, "image_name item_id evaluation_status", f"{names[0]} id_1 val"])
    with pytest.raises(InvalidListError, match=r"txt:3: the part is 'val'; allowed are train, query, gallery"):
        dataset.train()


@pytest.mark.parametrize("subfolder", ["Market-1501-v15.09.15", ""])
def test_market_leaves_out_junk_and_keeps_distractors(tmp_path, subfolder):
    folder = tmp_path / subfolder
    write_images(folder / "bounding_box_train", ["0007_c2s1_000451_03.jpg", "0002_c1s1_000451_03.jpg"])
    write_images(folder / "query", ["0003_c1s1_000151_01.jpg"])
    gallery = ["-1_c1s1_000401_03.jpg", "0000_c6s1_000151_01.jpg", "0003_c1s2_1_01.jpg", "0003_c4s2_1_01.jpg.jpg"]
    write_images(folder / "bounding_box_test", gallery)
    (folder / "bounding_box_test/Thumbs.db").write_bytes(b"x")
    dataset = Market1501(tmp_path)
    assert summarize(dataset.train()) == [
        ("bounding_box_train/0002_c1s1_000451_03.jpg", "2", 0),
        ("bounding_box_train/0007_c2s1_000451_03.jpg", "7", 1),
    ]
    queries, drawings = dataset.test()
    assert summarize(queries) == [("query/0003_c1s1_000151_01.jpg", "3", 0)]
    assert [(drawing.patent, drawing.camera) for drawing in drawings] == [("0", 5), ("3", 0), ("3", 3)]


def test_image_without_identity_in_its_name_is_an_error(tmp_path):
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        write_images(tmp_path / part, ["0002_c1s1_000451_03.jpg", "0002_c7s1_000451_03.jpg", "picture.jpg"])
    with pytest.raises(InvalidListError) as caught:
        Market1501(tmp_path).train()
    assert "the name picture.jpg does not start with an identity and a camera" in str(caught.value)
    assert "the name 0002_c7s1_000451_03.jpg does not" in str(caught.value)


def test_veri_reads_its_lists_or_its_folders(tmp_path):
    folder = tmp_path / "veri"
    write_images(folder / "image_train", ["0001_c001_00016450_0.jpg", "0001_c020_00016450_0.jpg"])
    write_images(folder / "image_query", ["0002_c002_00030600_0.jpg"])
    write_images(folder / "image_test", ["0002_c002_00030605_0.jpg", "0002_c003_00030605_0.jpg", "0005_c003_1_0.jpg"])
    dataset = VeRi(tmp_path)
    assert [(drawing.patent, drawing.camera) for drawing in dataset.train()] == [("1", 0), ("1", 19)]
    assert len(dataset.test()[1]) == 3
    write_lines(folder / "name_test.txt", ["0005_c003_1_0.jpg", "0002_c003_00030605_0.jpg"])
    assert [drawing.name for drawing in dataset.test()[1]] == [
        "image_test/0005_c003_1_0.jpg",
        "image_test/0002_c003_00030605_0.jpg",
    ]
    write_lines(folder / "name_test.txt", ["0009_c003_1_0.jpg"])
    with pytest.raises(InvalidListError, match=r"name_test.txt:1: no file "):
        dataset.test()


def test_images_of_the_same_camera_do_not_count(tmp_path):
    write_images(tmp_path / "veri/image_query", ["0002_c002_00030600_0.jpg"])
    write_images(tmp_path / "veri/image_test", ["0002_c002_00030605_0.jpg", "0003_c003_1_0.jpg"])
    write_images(tmp_path / "veri/image_train", ["0001_c001_1_0.jpg"])
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.NAMES", "VeRi", "DATASETS.TESTS", "VeRi", "DATASETS.ROOT", str(tmp_path)])
    train, tests = build_datasets(cfg)
    assert len(train) == 1
    with pytest.raises(InputError, match="has the camera of the query"):
        check_model_selection(cfg, tests["VeRi"])
