"""From a config to drawings, transforms and loaders."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data.build import (
    DATASETS,
    SAMPLERS,
    build_datasets,
    build_test_datasets,
    build_test_loader,
    build_train_loader,
)
from fastreid.data.transforms.build import build_test_transforms, build_train_transforms
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_torch

DATA = Path(__file__).parents[4] / "shared/data/uspto_design"
OURS = ("ROT90", "WARP", "ELASTIC", "STROKES", "BREAKS", "SCAN")
ALL_STEPS = ("CROP", "PADDING", "FLIP", "CJ", "AFFINE", "AUTOAUG", "AUGMIX", "REA", "RPT", *OURS)
ALWAYS = ("FLIP", "CJ", "AUTOAUG", "AUGMIX", "REA", "RPT", *OURS)


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 8, *options])
    cfg.freeze()
    return cfg


@pytest.fixture
def shelf(tmp_path):
    """Ten patents of five drawings, and lists of the first four in two layouts."""
    rng = np.random.default_rng(0)
    for patent in range(10):
        for view in range(5):
            path = tmp_path / f"shelf/p{patent}/{view}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8)).save(path)
    lines = [f"p{patent}/{view}.png {patent}\n" for patent in range(4) for view in range(5)]
    (tmp_path / "train.txt").write_text("".join(lines[:15]))
    (tmp_path / "query.txt").write_text("".join(lines[15:17]))
    (tmp_path / "database.txt").write_text("".join(lines[17:]))
    return tmp_path


@pytest.fixture(autouse=True)
def at_the_shelf(shelf, monkeypatch):
    """Paths of the config start from the working folder."""
    monkeypatch.chdir(shelf)


LISTS = ("DATASETS.LIST.IMAGES", "shelf", "DATASETS.LIST.TRAIN", "train.txt", "DATASETS.LIST.QUERY", "query.txt")


def with_lists(*options):
    lists = (*LISTS, "DATASETS.LIST.DATABASE", "database.txt", "DATASETS.NAMES", "List", "DATASETS.TESTS", "List")
    return config(*lists, *options)


def with_folder(*options):
    given = ("DATASETS.NAMES", "Folder", "DATASETS.TESTS", "Folder", "DATASETS.FOLDER.PATH", "shelf")
    return config(*given, *options)


def test_a_set_from_lists_needs_only_the_config():
    train, tests = build_datasets(with_lists())
    assert len(train) == 15
    assert {drawing.patent for drawing in train} == {"0", "1", "2"}
    assert (len(tests["List"].queries), len(tests["List"].gallery)) == (2, 3)
    assert tests["List"].train == ()


def test_a_set_from_a_folder_needs_only_the_config():
    train, tests = build_datasets(with_folder())
    assert (len(train), len(tests["Folder"].queries), len(tests["Folder"].gallery)) == (40, 4, 6)


def test_a_path_may_be_absolute(shelf):
    assert len(build_datasets(with_folder("DATASETS.FOLDER.PATH", str(shelf / "shelf")))[0]) == 40


def test_the_root_is_the_configs_then_the_environments_then_datasets(monkeypatch):
    def looked_in(*options):
        with pytest.raises(InputError) as refusal:
            build_datasets(config("DATASETS.NAMES", "Patent", "DATASETS.TESTS", "Patent", *options))
        return str(refusal.value).split("/train_data")[0]

    assert looked_in() == "datasets"
    monkeypatch.setenv("FASTREID_DATASETS", "of the environment")
    assert looked_in() == "of the environment"
    assert looked_in("DATASETS.ROOT", "of the config") == "of the config"


def test_a_test_reads_no_training_list(shelf):
    (shelf / "train.txt").unlink()
    assert list(build_test_datasets(with_lists())) == ["List"]


BOTH = ("DATASETS.NAMES", "('List','Folder')", "DATASETS.FOLDER.PATH", "shelf", "DATASETS.ALLOW_OVERLAP", True)


def test_several_sets_are_joined_under_their_names():
    train, _ = build_datasets(with_lists(*BOTH))
    assert {drawing.patent.split("_")[0] for drawing in train} == {"List", "Folder"}
    assert len(train) == 55


def test_a_drawing_in_training_and_test_is_refused_unless_allowed(shelf, caplog):
    (shelf / "train.txt").write_text("p3/0.png 3\np0/0.png 0\n")
    with pytest.raises(
        InputError, match=r"1 drawings stand in training and in the test set List: p3/0\.png; .*ALLOW_OVERLAP"
    ):
        build_datasets(with_lists())
    build_datasets(with_lists("DATASETS.ALLOW_OVERLAP", True))
    assert "its scores say little" in caplog.text


def test_training_on_the_test_drawings_too_is_an_overlap_and_works_when_allowed():
    cfg = with_lists("DATASETS.COMBINEALL", True)
    with pytest.raises(InputError, match="5 drawings stand in training"):
        build_datasets(cfg)
    train, _ = build_datasets(with_lists("DATASETS.COMBINEALL", True, "DATASETS.ALLOW_OVERLAP", True))
    assert sorted({drawing.patent for drawing in train}) == ["List_0", "List_1", "List_2", "List_test_3"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["DATASETS.NAMES", "Market1501"],
            "no data set is called 'Market1501'. Known: Folder, Generated, GeneratedStream, List",
        ),
        (["DATASETS.NAMES", "Patnt"], "Did you mean 'Patent'"),
        (
            ["DATASETS.TESTS", "('List','List')"],
            "DATASETS.TESTS is ('List', 'List'); it takes one data set or more, each once",
        ),
        (["DATASETS.LIST.IMAGES", ""], "DATASETS.LIST.IMAGES is empty"),
        (["DATASETS.NAMES", "Patent"], "no list can be read here"),
        (["DATASETS.NAMES", "Folder"], "DATASETS.FOLDER.PATH is empty"),
    ],
)
def test_a_wrong_choice_of_data_is_refused(options, words):
    with pytest.raises(InputError) as refusal:
        build_datasets(with_lists(*options))
    assert words in str(refusal.value)


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_every_sampler_of_the_table_loads(name):
    cfg = with_folder("DATALOADER.SAMPLER_TRAIN", name, "INPUT.SIZE_TRAIN", [16, 16])
    train, _ = build_datasets(cfg)
    loader = build_train_loader(cfg, train)
    assert (loader.num_classes, loader.iters_per_epoch) == (8, 5)
    assert [len(batch.rows) for batch in islice(loader, 6)] == [8] * 6


def test_a_sampler_that_is_left_out_is_refused_by_name():
    cfg = with_folder("DATALOADER.SAMPLER_TRAIN", "SetReWeightSampler")
    with pytest.raises(InputError, match="no training sampler is called 'SetReWeightSampler'"):
        build_train_loader(cfg, build_datasets(cfg)[0])


def test_the_tables_hold_what_the_docs_say():
    assert DATASETS.names() == ["Folder", "Generated", "GeneratedStream", "List", "Patent", "PatentTest"]


def test_patents_with_few_drawings_are_told_once(caplog):
    cfg = with_folder("DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "DATALOADER.NUM_INSTANCE", 8)
    train, _ = build_datasets(cfg)
    with caplog.at_level("INFO"):
        build_train_loader(cfg, train)
        build_train_loader(cfg, train, start_iteration=3)
    assert caplog.text.count("8 of 8 patents have fewer than 8 drawings") == 1


def test_what_a_sampler_shows_is_told_once_at_the_start_by_the_first_device(caplog):
    cfg = with_folder("DATALOADER.SAMPLER_TRAIN", "CompleteIdentitySampler")
    train, _ = build_datasets(cfg)
    with caplog.at_level("INFO"):
        build_train_loader(cfg, train)
        build_train_loader(cfg, train, start_iteration=3)
        build_train_loader(cfg, train, rank=1, world_size=2)
    assert caplog.text.count("CompleteIdentitySampler: 100% of a batch are distinct drawings") == 1
    assert "shows 100.0% of the list" in caplog.text


def test_look_alikes_are_refused_by_a_sampler_that_knows_none():
    cfg = with_folder("DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "DATALOADER.HARD_IDENTITIES", 0.5)
    with pytest.raises(
        InputError, match=r"HARD_IDENTITIES is 0\.5 and NaiveIdentitySampler knows no .*CompleteIdentitySampler"
    ):
        build_train_loader(cfg, build_datasets(cfg)[0])


def test_a_loader_makes_its_batches_with_the_table_it_is_given():
    cfg = with_folder("DATALOADER.SAMPLER_TRAIN", "CompleteIdentitySampler", "DATALOADER.HARD_IDENTITIES", 0.5)
    train, _ = build_datasets(cfg)
    ring = np.roll(np.arange(8), -1)[:, None]
    patents = [
        [set(batch.targets.tolist()) for batch in islice(build_train_loader(cfg, train, neighbours=tables), 5)]
        for tables in (None, {0: ring})
    ]
    assert patents[0] != patents[1]


def steps_on(*names):
    return [word for name in names for word in (f"INPUT.{name}.ENABLED", True)]


def always_on(*names):
    return steps_on(*names) + [word for name in names if name in ALWAYS for word in (f"INPUT.{name}.PROB", 1.0)]


@pytest.mark.parametrize("step", ALL_STEPS)
def test_every_step_can_be_switched_on_and_changes_the_image(step):
    size = ["INPUT.SIZE_TRAIN", [24, 24], "INPUT.CROP.SIZE", [24, 24]]
    train, _ = build_datasets(with_folder())
    page = np.random.default_rng(1).integers(0, 256, (30, 40), dtype=np.uint8)
    plain = build_train_transforms(config(*size))(page)
    transform = build_train_transforms(config(*size, *always_on(step)), donors=train)
    changed = []
    for seed in range(8):
        with keyed_torch(seed):
            image = transform(page)
        assert (image.shape, image.dtype) == ((3, 24, 24), torch.float32)
        assert 0 <= image.min() <= image.max() <= 255
        changed.append(not torch.equal(image, plain))
    assert sum(changed) >= 3


def test_a_white_page_stays_white_through_all_that_moves_it():
    cfg = config("INPUT.SIZE_TRAIN", [24, 24], *always_on("PADDING", "FLIP", "AFFINE", "WARP", "ELASTIC"))
    for seed in range(20):
        with keyed_torch(seed):
            assert build_train_transforms(cfg)(np.full((30, 30), 255, np.uint8)).min() == 255


def test_fill_zero_brings_back_fast_reids_black():
    cfg = config("INPUT.SIZE_TRAIN", [24, 24], "INPUT.FILL", 0, *always_on("PADDING"))
    with keyed_torch(1):
        assert build_train_transforms(cfg)(np.full((30, 30), 255, np.uint8)).min() == 0


def test_erasing_fills_with_the_value_of_each_channel():
    cfg = config("INPUT.SIZE_TRAIN", [24, 24], "INPUT.REA.VALUE", [10, 20, 30], *always_on("REA"))
    with keyed_torch(0):
        image = build_train_transforms(cfg)(np.full((30, 30), 255, np.uint8))
    assert [channel.unique().tolist() for channel in image] == [[10, 255], [20, 255], [30, 255]]


def test_the_test_cuts_the_centre_where_training_crops():
    cfg = config("INPUT.SIZE_TEST", 20, "INPUT.CROP.SIZE", [10, 16], *steps_on("CROP"))
    page = np.zeros((20, 40), np.uint8)
    page[5:15, 12:28] = 200
    image = build_test_transforms(cfg)(page)
    assert image.shape == (3, 10, 16)
    assert image.unique().tolist() == [200]


def test_a_crop_larger_than_what_it_is_cut_from_is_refused():
    with pytest.raises(
        InputError, match=r"INPUT\.CROP\.SIZE is \[10, 30\]; allowed is at most INPUT\.SIZE_TEST \[20, 20\]"
    ):
        build_test_transforms(config("INPUT.SIZE_TEST", [20, 20], "INPUT.CROP.SIZE", [10, 30], *steps_on("CROP")))


def test_all_steps_together_do_not_depend_on_workers_or_where_the_run_began():
    options = ["INPUT.SIZE_TRAIN", [16, 16], "INPUT.CROP.SIZE", [16, 16], *always_on(*ALL_STEPS)]
    sampler = ["DATALOADER.SAMPLER_TRAIN", "BalancedIdentitySampler"]
    alone = with_folder(*options, *sampler)
    shared = with_folder(*options, *sampler, "DATALOADER.NUM_WORKERS", 2)
    train, _ = build_datasets(alone)
    whole = list(islice(build_train_loader(alone, train), 5))
    loader = build_train_loader(shared, train, start_iteration=3)
    tail = list(islice(loader, 2))
    loader.close()
    assert all(torch.equal(one.images, other.images) for one, other in zip(whole[3:], tail))


@pytest.mark.skipif(not DATA.is_dir(), reason="the USPTO sheets are not beside this checkout (../shared/data)")
def test_real_sheets_load_from_lists_to_batches():
    cfg = config("DATASETS.ROOT", str(DATA), "DATASETS.NAMES", "Patent", "DATASETS.TESTS", "Patent")
    train, tests = build_datasets(cfg)
    data = tests["Patent"]
    assert (len(train), len(data.queries), len(data.gallery)) == (356, 58, 175)
    loader = build_train_loader(cfg, train)
    assert (loader.num_classes, loader.words[:3]) == (55, ("0", "1", "10"))
    batch = next(iter(build_test_loader(cfg, data.queries[:8])))
    assert batch.rows.tolist() == list(range(8))
    assert batch.images.mean() > 150  # white sheets


@pytest.mark.parametrize("build", [build_train_transforms, build_test_transforms])
def test_aspect_and_fill_of_the_config_reach_training_and_test(build):
    sizes = ("INPUT.SIZE_TRAIN", [30, 30], "INPUT.SIZE_TEST", [30, 30])
    image = build(config(*sizes, "INPUT.ASPECT", "fit", "INPUT.FILL", 7))(np.full((40, 20), 255, np.uint8))[0]
    assert (image[:, 8:22] == 255).all()
    assert (image[:, :7] == 7).all()
