"""Whole networks: names, shapes and order of their tensors, features, losses, gradients and statistics."""

import json
from pathlib import Path

import golden_common
import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.weights import load_state, extract_model_state

FOLDER = Path(__file__).parent
TAGS = sorted(path.stem.removeprefix("state_keys_") for path in FOLDER.glob("state_keys_*.json"))
DTYPES = {"f32": torch.float32, "f64": torch.float64}
LOSS_TOLERANCE = {"f32": 1e-5, "f64": 1e-9}
GRADIENT_TOLERANCE = {"f32": 1e-3, "f64": 1e-7}
STAGES = {"conv1": "conv1", "maxpool": "maxpool"} | {f"layer{n}_lastblock": f"layer{n}.-1" for n in (1, 2, 3, 4)}


def build(tag, num_classes=100):
    """The network of the patent configs, with the depth and options a tag such as R50x-ibn-nl names."""
    depth, *options = tag.removeprefix("R").split("-")
    cfg = get_cfg()
    cfg.merge_from_list(
        ["MODEL.BACKBONE.DEPTH", depth, "MODEL.BACKBONE.FEAT_DIM", 512 if depth in ("18x", "34x") else 2048]
        + ["MODEL.BACKBONE.WITH_IBN", "ibn" in options, "MODEL.BACKBONE.WITH_NL", "nl" in options]
        + ["MODEL.BACKBONE.WITH_SE", "se" in options, "MODEL.HEADS.WITH_BNNECK", True]
        + ["MODEL.HEADS.NECK_FEAT", "after", "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP"]
        + ["MODEL.HEADS.CLS_LAYER", "CircleSoftmax", "MODEL.HEADS.SCALE", 64, "MODEL.HEADS.MARGIN", 0.35]
        + ["MODEL.LOSSES.NAME", ("CrossEntropyLoss", "TripletLoss"), "MODEL.LOSSES.CE.EPSILON", 0.1]
        + ["MODEL.LOSSES.TRI.MARGIN", 0.0, "MODEL.LOSSES.TRI.HARD_MINING", True]
    )
    return build_model(cfg, num_classes=num_classes)


def checkpoint(tag):
    """The golden weights as fast-reid would have saved them from several GPUs."""
    keys = json.loads((FOLDER / f"state_keys_{tag}.json").read_text())["keys"]
    tensors = {
        key: torch.from_numpy(np.asarray(golden_common.golden_tensor(key, tuple(shape)))) for key, shape, _ in keys
    }
    return {"model": {f"module.{key}": tensor for key, tensor in tensors.items()}}


def loaded(tag, kind):
    model = build(tag)
    load_state(model, extract_model_state(checkpoint(tag)))
    return model.to(DTYPES[kind])


@pytest.mark.parametrize("tag", TAGS)
def test_names_shapes_types_order_and_number_of_tensors_are_golden(tag):
    golden = json.loads((FOLDER / f"state_keys_{tag}.json").read_text())
    with torch.device("meta"):
        model = build(tag)
    found = [[key, list(value.shape), str(value.dtype)[6:]] for key, value in model.state_dict().items()]
    assert found == golden["keys"]
    assert sum(value.numel() for value in model.parameters()) == golden["n_params"]
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    assert frozen == golden.get("frozen", frozen)


