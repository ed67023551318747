"""`fastreid predict` with trained weights."""

import shutil

import numpy as np
from commands import TINY, run, run_here, run_interpreter

from fastreid.engine.predictor import Predictor
from fastreid.evaluation import nearest


def test_features_and_neighbors_equal_the_predictor(drawings, trained, tmp_path):
    weights = trained / "model_best.pth"
    pages = sorted(map(str, drawings.rglob("*.png")))[:6]
    options = ("--config-file", TINY, "--weights", weights, "--output", "features.npy")
    code, output, errors = run_here("predict", *options, "--gallery", drawings, "-k", 3, *pages, folder=tmp_path)
    assert code == 0, errors
    predictor = Predictor.from_config(TINY, weights)
    features = predictor(pages)
    np.testing.assert_allclose(np.load(tmp_path / "features.npy"), features.numpy(), atol=1e-6)
    gallery = sorted(map(str, drawings.rglob("*.png")))
    expected = nearest(features, predictor(gallery), 3).indices.tolist()
    lines = output.splitlines()
    assert sum(line.startswith("  ") for line in lines) == 3 * len(pages)
    for row, page in enumerate(pages):
        first = lines.index(page)
        printed = [line.split(maxsplit=2)[2] for line in lines[first + 1 : first + 4]]
        assert printed == [gallery[index] for index in expected[row]]
        assert printed[0] == page
    assert lines[-1] == "columns: rank, distance (cosine), drawing"


def test_csv_in_a_new_interpreter(drawings, trained, tmp_path):
    page = min(map(str, drawings.rglob("*.png")))
    settings = ("MODEL.WEIGHTS", trained / "model_best.pth")
    options = ("--quiet", "--config-file", TINY, "--output", "features.csv")
    code, output, errors = run_interpreter("predict", *options, page, *settings, folder=tmp_path)
    assert (code, errors) == (0, "")
    assert output == "features.csv: features of 1 drawing, 32 values each\n"
    assert len((tmp_path / "features.csv").read_text().splitlines()) == 2


def test_unreadable_files_are_skipped_in_the_gallery_and_errors_as_queries(drawings, trained, tmp_path):
    page = min(map(str, drawings.rglob("*.png")))
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    shutil.copy(page, gallery / "good.png")
    (gallery / "gone.png").symlink_to(tmp_path / "nothing.png")
    for number in range(21):
        (gallery / f"text{number:02d}.png").write_text("text")
    options = ("--config-file", TINY, "--weights", trained / "model_best.pth", "--gallery", gallery)
    code, output, errors = run_here("predict", *options, page, folder=tmp_path)
    assert code == 0, errors
    assert output.splitlines()[-3:] == [
        f"  1  0.0000  {gallery}/good.png",
        "columns: rank, distance (cosine), drawing",
        "gallery: 1 drawing searched, 22 unreadable files skipped",
    ]
    log = output + errors
    assert log.count("skipped in the gallery: ") == 21
    assert "text18.png" in log
    assert "text19.png" not in log
    assert "skipped in the gallery: 22 in all, of which 20 are listed" in log
    bad = [gallery / "text00.png", page, gallery / "text01.png"]
    code, output, errors = run_here("predict", *options, *bad, folder=tmp_path)
    assert code == 2
    assert all(f"{name}: not an image" in errors for name in (bad[0], bad[2]))
    (gallery / "good.png").unlink()
    code, output, errors = run_here("predict", *options, page, folder=tmp_path)
    assert code == 2
    assert f"{gallery}: no drawing can be read (22 unreadable files)" in errors


def test_other_image_size_than_in_training_is_a_warning(drawings, trained, tmp_path):
    page = min(map(str, drawings.rglob("*.png")))
    weights = trained / "model_best.pth"
    options = ("--quiet", "--config-file", TINY, "--weights", weights, "--output", "features.npy", page)
    code, output, errors = run("predict", *options, "INPUT.SIZE_TEST", "[48, 48]", folder=tmp_path)
    assert code == 0, errors
    assert (output + errors).count(f"{weights}: other settings than in the run that saved it") == 1
    assert "INPUT.SIZE_TEST was [32, 32] and is [48, 48]" in output + errors
