from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data.build import DATASETS, SAMPLERS
from fastreid.data.transforms.build import build_test_transforms, build_train_transforms
from fastreid.engine.data import (
    build_datasets,
    build_test_datasets,
    build_test_loader,
    build_train_loader,
)
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_torch_rng

DATA = Path(__file__).parents[4] / "shared/data/uspto_design"
LINE_OPERATIONS = ("rot90", "warp", "elastic", "stroke_width", "stroke_gaps", "scan_noise")
ALL_STEPS = ("CROP", "PADDING", "FLIP", "CJ", "AFFINE", "AUTOAUG", "AUGMIX", "REA", "RPT", *LINE_OPERATIONS)
STEPS_WITH_PROB = ("FLIP", "CJ", "AUTOAUG", "AUGMIX", "REA", "RPT")


def make_config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 8, *options])
    cfg.freeze()
    return cfg


@pytest.fixture
def folder(tmp_path):
    """Write ten patents of five drawings, and lists of the first four."""
    rng = np.random.default_rng(0)
    for patent in range(10):
        for view in range(5):
            path = tmp_path / f"images/p{patent}/{view}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8)).save(path)
    lines = [f"p{patent}/{view}.png {patent}\n" for patent in range(4) for view in range(5)]
    (tmp_path / "train.txt").write_text("".join(lines[:15]))
    (tmp_path / "query.txt").write_text("".join(lines[15:17]))
    (tmp_path / "database.txt").write_text("".join(lines[17:]))
    return tmp_path


@pytest.fixture(autouse=True)
def working_folder(folder, monkeypatch):
    """Paths in the config are relative to the working folder."""
    monkeypatch.chdir(folder)


LISTS = ("DATASETS.LIST.IMAGES", "images", "DATASETS.LIST.TRAIN", "train.txt", "DATASETS.LIST.QUERY", "query.txt")


def make_list_config(*options):
    lists = (*LISTS, "DATASETS.LIST.GALLERY", "database.txt", "DATASETS.NAMES", "List", "DATASETS.TESTS", "List")
    return make_config(*lists, *options)


def make_folder_config(*options):
    folder = ("DATASETS.NAMES", "Folder", "DATASETS.TESTS", "Folder", "DATASETS.FOLDER.PATH", "images")
    return make_config(*folder, *options)


def test_dataset_from_lists_needs_only_the_config():
    train, tests = build_datasets(make_list_config())
    assert len(train) == 15
    assert {drawing.patent for drawing in train} == {"0", "1", "2"}
    assert (len(tests["List"].queries), len(tests["List"].gallery)) == (2, 3)
    assert tests["List"].train == ()


def test_dataset_from_a_folder_needs_only_the_config():
    train, tests = build_datasets(make_folder_config())
    assert (len(train), len(tests["Folder"].queries), len(tests["Folder"].gallery)) == (40, 4, 6)


def test_path_may_be_absolute(folder):
    assert len(build_datasets(make_folder_config("DATASETS.FOLDER.PATH", str(folder / "images")))[0]) == 40


def test_data_root_is_config_then_environment_then_default(monkeypatch):
    def find_root(*options):
        with pytest.raises(InputError) as caught:
            build_datasets(make_config("DATASETS.NAMES", "Patent", "DATASETS.TESTS", "Patent", *options))
        return str(caught.value).splitlines()[-1].strip().split("/train_data")[0]

    assert find_root() == "datasets"
    monkeypatch.setenv("FASTREID_DATASETS", "from environment")
    assert find_root() == "from environment"
    assert find_root("DATASETS.ROOT", "from config") == "from config"


def test_test_datasets_do_not_read_training_lists(folder):
    (folder / "train.txt").unlink()
    assert list(build_test_datasets(make_list_config())) == ["List"]


BOTH_DATASETS = (
    "DATASETS.NAMES",
    "('List','Folder')",
    "DATASETS.FOLDER.PATH",
    "images",
    "DATASETS.ALLOW_OVERLAP",
    True,
)


def test_joined_datasets_prefix_ids_with_their_names():
    train, _ = build_datasets(make_list_config(*BOTH_DATASETS))
    assert {drawing.patent.split("_")[0] for drawing in train} == {"List", "Folder"}
    assert len(train) == 55


def test_overlap_of_training_and_test_is_an_error_unless_allowed(folder, caplog):
    (folder / "train.txt").write_text("p3/0.png 3\np0/0.png 0\n")
    fault = r"query\.txt:1: p3/0\.png is also a training drawing \(train\.txt:1\)"
    with pytest.raises(InputError, match=rf"^drawings are in both training .* List; .*ALLOW_OVERLAP True: {fault}$"):
        build_datasets(make_list_config())
    build_datasets(make_list_config("DATASETS.ALLOW_OVERLAP", True))
    assert "its scores are too optimistic: query.txt:1: p3/0.png is also" in caplog.text


