"""Networks match fast-reid: state dict, features, losses, gradients and running statistics."""

import json
from pathlib import Path

import golden_common
import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.weights import extract_model_state, load_state

FOLDER = Path(__file__).parent
TAGS = sorted(path.stem.removeprefix("state_keys_") for path in FOLDER.glob("state_keys_*.json"))
DTYPES = {"f32": torch.float32, "f64": torch.float64}
LOSS_TOLERANCE = {"f32": 1e-5, "f64": 1e-9}
GRADIENT_TOLERANCE = {"f32": 1e-3, "f64": 1e-7}
STAGES = {"conv1": "conv1", "maxpool": "maxpool"} | {f"layer{n}_lastblock": f"layer{n}.-1" for n in (1, 2, 3, 4)}


def build_network(tag, num_classes=100):
    """Build the network of the patent configs with the depth and options of a tag such as R50x-ibn-nl."""
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


def golden_checkpoint(tag):
    """Return the golden weights in the format of a fast-reid checkpoint of a multi-GPU run."""
    keys = json.loads((FOLDER / f"state_keys_{tag}.json").read_text())["keys"]
    tensors = {
        key: torch.from_numpy(np.asarray(golden_common.golden_tensor(key, tuple(shape)))) for key, shape, _ in keys
    }
    return {"model": {f"module.{key}": tensor for key, tensor in tensors.items()}}


def load_network(tag, dtype):
    model = build_network(tag)
    load_state(model, extract_model_state(golden_checkpoint(tag)))
    return model.to(DTYPES[dtype])


@pytest.mark.parametrize("tag", TAGS)
def test_state_dict_names_shapes_dtypes_and_order(tag):
    golden = json.loads((FOLDER / f"state_keys_{tag}.json").read_text())
    with torch.device("meta"):
        model = build_network(tag)
    actual = [[key, list(value.shape), str(value.dtype)[6:]] for key, value in model.state_dict().items()]
    assert actual == golden["keys"]
    assert sum(value.numel() for value in model.parameters()) == golden["n_params"]
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    assert frozen == golden.get("frozen", frozen)


@pytest.mark.parametrize(
    "tag",
    [tag if tag in ("R18x", "R34x-ibn", "R101x-ibn-nl") else pytest.param(tag, marks=pytest.mark.slow) for tag in TAGS],
)
def test_fast_reid_checkpoint_loads_completely(tag):
    model = build_network(tag)
    report = load_state(model, extract_model_state(golden_checkpoint(tag)))
    assert str(report) == f"loaded {len(model.state_dict())}/{len(model.state_dict())} tensors"


@pytest.mark.parametrize(
    ("tag", "dtype"),
    [
        ("R18x-ibn-nl", "f32"),
        ("R50x-ibn-nl", "f32"),
        pytest.param("R50x", "f32", marks=pytest.mark.slow),
        pytest.param("R18x-ibn-nl", "f64", marks=pytest.mark.slow),
        pytest.param("R50x", "f64", marks=pytest.mark.slow),
        pytest.param("R50x-ibn-nl", "f64", marks=pytest.mark.slow),
    ],
)
def test_features_and_stage_outputs(tag, dtype):
    golden, model, captured = np.load(FOLDER / f"forward_{tag}.npz"), load_network(tag, dtype).eval(), {}
    for name, path in STAGES.items():
        stage, _, last = path.partition(".")
        module = getattr(model.backbone, stage)
        (module[-1] if last else module).register_forward_hook(
            lambda module, inputs, output, name=name: captured.update({name: output.double()})
        )
    model.heads.pool_layer.register_forward_hook(lambda module, inputs, output: captured.update(pool=output.flatten(1)))
    with torch.no_grad():
        features = model(torch.from_numpy(golden_common.eval_images()))
    assert relative_error(features, golden[f"eval_feat_{dtype}"]) < 1e-5
    assert relative_error(captured["pool"], golden["eval_pool_f32"]) < 1e-5
    for name in STAGES:
        actual = [captured[name].mean(), captured[name].std(correction=0), captured[name].abs().max()]
        np.testing.assert_allclose(actual, golden[f"eval_stat_{name}"], rtol=1e-5, atol=1e-6)


def relative_error(actual, expected):
    return np.abs(actual.numpy() - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
    ("tag", "dtype"),
    [
        ("R18x-ibn-nl", "f32"),
        ("R18x-ibn-nl", "f64"),
        ("R50x-ibn-nl", "f32"),
        pytest.param("R50x", "f32", marks=pytest.mark.slow),
        pytest.param("R50x", "f64", marks=pytest.mark.slow),
        pytest.param("R50x-ibn-nl", "f64", marks=pytest.mark.slow),
    ],
)
def test_losses_gradients_and_running_statistics(tag, dtype):
    golden, model, captured = np.load(FOLDER / f"forward_{tag}.npz"), load_network(tag, dtype).train(), {}
    reference = json.loads((FOLDER / f"forward_{tag}.json").read_text())
    model.heads.register_forward_hook(lambda module, inputs, output: captured.update(head=output))
    losses, stats = model(
        torch.from_numpy(golden_common.train_images()), torch.from_numpy(golden_common.TARGETS), with_stats=True
    )
    sum(losses.values()).backward()
    for name, value in losses.items():
        assert value.item() == pytest.approx(float(golden[f"{name}_{dtype}"]), rel=LOSS_TOLERANCE[dtype], abs=1e-6)
    assert stats["cls_accuracy"].item() == reference[f"cls_accuracy_{dtype}"]
    outputs = {"cls_outputs": "logits", "pred_class_logits": "plain_logits", "features": "features"}
    for name, attribute in outputs.items():
        actual = getattr(captured["head"], attribute).detach()
        assert relative_error(actual, golden[f"train_{name}_{dtype}"]) < 10 * LOSS_TOLERANCE[dtype]
    parameters = dict(model.named_parameters())
    for name, norm in reference[f"grad_norms_{dtype}"].items():
        assert parameters[name].grad.norm().item() == pytest.approx(norm, rel=GRADIENT_TOLERANCE[dtype]), name
    assert sorted(name for name, value in parameters.items() if value.grad is None) == reference["frozen_no_grad"]
    for key in golden.files:
        if key.startswith("running") and key.endswith(dtype):
            statistic, _, module = key[: -len(dtype) - 1].partition("_after_")
            np.testing.assert_allclose(model.get_buffer(f"{module}.{statistic}"), golden[key], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("tag", ["R18x-ibn-nl"])
def test_old_parameter_names_give_the_same_features(tag):
    old = {
        name.replace("heads.weight", "heads.classifier.weight").replace("heads.bottleneck.0", "heads.bnneck"): value
        for name, value in golden_checkpoint(tag)["model"].items()
    }
    old["pixel_mean"] = torch.zeros(1, 3, 1, 1)
    model = build_network(tag)
    load_state(model, extract_model_state(old))
    with torch.no_grad():
        features = model.eval()(torch.from_numpy(golden_common.eval_images()))
    assert relative_error(features, np.load(FOLDER / f"forward_{tag}.npz")["eval_feat_f32"]) < 1e-5
