"""The default settings train a ResNet on synthetic drawings, on any device."""

from commands import run_here


def test_defaults_train_with_tiny_sizes(tmp_path):
    (tmp_path / "defaults.yml").write_text("SEED: 0\n")
    sizes = {
        "MODEL.BACKBONE.DEPTH": "18x",
        "MODEL.BACKBONE.FEAT_DIM": 512,
        "INPUT.SIZE_TRAIN": "[32, 32]",
        "INPUT.SIZE_TEST": "[32, 32]",
        "DATASETS.GENERATED.NUM_TRAIN_PATENTS": 4,
        "DATASETS.GENERATED.NUM_TEST_PATENTS": 1,
        "DATASETS.GENERATED.SIZE_PX": 64,
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.MAX_EPOCH": 1,
    }
    settings = [str(item) for pair in sizes.items() for item in pair]
    code, output, errors = run_here("train", "--config-file", "defaults.yml", *settings, folder=tmp_path)
    assert code == 0, output + errors
    assert (tmp_path / "logs/model_final.pth").is_file()
