"""Unknown names of components are reported before any data is read."""

from pathlib import Path

import pytest

from fastreid.config import get_cfg
from fastreid.engine.evaluate import run_test
from fastreid.engine.features.extract import extract_datasets
from fastreid.engine.run_checks import check_component_names
from fastreid.engine.setup import load_config
from fastreid.experiments.batch_size import try_batch_sizes
from fastreid.utils.errors import InputError

TINY = Path(__file__).parents[2] / "end_to_end/tiny.yml"
RUNS = {
    "test": lambda cfg: run_test(cfg, random_weights=True),
    "extract": lambda cfg: list(extract_datasets(cfg, random_weights=True)),
    "batch-size": lambda cfg: list(try_batch_sizes(cfg)),
}


def configure(*opts):
    cfg = get_cfg()
    cfg.merge_from_list([*opts])
    return cfg


@pytest.fixture
def no_data(monkeypatch):
    for function in ("evaluate.build_test_datasets", "evaluate.build_datasets", "features.extract.build_test_datasets"):
        monkeypatch.setattr(f"fastreid.engine.{function}", lambda cfg: pytest.fail("read the data"))
    monkeypatch.setattr("fastreid.experiments.batch_size.build_datasets", lambda cfg: pytest.fail("read the data"))


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    ("key", "name"),
    [("MODEL.HEADS.POOL_LAYER", "GlobalAvgPol"), ("DATASETS.TESTS", "Generate"), ("TEST.METRIC", "cosin")],
)
def test_unknown_name_is_reported_first(run, key, name, no_data, tmp_path):
    cfg = load_config(TINY, ["MODEL.BACKBONE.NAME", "build_resnet_backbone", key, name, "OUTPUT_DIR", str(tmp_path)])
    with pytest.raises(InputError, match=rf"^{key} '{name}' is unknown\. Did you mean "):
        RUNS[run](cfg)


def test_tests_do_not_look_up_what_only_training_uses():
    cfg = configure("SOLVER.OPT", "Adm", "DATASETS.NAMES", "Own", "DATALOADER.SAMPLER_TRAIN", "Own")
    check_component_names(cfg, training=False)
    with pytest.raises(InputError, match=r"SOLVER\.OPT 'Adm' is unknown"):
        check_component_names(cfg, training=True)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("MODEL.BACKBONE.NORM", "LN"), "MODEL.BACKBONE.NORM 'LN' is unknown"),
        (("MODEL.BACKBONE.DEPTH", "19x"), "MODEL.BACKBONE.DEPTH '19x' is unknown. Did you mean '1"),
        (("MODEL.HEADS.NORM", "LN", "MODEL.HEADS.WITH_BNNECK", True), "MODEL.HEADS.NORM 'LN' is unknown"),
        (("TEST.FUSE.BY", "men", "TEST.FUSE.ENABLED", True), "TEST.FUSE.BY 'men' is unknown. Did you mean 'mean'"),
        (("TEST.GEM_POWER", 4.0), r"TEST\.GEM_POWER is 4, but the network has no generalized-mean pooling"),
        (("TEST.SCALES", [1.0, 1.01]), r"TEST\.SCALES: 1 and 1\.01 both give images of 256 x 256 px"),
        (("SOLVER.OPT", "LBFGS"), "SOLVER.OPT: LBFGS evaluates the loss several times per step"),
        (("DATASETS.NAMES", "Folder"), "DATASETS.FOLDER.PATH is empty"),
    ],
)
def test_names_of_parts_are_looked_up_where_they_are_used(opts, message):
    with pytest.raises(InputError, match=message):
        check_component_names(configure(*opts), training=True)
    check_component_names(configure("MODEL.HEADS.NORM", "LN", "TEST.FUSE.BY", "men"), training=True)
    pooled = ("MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP", "TEST.GEM_POWER", 4.0, "TEST.SCALES", [0.7, 1.0])
    check_component_names(configure(*pooled), training=True)


def test_freezing_without_a_layer_is_an_error():
    frozen = ["SOLVER.FREEZE_ITERS", 0.05]
    with pytest.raises(InputError, match=r"SOLVER\.FREEZE_ITERS is 0\.05, but MODEL\.FREEZE_LAYERS is empty"):
        check_component_names(configure(*frozen), training=True)
    check_component_names(configure(*frozen), training=False)
    check_component_names(configure(*frozen, "MODEL.FREEZE_LAYERS", ["backbone"]), training=True)
