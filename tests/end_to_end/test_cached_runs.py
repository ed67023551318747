"""The cache changes no pixel of a run, and says in one line what is wrong with it."""

import shutil

import pytest
from commands import TINY, metrics, run_here, same_bits

STEPS = ("SOLVER.MAX_EPOCH", 1, "DATALOADER.NUM_WORKERS", 2, "INPUT.LONGEST_PX", 48)


def train(folder, root, *words):
    words = ("DATASETS.ROOT", root, *STEPS, *words)
    return run_here("train_net.py", "--config-file", TINY, *words, "OUTPUT_DIR", "out", folder=folder)


@pytest.fixture
def root(drawings, tmp_path):
    return shutil.copytree(drawings, tmp_path / "data")


def prepare(folder, root, *words):
    words = (*words, "DATASETS.ROOT", root, "INPUT.LONGEST_PX", 48)
    return run_here("prepare.py", "--config-file", TINY, *words, folder=folder)


def test_a_run_from_the_cache_is_the_run_from_the_files(root, tmp_path):
    for name, words in (("files", ()), ("cache", ("DATASETS.CACHE.ENABLED", True))):
        (tmp_path / name).mkdir()
        code, output, errors = train(tmp_path / name, root, *words)
        assert code == 0, errors
    assert "pages, 0 were there" in output
    assert same_bits(tmp_path / "files/out/model_final.pth", tmp_path / "cache/out/model_final.pth")
    assert metrics(tmp_path / "files/out") == metrics(tmp_path / "cache/out")


def test_prepare_decodes_each_drawing_once_and_says_what_it_takes(root, tmp_path):
    code, output, errors = prepare(tmp_path, root, "--split", "train")
    assert code == 0, errors
    assert "were there; it holds" in output
    assert "to use it: DATASETS.CACHE.ENABLED True" in output
    code, output, errors = prepare(tmp_path, root)
    made, kept = output.split(": made ")[1].split(" pages, ")[0], output.split(" pages, ")[1].split(" were there")[0]
    assert int(made) > 0
    assert int(kept) > 0
    code, output, errors = prepare(tmp_path, root, "--mend", "DATASETS.CACHE.ENABLED", True)
    assert code == 0, errors
    assert "forgot 0 files" in output
    assert ": made 0 pages, " in output


def test_a_cache_that_is_no_cache_is_one_line_and_exit_code_5(root, tmp_path):
    code, output, errors = prepare(tmp_path, root)
    [cache] = (root / "cache").glob("*.sqlite")
    cache.write_bytes(b"not a database at all" * 100)
    code, output, errors = train(tmp_path, root, "DATASETS.CACHE.ENABLED", True)
    assert (code, len(errors.splitlines())) == (5, 1), output + errors
    assert "damaged (file is not a database); remove it, and its pages are made anew" in errors


def test_bad_images_are_all_told_before_the_first_step(root, tmp_path):
    queries = (next(root.rglob("val_query_patent.txt"))).read_text().split()
    pages = {path.name: path for path in root.rglob("*.png")}
    bad = [
        *list(pages.values())[:2],
        pages[queries[0].rpartition("/")[2]],
    ]  # of training, and one that only a test reads
    for path in bad:
        path.write_bytes(path.read_bytes()[:100])
    code, _, errors = train(tmp_path, root, "DATASETS.CACHE.ENABLED", True)
    assert (code, len(errors.splitlines())) == (2, 1), errors
    assert "3 faults" in errors
    assert all(path.name in errors for path in bad)


def test_training_goes_on_without_bad_images_where_it_is_told_to_and_a_test_never_does(root, tmp_path):
    pages = {path.name: path for path in root.rglob("*.png")}
    trained, tested = (
        pages[next(root.rglob(name)).read_text().split()[0].rpartition("/")[2]]
        for name in ("train_patent_trn.txt", "val_query_patent.txt")
    )
    trained.write_bytes(trained.read_bytes()[:100])
    skip = ("INPUT.ON_BAD_IMAGE", "skip", "TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.NUM_ITER", 4)
    skip += ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "train", "TEST.WHITEN.DIM", 8)
    for name, words in (("files", ()), ("cache", ("DATASETS.CACHE.ENABLED", True))):
        (tmp_path / name).mkdir()
        code, output, errors = train(tmp_path / name, root, *skip, *words)
        assert code == 0, errors
        assert output.count(f"{trained.name}: ") == 1
        assert "passed over, another drawing of its patent stands in" in output
    assert "cannot be read and are passed over (INPUT.ON_BAD_IMAGE): 1" in output
    assert same_bits(tmp_path / "files/out/model_final.pth", tmp_path / "cache/out/model_final.pth")
    tested.write_bytes(b"no image")
    for words in ((), ("DATASETS.CACHE.ENABLED", True)):
        code, _, errors = train(tmp_path, root, *skip, *words)
        assert (code, len(errors.splitlines())) == (2, 1), errors


def test_a_wrong_config_is_told_before_a_page_is_decoded(root, tmp_path):
    for words in (("INPUT.ASPECT", "fit", "INPUT.SIZE_TRAIN", "[32]"), ("MODEL.WEIGHTS", "nowhere.pth")):
        code, _, errors = train(tmp_path, root, "DATASETS.CACHE.ENABLED", True, *words)
        assert (code, len(errors.splitlines())) == (2, 1), errors
    assert not list(root.rglob("*.sqlite"))


def test_a_run_goes_on_with_the_cache_switched_on(root, tmp_path):
    code, _, errors = train(tmp_path, root)
    assert code == 0, errors
    words = ("DATASETS.ROOT", root, *STEPS, "SOLVER.MAX_EPOCH", 2, "DATASETS.CACHE.ENABLED", True, "OUTPUT_DIR", "out")
    code, output, errors = run_here("train_net.py", "--config-file", TINY, "--resume", *words, folder=tmp_path)
    assert code == 0, errors
    assert "going on from" in output


def test_a_run_that_a_bad_image_stopped_goes_on_over_it(root, tmp_path):
    code, _, errors = train(tmp_path, root)
    assert code == 0, errors
    trained = next(root.rglob("train_patent_trn.txt")).read_text().split()[0].rpartition("/")[2]
    [page] = root.rglob(trained)
    page.write_bytes(b"no image")
    longer = ("SOLVER.MAX_EPOCH", 2)
    words = (
        "train_net.py",
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
    code, _, errors = run_here(*words, folder=tmp_path)
    assert code == 2, errors
    code, output, errors = run_here(*words, "INPUT.ON_BAD_IMAGE", "skip", folder=tmp_path)
    assert code == 0, errors
    assert "going on from" in output
    assert "another drawing of its patent stands in" in output
