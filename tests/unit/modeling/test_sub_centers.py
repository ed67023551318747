"""Sub-centers of a class and margins that depend on the number of its drawings."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fastreid.engine.model.network import build_model_with_weights, build_training_model
from fastreid.engine.setup import load_config
from fastreid.layers import ArcSoftmax, CircleSoftmax, CosSoftmax, GlobalAvgPool, Linear
from fastreid.layers.margin_softmax import compute_class_margins
from fastreid.modeling.heads import EmbeddingHead
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError, WeightsError

TINY = Path(__file__).parents[2] / "end_to_end/resnet.yml"
MAPS = torch.randn(4, 8, 3, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 0, 3, 1])
SIZES = [16, 1, 81, 16, 0]


def build_head(margin, **options):
    torch.manual_seed(0)
    return EmbeddingHead(8, 5, pool=GlobalAvgPool(), margin=margin, **options).train()


def test_score_of_a_class_is_the_maximum_over_its_centers():
    head = build_head(ArcSoftmax(scale=16, margin=0.4), num_sub_centers=3)
    logits = head(MAPS, TARGETS).logits
    assert head.weight.shape == (15, 8)
    for row, feature in enumerate(MAPS.mean(dim=(2, 3))):
        for label in range(5):
            centers = head.weight[3 * label : 3 * label + 3]
            cosine = max(F.cosine_similarity(feature, center, dim=0).item() for center in centers)
            angle = math.acos(cosine) + (0.4 if label == TARGETS[row] else 0)
            assert logits[row, label].item() == pytest.approx(16 * math.cos(angle), abs=1e-4)


def test_equal_centers_give_the_scores_of_one_center():
    single, triple = build_head(CosSoftmax(scale=4)), build_head(CosSoftmax(scale=4), num_sub_centers=3)
    triple.weight.data = single.weight.data.repeat_interleave(3, dim=0)
    torch.testing.assert_close(triple(MAPS, TARGETS).logits, single(MAPS, TARGETS).logits)


def test_margins_follow_the_fourth_root_of_the_number_of_drawings():
    margins = compute_class_margins(torch.tensor(SIZES), [0.1, 0.5])
    # n ** -1/4 is 1/2, 1, 1/3, 1/2; scaled to 0..1 it is 1/4, 1, 0, 1/4. The class without drawings is as rare as one.
    torch.testing.assert_close(margins, torch.tensor([0.2, 0.5, 0.1, 0.2, 0.5]))
    assert compute_class_margins(torch.tensor([3, 3]), [0.1, 0.5]).tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("margin", [ArcSoftmax, CosSoftmax, CircleSoftmax])
def test_each_class_gets_its_margin(margin):
    scores = torch.linspace(-0.9, 0.8, 20).view(4, 5)
    margins = compute_class_margins(torch.tensor(SIZES), [0.1, 0.5])
    logits = margin(scale=8)(scores, TARGETS, margins)
    for row, label in enumerate(TARGETS):
        expected = margin(scale=8, margin=margins[label].item())(scores, TARGETS)
        torch.testing.assert_close(logits[row, label], expected[row, label])


def test_sampled_classes_keep_their_centers_and_margins():
    options = {"num_sub_centers": 2, "margin_range": [0.1, 0.5]}
    head = build_head(ArcSoftmax(scale=8), partial_fc_ratio=0.8, **options)
    full = build_head(ArcSoftmax(scale=8), **options)
    for each in (head, full):
        each.set_class_sizes(SIZES)
    head.sample_classes(7, 1)
    output = head(MAPS, TARGETS)
    output.logits.sum().backward()
    [missing] = [label for label in range(5) if not head.weight.grad[2 * label : 2 * label + 2].any()]
    kept = [label for label in range(5) if label != missing]
    assert output.logits.shape == (4, 4)
    torch.testing.assert_close(output.logits, full(MAPS, TARGETS).logits[:, kept])


def test_training_without_class_sizes_is_an_error():
    head = build_head(ArcSoftmax(), margin_range=[0.1, 0.5])
    assert head.eval()(MAPS).shape == (4, 8)
    with pytest.raises(InputError, match="MARGIN_RANGE needs the number of drawings of each class"):
        head(MAPS, TARGETS)


@pytest.mark.parametrize(
    ("margin", "options", "message"),
    [
        (ArcSoftmax(), {"num_sub_centers": 0}, "SUB_CENTERS must be at least 1"),
        (ArcSoftmax(), {"margin_range": [0.1]}, r"must be empty or \[low, high\]"),
        (ArcSoftmax(), {"margin_range": [0.5, 0.1]}, r"must be empty or \[low, high\]"),
        (Linear(), {"margin_range": [0.1, 0.5]}, "no effect with the classifier Linear, .*set MODEL.HEADS.CLS_LAYER"),
    ],
)
def test_invalid_options_raise(margin, options, message):
    with pytest.raises(InputError, match=message):
        build_head(margin, **options)


def config(*settings):
    names = ["MODEL.HEADS.CLS_LAYER", "ArcSoftmax", "MODEL.HEADS.MARGIN_RANGE", "[0.1, 0.5]"]
    return load_config(TINY, [*names, "MODEL.HEADS.SUB_CENTERS", "3", *map(str, settings)])


def test_network_gets_the_class_sizes_of_the_training_list_and_loads_its_weights(tmp_path):
    drawings = [Drawing(f"{n}", f"{n}", patent) for n, patent in enumerate("abb")]
    model = build_training_model(config(), drawings)
    torch.testing.assert_close(model.heads.class_margins, torch.tensor([0.5, 0.1]))
    assert "heads.class_margins" not in model.state_dict()
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    loaded = build_model_with_weights(config("MODEL.WEIGHTS", tmp_path / "w.pth"))
    assert (loaded.heads.num_classes, loaded.heads.weight.shape[0]) == (2, 6)
    with pytest.raises(WeightsError, match=r"classifier has 6 rows, not a multiple of MODEL.HEADS.SUB_CENTERS 4"):
        build_model_with_weights(config("MODEL.WEIGHTS", tmp_path / "w.pth", "MODEL.HEADS.SUB_CENTERS", 4))
