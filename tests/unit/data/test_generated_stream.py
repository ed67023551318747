import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.data.build import fill_cache_if_enabled
from fastreid.data.datasets.generated_stream import GeneratedStream
from fastreid.data.io.reader import DrawingReader
from fastreid.engine.data import build_dataset, build_datasets, build_reader, build_train_loader
from fastreid.structures import SYNTHETIC_PREFIX, Drawing
from fastreid.synthetic import Collection, make_patent
from fastreid.synthetic.stream import StreamRenderer, list_drawings
from fastreid.utils.errors import InputError


def stream(*args, **options):
    return GeneratedStream(lambda: list_drawings(Collection(*args, **options)))


STREAM = stream(3, 4, 1, size_px=64)


def fail_to_read(drawing):
    raise AssertionError(f"{drawing.path} was read")


def make_reader(read_file=fail_to_read, **options):
    return DrawingReader(read_file, render=StreamRenderer(), **options)


def test_list_has_all_drawings_of_each_patent_and_no_file():
    drawings = STREAM.train()
    assert len({drawing.patent for drawing in drawings}) == 4
    assert len({drawing.path for drawing in drawings}) == len(drawings)
    assert all(drawing.is_synthetic for drawing in drawings)


def test_address_of_a_drawing_does_not_change():
    drawing = stream(3, 1, 1, size_px=64, disjoint=False).train()[1]
    assert drawing.path == f"{SYNTHETIC_PREFIX}5/3/0/1/64/0/"
    assert (drawing.name, drawing.patent) == ("USDG000000-20260101/USDG000000-20260101-D00001.png", "0")


def test_page_does_not_depend_on_pages_read_before():
    drawings = STREAM.train()
    read = make_reader()
    pages = [read(drawing) for drawing in drawings]
    assert np.array_equal(make_reader()(drawings[-1]), pages[-1])
    assert np.array_equal(pages[1], np.asarray(make_patent(3, 0).render(1, size_px=64, gray=True)))
    assert all(max(page.shape) == 64 and page.dtype == np.uint8 for page in pages)


def test_rendered_page_is_limited_to_longest_px():
    large = stream(3, 1, 1, size_px=640).train()[0]
    assert max(make_reader(longest_px=96)(large).shape) == 96


def test_address_of_other_rules_is_invalid():
    with pytest.raises(InputError, match="has rules 4; this version renders 5"):
        make_reader()(Drawing(f"{SYNTHETIC_PREFIX}4/3/0/1/64/0/", "a", "1"))


def test_drawings_with_files_are_read():
    assert make_reader(lambda drawing: drawing.name)(Drawing("a.png", "a", "1")) == "a"


def test_stream_has_no_test_set():
    with pytest.raises(InputError, match="has no test set; set DATASETS"):
        STREAM.test()


def test_stream_writes_no_files_with_and_without_cache(tmp_path):
    cfg = get_cfg()
    settings = ["DATASETS.NAMES", "GeneratedStream", "DATASETS.TESTS", "Generated", "DATASETS.ROOT", str(tmp_path),
                "DATASETS.GENERATED.NUM_TRAIN_PATENTS", 4, "DATASETS.GENERATED.NUM_TEST_PATENTS", 1,
                "DATASETS.GENERATED.SIZE_PX", 64, "SOLVER.IMS_PER_BATCH", 4, "INPUT.SIZE_TRAIN", [32, 32],
                "DATALOADER.NUM_WORKERS", 0]  # fmt: skip
    cfg.merge_from_list(settings)
    train, _ = build_datasets(cfg)
    (generated,) = tmp_path.glob("generated-*")
    without_cache = next(build_train_loader(cfg, train))
    cfg.merge_from_list(["DATASETS.CACHE.ENABLED", True])
    fill_cache_if_enabled(cfg, training=train)
    with_cache = next(build_train_loader(cfg, train))
    assert np.array_equal(without_cache.images, with_cache.images)
    assert not any(path.name == "train_patent" for path in tmp_path.iterdir())
    assert build_reader(cfg)(train[0]).ndim == 2
    assert generated.is_dir()


def find_generated_folder(root, *options):
    cfg = get_cfg()
    num_patents = ["DATASETS.GENERATED.NUM_TRAIN_PATENTS", 2, "DATASETS.GENERATED.NUM_TEST_PATENTS", 1]
    cfg.merge_from_list([*num_patents, *options])
    return build_dataset(cfg, "Generated").folder.relative_to(root).name


def test_generated_folder_keeps_its_name_between_versions(tmp_path, monkeypatch):
    root = ("DATASETS.ROOT", str(tmp_path), "DATASETS.GENERATED.SEED", 0, "DATASETS.GENERATED.DISJOINT", True)
    size = ("DATASETS.GENERATED.SIZE_PX", 64, "DATASETS.GENERATED.EXCLUDE", [])
    assert find_generated_folder(tmp_path, *root, *size) == "generated-2747622a"
    assert find_generated_folder(tmp_path, *root, *size, "DATALOADER.NUM_WORKERS", 8) == "generated-2747622a"
    others = (("DATASETS.GENERATED.SEED", 1), ("DATASETS.GENERATED.SIZE_PX", 65))
    folders = {find_generated_folder(tmp_path, *root, *size, *other) for other in others}
    monkeypatch.setattr("fastreid.engine.data.RULES_VERSION", 6)
    folders.add(find_generated_folder(tmp_path, *root, *size))
    assert len(folders - {"generated-2747622a"}) == 3
