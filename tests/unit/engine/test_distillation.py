"""The cosines of a batch follow those of a teacher network."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fastreid.engine.build import build_step
from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.model.directory import ModelCard, save_model_directory
from fastreid.engine.setup import load_config
from fastreid.modeling import build_model
from fastreid.modeling.losses.distillation import similarity_loss
from fastreid.modeling.losses.global_batch import GlobalBatch
from fastreid.structures import Batch
from fastreid.utils.checksums import write_with_checksum
from fastreid.utils.errors import InputError, WeightsError
from fastreid.utils.seeding import keyed_torch_rng

TINY = Path(__file__).parents[2] / "end_to_end/resnet.yml"
TARGETS = torch.arange(6) // 2


def random_features(dim, seed=0):
    return torch.randn(6, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compute_loss(student, teacher, rows=slice(0, 6)):
    offset = rows.start
    return similarity_loss(
        student[rows],
        teacher[rows],
        student_batch=GlobalBatch(student, TARGETS, offset=offset),
        teacher_batch=GlobalBatch(teacher, TARGETS, offset=offset),
    ).item()


def test_loss_is_the_mean_squared_difference_over_pairs():
    student, teacher = random_features(5), random_features(7, seed=1)
    squares = [
        (F.cosine_similarity(student[i], student[j], dim=0) - F.cosine_similarity(teacher[i], teacher[j], dim=0)) ** 2
        for i in range(6)
        for j in range(6)
        if i != j
    ]
    assert compute_loss(student, teacher) == pytest.approx(float(sum(squares)) / 30, rel=1e-12)


def test_loss_of_two_drawings():
    """Their cosines are 0.6 and 0."""
    student, teacher = torch.tensor([[2.0, 0.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    batches = {"student_batch": GlobalBatch(student, TARGETS[:2]), "teacher_batch": GlobalBatch(teacher, TARGETS[:2])}
    assert similarity_loss(student, teacher, **batches).item() == pytest.approx(0.36, rel=1e-6)


def test_rotated_and_scaled_features_have_no_loss():
    student = random_features(5)
    rotation, _ = torch.linalg.qr(random_features(6, seed=3)[:5, :5])
    assert compute_loss(student, 3 * student @ rotation) == pytest.approx(0, abs=1e-24)


def test_mean_over_processes_is_the_loss_of_the_global_batch():
    student, teacher = random_features(5), random_features(7, seed=1)
    halves = [compute_loss(student, teacher, slice(start, start + 3)) for start in (0, 3)]
    assert sum(halves) / 2 == pytest.approx(compute_loss(student, teacher), rel=1e-12)


@pytest.fixture
def teacher(tmp_path):
    """Return the settings of a teacher with another width of features."""
    config = tmp_path / "config.yaml"
    cfg = load_config(TINY, ["MODEL.HEADS.EMBEDDING_DIM", "24", "INPUT.SIZE_TEST", "[32, 32]"])
    config.write_text(cfg.dump())
    torch.manual_seed(5)
    network = build_model(cfg, 9)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics are then those of the one batch
    network(make_batch().images, TARGETS)
    torch.save({"model": network.state_dict(), "config": cfg.dump()}, tmp_path / "model_best.pth")
    return ("MODEL.DISTILL.CONFIG", str(config), "MODEL.DISTILL.SCALE", "50.0")


def make_config(*settings):
    return load_config(TINY, ["INPUT.SIZE_TRAIN", "[32, 32]", "MODEL.LOSSES.NAME", "['CrossEntropyLoss']", *settings])


def make_step(*settings):
    cfg = make_config(*settings)
    torch.manual_seed(0)
    return build_step(cfg, build_model(cfg, 3), iters_per_epoch=4)


def make_batch():
    with keyed_torch_rng("distillation"):
        return Batch(torch.rand(6, 3, 32, 32) * 255, TARGETS, torch.arange(6))


def test_step_reduces_the_loss_and_leaves_the_teacher_unchanged(teacher, tmp_path):
    step = make_step("SOLVER.BASE_LR", "0.001", "SOLVER.AVERAGE.METHOD", "ema", *teacher)
    losses = [step(make_batch()).values["loss_distill"] for _ in range(4)]
    assert losses[-1] < losses[0]
    assert step.average.model.distillation is step.model.distillation
    network, saved = (
        step.model.distillation.teacher,
        torch.load(tmp_path / "model_best.pth", weights_only=True)["model"],
    )
    assert not network.training
    assert all(torch.equal(value, saved[name]) for name, value in network.state_dict().items())
    assert step.model.state_dict().keys() == make_step().model.state_dict().keys()


def test_first_loss_compares_the_features_of_both_networks(teacher):
    step, plain = make_step(*teacher), make_step()
    batch = make_batch()
    features = []
    plain.model.heads.bottleneck.register_forward_hook(
        lambda module, inputs, output: features.append(output.flatten(1))
    )
    plain_values, values = plain(batch).values, step(batch).values
    expected = step.model.distillation.teacher(batch.images)
    assert values["loss_distill"] == pytest.approx(50 * compute_loss(features[0], expected), rel=1e-4)
    assert values["total_loss"] == pytest.approx(plain_values["total_loss"] + values["loss_distill"], rel=1e-5)


@pytest.fixture
def small_teacher(tmp_path):
    """Return the settings of a teacher and of a student that are small networks."""
    network = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME", "test_efficientnet"]
    network += ["MODEL.BACKBONE.FEAT_DIM", "0", "MODEL.HEADS.POOL_LAYER", "GlobalAvgPool"]
    config = tmp_path / "config.yaml"
    cfg = load_config(TINY, [*network, "MODEL.HEADS.EMBEDDING_DIM", "24", "MODEL.DEVICE", "cpu"])
    config.write_text(cfg.dump())
    model = build_model(cfg, 9)
    torch.save({"model": model.state_dict()}, tmp_path / "model_best.pth")
    save_model_directory(tmp_path / "models/mine", cfg, model, ModelCard("mine"))
    return (*network, "MODEL.DISTILL.CONFIG", str(config))


def test_model_directory_is_a_teacher_without_config(small_teacher, tmp_path, monkeypatch):
    expected = make_step(*small_teacher)
    monkeypatch.setattr("fastreid.engine.model.directory.get_model_folder", lambda: tmp_path / "models")
    images = make_batch().images
    for name in ("mine", str(tmp_path / "models/mine")):
        step = make_step(*small_teacher[:-2], "MODEL.DISTILL.WEIGHTS", name)
        assert step.teacher == expected.teacher
        teachers = (one.model.distillation.teacher for one in (step, expected))
        torch.testing.assert_close(*(teacher(images) for teacher in teachers))


def make_checkpointer(folder, *settings):
    config = make_config(*settings).dump()
    return Checkpointer(folder, make_step(*settings), iters_per_epoch=4, config=config)


def test_resume_accepts_a_moved_teacher_but_no_other_one(small_teacher, tmp_path, logged_warnings):
    make_checkpointer(tmp_path, *small_teacher).save("model_0000.pth", Progress(iteration=4))
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("config.yaml", "model_best.pth"):
        (tmp_path / name).rename(moved / name)
    settings = (*small_teacher[:-1], str(moved / "config.yaml"))
    assert make_checkpointer(tmp_path, *settings).resume().iteration == 4
    assert logged_warnings == []
    for change in (("MODEL.DISTILL.SCALE", "2.0"), ("MODEL.DISTILL.CONFIG", "")):
        with pytest.raises(InputError, match=rf"{change[0]} was .*; these settings cannot change during a run"):
            make_checkpointer(tmp_path, *settings, *change).resume()
    (moved / "config.yaml").write_text(load_config(moved / "config.yaml", ["MODEL.PIXEL_STD", "[1, 1, 1]"]).dump())
    with pytest.raises(InputError, match=r"the settings of the teacher \(MODEL\.DISTILL\) changed; restore it"):
        make_checkpointer(tmp_path, *settings).resume()
    content = torch.load(moved / "model_best.pth", weights_only=True)
    content["model"]["backbone.body.conv_stem.weight"][0] += 1
    torch.save(content, moved / "model_best.pth")
    with pytest.raises(InputError, match=r"the weights and settings of the teacher \(MODEL\.DISTILL\) changed"):
        make_checkpointer(tmp_path, *settings).resume()


def test_checkpoint_of_an_older_version_is_resumed_with_a_warning(small_teacher, tmp_path, logged_warnings):
    checkpointer = make_checkpointer(tmp_path, *small_teacher)
    path = checkpointer.save("model_0000.pth", Progress(iteration=4))
    state = torch.load(path, weights_only=True)
    del state["teacher"]
    with write_with_checksum(path) as file:
        torch.save(state, file)
    assert checkpointer.resume().iteration == 4
    assert len(logged_warnings) == 1
    assert "without a fingerprint of the teacher, so another teacher cannot be detected" in logged_warnings[0]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (["MODEL.COMPILE", "True"], InputError, r"MODEL\.COMPILE and MODEL\.DISTILL cannot be combined"),
        (["SOLVER.HEAD_ONLY", "True"], InputError, r"SOLVER\.HEAD_ONLY and MODEL\.DISTILL cannot be combined"),
        (["MODEL.DISTILL.WEIGHTS", "none.pth"], InputError, r"none\.pth: no such"),
        (
            ["MODEL.DISTILL.CONFIG", ""],
            InputError,
            r"MODEL\.DISTILL\.WEIGHTS .*model_best\.pth is neither a model directory nor .* needs the config",
        ),
        (["MODEL.DISTILL.CONFIG", str(TINY)], WeightsError, "weights do not match the model"),
    ],
)
def test_invalid_teacher_is_an_error(settings, error, message, teacher, tmp_path):
    weights = ("MODEL.DISTILL.WEIGHTS", str(tmp_path / "model_best.pth"))
    with pytest.raises(error, match=message):
        make_step(*teacher, *weights, *settings)