def test_training_on_test_drawings_needs_allow_overlap():
    cfg = make_list_config("DATASETS.COMBINEALL", True)
    message = r"drawings are in both training and .* List; .*: 5 faults(\n  .*\.txt:\d: p3/\d\.png is also .*){5}$"
    with pytest.raises(InputError, match=message):
        build_datasets(cfg)
    train, _ = build_datasets(make_list_config("DATASETS.COMBINEALL", True, "DATASETS.ALLOW_OVERLAP", True))
    assert sorted({drawing.patent for drawing in train}) == ["List_0", "List_1", "List_2", "List_test_3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["DATASETS.NAMES", "Holidays"],
            "DATASETS.NAMES 'Holidays' is unknown. Available: CUB, Cars196, Folder, Generated, GeneratedStream, InShop",
        ),
        (["DATASETS.NAMES", "Patnt"], "Did you mean 'Patent'"),
        (
            ["DATASETS.TESTS", "('List','List')"],
            "DATASETS.TESTS is ('List', 'List'); it takes one or more datasets, each once",
        ),
        (["DATASETS.LIST.IMAGES", ""], "DATASETS.LIST.IMAGES is empty"),
        (["DATASETS.NAMES", "Patent"], "cannot read the list"),
        (["DATASETS.NAMES", "Folder"], "DATASETS.FOLDER.PATH is empty"),
    ],
)
def test_invalid_dataset_settings_raise(options, message):
    with pytest.raises(InputError) as caught:
        build_datasets(make_list_config(*options))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_every_registered_sampler_loads(name):
    cfg = make_folder_config("DATALOADER.SAMPLER_TRAIN", name, "INPUT.SIZE_TRAIN", [16, 16])
    train, _ = build_datasets(cfg)
    loader = build_train_loader(cfg, train)
    assert (loader.num_classes, loader.iters_per_epoch) == (8, 5)
    assert [len(batch.rows) for batch in islice(loader, 6)] == [8] * 6


def test_unknown_sampler_raises():
    cfg = make_folder_config("DATALOADER.SAMPLER_TRAIN", "SetReWeightSampler")
    with pytest.raises(InputError, match=r"DATALOADER\.SAMPLER_TRAIN 'SetReWeightSampler' does not exist here; use"):
        build_train_loader(cfg, build_datasets(cfg)[0])


def test_registry_has_the_documented_datasets():
    own = {"Folder", "Generated", "GeneratedStream", "List", "Patent", "PatentTest"}
    assert set(DATASETS.names()) == own | {"CUB", "Cars196", "InShop", "Market1501", "SOP", "VeRi"}


