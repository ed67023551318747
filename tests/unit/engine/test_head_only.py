import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.build import build_sampler
from fastreid.engine import head_only
from fastreid.engine.head_only import (
    FeatureLoader,
    check_head_only,
    compute_pooled_features,
    fit_projection,
    freeze_backbone,
)
from fastreid.modeling import build_model
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.errors import InputError

DRAWINGS = tuple(Drawing(f"{row}.png", f"{row}.png", f"patent{row // 4}") for row in range(32))


def make_config(*options):
    cfg = get_cfg()
    network = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "SOLVER.IMS_PER_BATCH", 8]
    sampler = ["DATALOADER.SAMPLER_TRAIN", "BalancedIdentitySampler", "DATALOADER.NUM_INSTANCE", 2]
    cfg.merge_from_list([*network, *sampler, *options])
    cfg.freeze()
    return cfg


def make_loader(**options):
    features = torch.arange(32.0)[:, None].repeat(1, 3)
    return FeatureLoader(features, DRAWINGS, make_config(), device=torch.device("cpu"), **options)


def test_batches_are_those_of_the_sampler_and_continue_from_an_iteration():
    loader, rows = make_loader(), build_sampler(make_config(), DRAWINGS).batches()
    assert (loader.num_classes, loader.iters_per_epoch) == (8, 4)
    batches = [next(loader) for _ in range(3)]
    for batch in batches:
        expected = torch.tensor(next(rows))
        assert torch.equal(batch.rows, expected)
        assert torch.equal(batch.images[:, 0], expected.float())
        assert torch.equal(batch.targets, expected // 4)
    later = next(make_loader(start_iteration=2))
    assert torch.equal(later.rows, batches[2].rows)


def test_processes_share_each_batch(monkeypatch):
    whole = next(make_loader()).rows
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        parts.append(next(make_loader()).rows)
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("INPUT.FLIP.ENABLED", True, "INPUT.REA.ENABLED", True), "INPUT.FLIP.ENABLED, INPUT.REA.ENABLED"),
        (("INPUT.LINE_AUG.OPS", ["rot90"]), "INPUT.LINE_AUG.OPS"),
        (("DATALOADER.HARD_IDENTITIES", 0.5), "DATALOADER.HARD_IDENTITIES"),
        (("TEST.PRECISE_BN.ENABLED", True, "SOLVER.L2_SP", 0.1), "TEST.PRECISE_BN.ENABLED, SOLVER.L2_SP"),
    ],
)
def test_settings_without_effect_are_errors(options, names):
    check_head_only(make_config(*options))
    with pytest.raises(InputError, match=f"so {names} would have no effect"):
        check_head_only(make_config("SOLVER.HEAD_ONLY", True, *options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.LOSSES.NAME", ["TripletLoss"]), "set MODEL.HEADS.NECK_FEAT to after"),
        (("INPUT.SIZE_TRAIN", [128, 128]), r"INPUT.SIZE_TEST \[256, 256\]; set INPUT.SIZE_TRAIN to the same"),
        (("INPUT.ON_BAD_IMAGE", "skip"), "set INPUT.ON_BAD_IMAGE to stop"),
        (("MODEL.HEADS.PROJECTION", "pca"), "set MODEL.HEADS.EMBEDDING_DIM to the number of components"),
    ],
)
def test_impossible_settings_are_errors(options, message):
    with pytest.raises(InputError, match=message):
        check_head_only(make_config("SOLVER.HEAD_ONLY", True, *options))


def test_backbone_and_pooling_are_frozen():
    model = build_model(make_config("MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP"), num_classes=2)
    freeze_backbone(model)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable == ["heads.weight"]


def test_pooled_features_are_the_input_of_the_other_layers():
    model = build_model(make_config("MODEL.HEADS.EMBEDDING_DIM", 6), num_classes=2).eval()
    images = torch.rand(3, 3, 32, 48) * 255
    with torch.no_grad():
        pooled = model.compute_pooled_features(images)
        assert pooled.shape == (3, 512)
        torch.testing.assert_close(model(pooled), model(images))


def test_pooled_features_ignore_the_mean_over_images_of_a_test(monkeypatch):
    seen = []
    monkeypatch.setattr(head_only, "extract_features", lambda cfg, model, drawings: seen.append(cfg) or _Features())
    cfg = make_config("TEST.FLIP.ENABLED", True, "TEST.SCALES", [0.7, 1.0])
    compute_pooled_features(cfg, build_model(cfg, num_classes=2), DRAWINGS)
    assert (seen[0].TEST.FLIP.ENABLED, list(seen[0].TEST.SCALES)) == (False, [1.0])
    other = make_config("TEST.NETWORK_PRECISION", "bfloat16", "TEST.IMS_PER_BATCH", 7, "TEST.GEM_POWER", 2.0)
    compute_pooled_features(other, build_model(cfg, num_classes=2), DRAWINGS)
    assert seen[1].TEST == seen[0].TEST  # a resume may change these, and must have the same features


class _Features:
    features = torch.zeros(32, 512)


def test_projection_without_a_reduction_layer_is_an_error():
    cfg = make_config("MODEL.HEADS.PROJECTION", "pca")
    with pytest.raises(InputError, match=r"set MODEL\.HEADS\.EMBEDDING_DIM"):
        fit_projection(cfg, build_model(cfg, num_classes=2), torch.rand(32, 512), DRAWINGS)


def test_projection_is_that_of_the_training_features():
    cfg = make_config(
        *("MODEL.HEADS.PROJECTION", "within_class", "MODEL.HEADS.EMBEDDING_DIM", 5),
        *("MODEL.HEADS.EMBEDDING_BIAS", True, "MODEL.HEADS.SHRINKAGE", 0.5),
    )
    model = build_model(cfg, num_classes=8).eval()
    features = torch.rand(32, 512, generator=torch.Generator().manual_seed(0))
    fit_projection(cfg, model, features, DRAWINGS)
    labels = torch.arange(32) // 4
    expected = head_only.PROJECTIONS["within_class"](features, labels, 5, shrinkage=0.5)(features)
    with torch.no_grad():
        torch.testing.assert_close(model(features), expected, rtol=1e-4, atol=1e-4)
