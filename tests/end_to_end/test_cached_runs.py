import shutil

import pytest
from commands import TINY, metrics, run_here, same_bits

STEPS = ("SOLVER.MAX_EPOCH", 1, "DATALOADER.NUM_WORKERS", 2, "INPUT.LONGEST_PX", 48)
STEPS += ("TEST.NUM_VISUALIZED_QUERIES", 0)


def train(folder, root, *options):
    options = ("DATASETS.ROOT", root, *STEPS, *options)
    return run_here("train", "--config-file", TINY, *options, "OUTPUT_DIR", "out", folder=folder)


@pytest.fixture
def root(drawings, tmp_path):
    return shutil.copytree(drawings, tmp_path / "data")


def prepare(folder, root, *options):
    options = (*options, "DATASETS.ROOT", root, "INPUT.LONGEST_PX", 48)
    return run_here("data cache", "--config-file", TINY, *options, folder=folder)


def test_training_from_cache_equals_training_from_files(root, tmp_path):
    for name, options in (("files", ()), ("cache", ("DATASETS.CACHE.ENABLED", True))):
        (tmp_path / name).mkdir()
        code, output, errors = train(tmp_path / name, root, *options)
        assert code == 0, errors
    assert "pages, 0 were in the cache" in output
    assert same_bits(tmp_path / "files/out/model_final.pth", tmp_path / "cache/out/model_final.pth")
    assert metrics(tmp_path / "files/out") == metrics(tmp_path / "cache/out")


def test_prepare_decodes_each_drawing_once_and_reports_sizes(root, tmp_path):
    code, output, errors = prepare(tmp_path, root, "--split", "train")
    assert code == 0, errors
    assert "were in the cache; it has" in output
    assert "to use the cache, set DATASETS.CACHE.ENABLED True" in output
    code, output, errors = prepare(tmp_path, root)
    num_decoded, num_reused = (
        output.split(": decoded ")[1].split(" pages, ")[0],
        output.split(" pages, ")[1].split(" were in")[0],
    )
    assert int(num_decoded) > 0
    assert int(num_reused) > 0
    code, output, errors = prepare(tmp_path, root, "--repair", "DATASETS.CACHE.ENABLED", True)
    assert code == 0, errors
    assert "removed 0 entries" in output
    assert ": decoded 0 pages, " in output


def test_invalid_cache_file_exits_with_code_5(root, tmp_path):
    code, output, errors = prepare(tmp_path, root)
    [cache] = (root / "cache").glob("*.sqlite")
    cache.write_bytes(b"not a database at all" * 100)
    code, output, errors = train(tmp_path, root, "DATASETS.CACHE.ENABLED", True)
    assert (code, len(errors.splitlines())) == (5, 1), output + errors
    assert "damaged (file is not a database); delete the file, and the next run decodes it again" in errors


def test_all_unreadable_images_are_reported_before_training(root, tmp_path):
    queries = (next(root.rglob("val_query_patent.txt"))).read_text().split()
    pages = {path.name: path for path in root.rglob("*.png")}
    unreadable = [
        *list(pages.values())[:2],
        pages[queries[0].rpartition("/")[2]],
    ]  # of training, and one that only a test reads
    for path in unreadable:
        path.write_bytes(path.read_bytes()[:100])
    code, _, errors = train(tmp_path, root, "DATASETS.CACHE.ENABLED", True)
    heading, *faults = errors.splitlines()
    assert (code, heading, len(faults)) == (2, "unreadable drawings: 3 faults", 3), errors
    assert all(path.name in errors for path in unreadable)


def test_only_training_may_skip_unreadable_images(root, tmp_path):
    pages = {path.name: path for path in root.rglob("*.png")}
    trained, tested = (
        pages[next(root.rglob(name)).read_text().split()[0].rpartition("/")[2]]
        for name in ("train_patent_trn.txt", "val_query_patent.txt")
    )
    trained.write_bytes(trained.read_bytes()[:100])
    skip = ("INPUT.ON_BAD_IMAGE", "skip", "TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.NUM_ITER", 4)
    skip += ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "train", "TEST.WHITEN.DIM", 8)
    for name, options in (("files", ()), ("cache", ("DATASETS.CACHE.ENABLED", True))):
        (tmp_path / name).mkdir()
        code, output, errors = train(tmp_path / name, root, *skip, *options)
        assert code == 0, errors
        assert output.count(f"{trained.name}: ") == 1
        assert "skipped, another drawing of its patent replaces it" in output
    assert "unreadable training drawings that are skipped (INPUT.ON_BAD_IMAGE): 1" in output
    assert same_bits(tmp_path / "files/out/model_final.pth", tmp_path / "cache/out/model_final.pth")
    tested.write_bytes(b"no image")
    for options in ((), ("DATASETS.CACHE.ENABLED", True)):
        code, _, errors = train(tmp_path, root, *skip, *options)
        assert (code, len(errors.splitlines())) == (2, 1), errors


def test_invalid_config_fails_before_decoding(root, tmp_path):
    for options in (("INPUT.ASPECT", "fit", "INPUT.SIZE_TRAIN", "[32]"), ("MODEL.WEIGHTS", "nowhere.pth")):
        code, _, errors = train(tmp_path, root, "DATASETS.CACHE.ENABLED", True, *options)
        assert (code, len(errors.splitlines())) == (2, 1), errors
    assert not list(root.rglob("*.sqlite"))


def test_run_resumes_with_the_cache_enabled(root, tmp_path):
    code, _, errors = train(tmp_path, root)
    assert code == 0, errors
    options = (
        "DATASETS.ROOT",
        root,
        *STEPS,
        "SOLVER.MAX_EPOCH",
        2,
        "DATASETS.CACHE.ENABLED",
        True,
        "OUTPUT_DIR",
        "out",
    )
    code, output, errors = run_here("train", "--config-file", TINY, "--resume", *options, folder=tmp_path)
    assert code == 0, errors
    assert "resuming from" in output


def test_run_stopped_by_an_unreadable_image_resumes_with_skip(root, tmp_path):
    code, _, errors = train(tmp_path, root)
    assert code == 0, errors
    trained = next(root.rglob("train_patent_trn.txt")).read_text().split()[0].rpartition("/")[2]
    [page] = root.rglob(trained)
    page.write_bytes(b"no image")
    longer = ("SOLVER.MAX_EPOCH", 2)
    options = (
        "train",
        "--config-file",
        TINY,
        "--resume",
        "DATASETS.ROOT",
        root,
        *STEPS,
        *longer,
        "OUTPUT_DIR",
        "out",
    )
    code, _, errors = run_here(*options, folder=tmp_path)
    assert code == 2, errors
    code, output, errors = run_here(*options, "INPUT.ON_BAD_IMAGE", "skip", folder=tmp_path)
    assert code == 0, errors
    assert "resuming from" in output
    assert "another drawing of its patent replaces it" in output