@pytest.mark.parametrize(
    "tag",
    [tag if tag in ("R18x", "R34x-ibn", "R101x-ibn-nl") else pytest.param(tag, marks=pytest.mark.slow) for tag in TAGS],
)
def test_a_checkpoint_of_every_depth_and_option_loads_whole(tag):
    model = build(tag)
    report = load_state(model, extract_model_state(checkpoint(tag)))
    assert str(report) == f"loaded {len(model.state_dict())}/{len(model.state_dict())} tensors"


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("R18x-ibn-nl", "f32"),
        ("R50x-ibn-nl", "f32"),
        pytest.param("R50x", "f32", marks=pytest.mark.slow),
        pytest.param("R18x-ibn-nl", "f64", marks=pytest.mark.slow),
        pytest.param("R50x", "f64", marks=pytest.mark.slow),
        pytest.param("R50x-ibn-nl", "f64", marks=pytest.mark.slow),
    ],
)
def test_features_pools_and_stages_are_golden(tag, kind):
    golden, model, seen = np.load(FOLDER / f"forward_{tag}.npz"), loaded(tag, kind).eval(), {}
    for name, place in STAGES.items():
        stage, _, last = place.partition(".")
        part = getattr(model.backbone, stage)
        (part[-1] if last else part).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output.double()})
        )
    model.heads.pool_layer.register_forward_hook(lambda module, inputs, output: seen.update(pool=output.flatten(1)))
    with torch.no_grad():
        features = model(torch.from_numpy(golden_common.eval_images()))
    assert relative(features, golden[f"eval_feat_{kind}"]) < 1e-5
    assert relative(seen["pool"], golden["eval_pool_f32"]) < 1e-5
    for name in STAGES:
        found = [seen[name].mean(), seen[name].std(correction=0), seen[name].abs().max()]
        np.testing.assert_allclose(found, golden[f"eval_stat_{name}"], rtol=1e-5, atol=1e-6)


def relative(found, wanted):
    return np.abs(found.numpy() - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("R18x-ibn-nl", "f32"),
        ("R18x-ibn-nl", "f64"),
        ("R50x-ibn-nl", "f32"),
        pytest.param("R50x", "f32", marks=pytest.mark.slow),
        pytest.param("R50x", "f64", marks=pytest.mark.slow),
        pytest.param("R50x-ibn-nl", "f64", marks=pytest.mark.slow),
    ],
)
def test_a_training_step_has_the_golden_losses_gradients_and_statistics(tag, kind):
    golden, model, seen = np.load(FOLDER / f"forward_{tag}.npz"), loaded(tag, kind).train(), {}
    facts = json.loads((FOLDER / f"forward_{tag}.json").read_text())
    model.heads.register_forward_hook(lambda module, inputs, output: seen.update(head=output))
    losses, stats = model(
        torch.from_numpy(golden_common.train_images()), torch.from_numpy(golden_common.TARGETS), with_stats=True
    )
    sum(losses.values()).backward()
    for name, value in losses.items():
        assert value.item() == pytest.approx(float(golden[f"{name}_{kind}"]), rel=LOSS_TOLERANCE[kind], abs=1e-6)
    assert stats["cls_accuracy"].item() == facts[f"cls_accuracy_{kind}"]
    outputs = {"cls_outputs": "logits", "pred_class_logits": "plain_logits", "features": "features"}
    for name, ours in outputs.items():
        found = getattr(seen["head"], ours).detach()
        assert relative(found, golden[f"train_{name}_{kind}"]) < 10 * LOSS_TOLERANCE[kind]
    parameters = dict(model.named_parameters())
    for name, norm in facts[f"grad_norms_{kind}"].items():
        assert parameters[name].grad.norm().item() == pytest.approx(norm, rel=GRADIENT_TOLERANCE[kind]), name
    assert sorted(name for name, value in parameters.items() if value.grad is None) == facts["frozen_no_grad"]
    for key in golden.files:
        if key.startswith("running") and key.endswith(kind):
            statistic, _, place = key[: -len(kind) - 1].partition("_after_")
            np.testing.assert_allclose(model.get_buffer(f"{place}.{statistic}"), golden[key], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("tag", ["R18x-ibn-nl"])
def test_old_names_give_the_same_features(tag):
    old = {
        name.replace("heads.weight", "heads.classifier.weight").replace("heads.bottleneck.0", "heads.bnneck"): value
        for name, value in checkpoint(tag)["model"].items()
    }
    old["pixel_mean"] = torch.zeros(1, 3, 1, 1)
    model = build(tag)
    load_state(model, extract_model_state(old))
    with torch.no_grad():
        features = model.eval()(torch.from_numpy(golden_common.eval_images()))
    assert relative(features, np.load(FOLDER / f"forward_{tag}.npz")["eval_feat_f32"]) < 1e-5