def test_patents_with_few_drawings_are_logged_once(caplog):
    cfg = make_folder_config("DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "DATALOADER.NUM_INSTANCE", 8)
    train, _ = build_datasets(cfg)
    with caplog.at_level("INFO"):
        build_train_loader(cfg, train)
        build_train_loader(cfg, train, start_iteration=3)
    assert caplog.text.count("8 of 8 patents have fewer than 8 drawings") == 1


def test_coverage_is_logged_once_by_the_first_process(caplog):
    cfg = make_folder_config("DATALOADER.SAMPLER_TRAIN", "CompleteIdentitySampler")
    train, _ = build_datasets(cfg)
    with caplog.at_level("INFO"):
        build_train_loader(cfg, train)
        build_train_loader(cfg, train, start_iteration=3)
        build_train_loader(cfg, train, rank=1, world_size=2)
    assert caplog.text.count("CompleteIdentitySampler: 100% of a batch are distinct drawings") == 1
    assert "covers 100.0% of the list" in caplog.text


def test_hard_identities_need_a_sampler_that_supports_them():
    cfg = make_folder_config("DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "DATALOADER.HARD_IDENTITIES", 0.5)
    with pytest.raises(
        InputError,
        match=r"HARD_IDENTITIES is 0\.5, which NaiveIdentitySampler does not support; .*CompleteIdentitySampler",
    ):
        build_train_loader(cfg, build_datasets(cfg)[0])


def test_loader_uses_the_given_neighbor_tables():
    cfg = make_folder_config("DATALOADER.SAMPLER_TRAIN", "CompleteIdentitySampler", "DATALOADER.HARD_IDENTITIES", 0.5)
    train, _ = build_datasets(cfg)
    ring = np.roll(np.arange(8), -1)[:, None]
    patents = [
        [set(batch.targets.tolist()) for batch in islice(build_train_loader(cfg, train, neighbors=tables), 5)]
        for tables in (None, {0: ring})
    ]
    assert patents[0] != patents[1]


def enable(*names):
    return [word for name in names for word in (f"INPUT.{name}.ENABLED", True)]


def enable_always(*names):
    operations = [name for name in names if name in LINE_OPERATIONS]
    sections = [name for name in names if name not in LINE_OPERATIONS]
    return [
        *enable(*sections),
        *(item for name in sections if name in STEPS_WITH_PROB for item in (f"INPUT.{name}.PROB", 1.0)),
        *("INPUT.LINE_AUG.OPS", operations, "INPUT.LINE_AUG.PROB", 1.0),
    ]


@pytest.mark.parametrize("step", ALL_STEPS)
def test_every_augmentation_can_be_enabled_and_changes_images(step):
    size = ["INPUT.SIZE_TRAIN", [24, 24], "INPUT.CROP.SIZE", [24, 24]]
    train, _ = build_datasets(make_folder_config())
    page = np.random.default_rng(1).integers(0, 256, (30, 40), dtype=np.uint8)
    plain = build_train_transforms(make_config(*size))(page)
    transform = build_train_transforms(make_config(*size, *enable_always(step)), donors=train)
    changed = []
    for seed in range(8):
        with keyed_torch_rng(seed):
            image = transform(page)
        assert (image.shape, image.dtype) == ((3, 24, 24), torch.float32)
        assert 0 <= image.min() <= image.max() <= 255
        changed.append(not torch.equal(image, plain))
    assert sum(changed) >= 3


def test_white_page_stays_white_in_geometric_augmentations():
    cfg = make_config("INPUT.SIZE_TRAIN", [24, 24], *enable_always("PADDING", "FLIP", "AFFINE", "warp", "elastic"))
    for seed in range(20):
        with keyed_torch_rng(seed):
            assert build_train_transforms(cfg)(np.full((30, 30), 255, np.uint8)).min() == 255


def test_fill_zero_gives_black_as_in_fast_reid():
    cfg = make_config("INPUT.SIZE_TRAIN", [24, 24], "INPUT.FILL", 0, *enable_always("PADDING"))
    with keyed_torch_rng(1):
        assert build_train_transforms(cfg)(np.full((30, 30), 255, np.uint8)).min() == 0


def test_erasing_fills_each_channel_with_its_value():
    cfg = make_config("INPUT.SIZE_TRAIN", [24, 24], "INPUT.REA.VALUE", [10, 20, 30], *enable_always("REA"))
    with keyed_torch_rng(0):
        image = build_train_transforms(cfg)(np.full((30, 30), 255, np.uint8))
    assert [channel.unique().tolist() for channel in image] == [[10, 255], [20, 255], [30, 255]]


def test_test_transform_crops_the_center_if_training_crops():
    cfg = make_config("INPUT.SIZE_TEST", 20, "INPUT.CROP.SIZE", [10, 16], *enable("CROP"))
    page = np.zeros((20, 40), np.uint8)
    page[5:15, 12:28] = 200
    image = build_test_transforms(cfg)(page)
    assert image.shape == (3, 10, 16)
    assert image.unique().tolist() == [200]


def test_crop_larger_than_the_image_raises():
    with pytest.raises(
        InputError, match=r"INPUT\.CROP\.SIZE is \[10, 30\]; it must not exceed INPUT\.SIZE_TEST \[20, 20\]"
    ):
        build_test_transforms(make_config("INPUT.SIZE_TEST", [20, 20], "INPUT.CROP.SIZE", [10, 30], *enable("CROP")))


def test_augmented_batches_do_not_depend_on_workers_or_start():
    options = ["INPUT.SIZE_TRAIN", [16, 16], "INPUT.CROP.SIZE", [16, 16], *enable_always(*ALL_STEPS)]
    sampler = ["DATALOADER.SAMPLER_TRAIN", "BalancedIdentitySampler"]
    main_process = make_folder_config(*options, *sampler)
    with_workers = make_folder_config(*options, *sampler, "DATALOADER.NUM_WORKERS", 2)
    train, _ = build_datasets(main_process)
    uninterrupted = list(islice(build_train_loader(main_process, train), 5))
    loader = build_train_loader(with_workers, train, start_iteration=3)
    tail = list(islice(loader, 2))
    loader.close()
    assert all(torch.equal(one.images, other.images) for one, other in zip(uninterrupted[3:], tail))


@pytest.mark.skipif(not DATA.is_dir(), reason="the USPTO sheets are not next to this checkout (../shared/data)")
def test_real_sheets_load_from_lists_to_batches():
    cfg = make_config("DATASETS.ROOT", str(DATA), "DATASETS.NAMES", "Patent", "DATASETS.TESTS", "Patent")
    train, tests = build_datasets(cfg)
    data = tests["Patent"]
    assert (len(train), len(data.queries), len(data.gallery)) == (356, 58, 175)
    loader = build_train_loader(cfg, train)
    assert (loader.num_classes, loader.patents[:3]) == (55, ("0", "1", "10"))
    batch = next(iter(build_test_loader(cfg, data.queries[:8])))
    assert batch.rows.tolist() == list(range(8))
    assert batch.images.mean() > 150  # white sheets


@pytest.mark.parametrize("build", [build_train_transforms, build_test_transforms])
def test_aspect_and_fill_apply_to_training_and_test(build):
    sizes = ("INPUT.SIZE_TRAIN", [30, 30], "INPUT.SIZE_TEST", [30, 30])
    image = build(make_config(*sizes, "INPUT.ASPECT", "fit", "INPUT.FILL", 7))(np.full((40, 20), 255, np.uint8))[0]
    assert (image[:, 8:22] == 255).all()
    assert (image[:, :7] == 7).all()
