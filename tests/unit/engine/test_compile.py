import functools
from pathlib import Path

import pytest
import torch
from torch import nn

from fastreid.engine.build import build_step
from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.compile import CompiledCaller
from fastreid.engine.features import feature_settings
from fastreid.engine.inference import run_inference
from fastreid.engine.setup import load_config, to_device
from fastreid.modeling import build_model
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

TINY = Path(__file__).parents[2] / "end_to_end/tiny.yml"


@pytest.fixture
def told(monkeypatch):
    lines = []
    for level in ("info", "warning"):
        monkeypatch.setattr(get_logger(), level, lines.append)
    return lines


@pytest.fixture
def compiler(monkeypatch):
    """Lets the given backend stand in for torch's own, which takes minutes; counts what it is given."""

    def use(backend, fails=False):
        graphs = []

        def make(graph, inputs):
            graphs.append([tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)])
            if fails:
                raise RuntimeError("no C++ compiler\nwas found")
            return backend(graph, inputs)

        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=make))
        return graphs

    torch._dynamo.reset()
    yield use
    torch._dynamo.reset()


def traced(graph, inputs):
    return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)


def batch_of(seed):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(6, 3, 8, 8, generator=generator) * 255, torch.arange(6) % 3, torch.arange(6))


def test_a_compiled_step_moves_the_weights_as_the_plain_one_and_keeps_their_names(toy_step, compiler, told):
    graphs = compiler(traced)
    plain, compiled = toy_step(), toy_step(compiled=True)
    for seed in range(3):
        for step in (plain, compiled):
            step.freeze(("backbone",) if seed == 0 else ())
        assert compiled(batch_of(seed)).values == pytest.approx(plain(batch_of(seed)).values, rel=1e-4)
    expected, weights = plain.model.state_dict(), compiled.model.state_dict()
    assert list(weights) == list(expected)
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)
    assert len(graphs) == 2
    assert "compiling the network for training, 6, 3, 8, 8, backbone frozen; this may take minutes" in told


def test_where_the_compiler_fails_the_run_is_that_of_a_plain_one_to_the_bit_and_says_why_once(
    toy_step, compiler, told, tmp_path
):
    compiler(traced, fails=True)
    plain, compiled = toy_step(), toy_step(compiled=True)
    for seed in range(3):
        assert compiled(batch_of(seed)).values == plain(batch_of(seed)).values
    expected = plain.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in compiled.model.state_dict().items())
    [line] = [line for line in told if "cannot be compiled" in line]
    assert "no C++ compiler was found" in line
    assert line.endswith("; going on without")
    assert "\n" not in line


def test_a_failure_after_the_forward_pass_is_undone_too(toy_step, compiler, told):
    """The statistics have moved by then, and some gradients are there."""
    compiler(traced)
    plain, compiled = toy_step(grad_accum_steps=2), toy_step(grad_accum_steps=2, compiled=True)
    failing = [True]

    def fail(gradient):
        if failing.pop() if failing else False:
            raise RuntimeError("the backward pass cannot be compiled")

    compiled.model.heads.weight.register_hook(fail)
    assert compiled(batch_of(0)).values == plain(batch_of(0)).values
    for one, other in zip(plain.model.buffers(), compiled.model.buffers()):
        assert torch.equal(one, other)


def test_a_fault_of_ours_is_not_taken_for_the_compiler_s(told):
    def work(network):
        raise InputError("a drawing is bad")

    with pytest.raises(InputError, match="a drawing is bad"):
        CompiledCaller(nn.Identity, compiled=True).run(work, kind=("training",))
    assert not any("cannot be compiled" in line for line in told)


def test_a_compiled_step_is_saved_and_goes_on_plain(toy_step, compiler, told, tmp_path):
    compiler(traced)
    compiled, plain = toy_step(compiled=True), toy_step()
    compiled(batch_of(0))
    Checkpointer(tmp_path, compiled, iters_per_epoch=4).save("model_0000.pth", Progress(iteration=1))
    Checkpointer(tmp_path, plain, iters_per_epoch=4).resume()
    assert all(torch.equal(a, b) for a, b in zip(compiled.model.parameters(), plain.model.parameters()))


def test_features_of_a_smaller_last_batch_are_made_in_the_size_of_the_others(toy_step, compiler, told):
    graphs = compiler(traced)
    model = toy_step().model
    drawings = [Drawing(str(number), str(number), "1") for number in range(8)]
    images = torch.rand(8, 3, 8, 8) * 255
    parts = [Batch(images[rows], torch.zeros(len(rows), dtype=torch.int64), rows) for rows in torch.arange(8).split(3)]
    device, calls = torch.device("cpu"), CompiledCaller(lambda: model, compiled=True)
    expected = run_inference(model, parts, drawings, device=device)
    found = [run_inference(model, parts, drawings, device=device, calls=calls, pad_to=3) for _ in range(2)]
    for embeddings in found:
        torch.testing.assert_close(embeddings.features, expected.features)
    assert len(graphs) == 1
    assert [line for line in told if line.startswith("compiling")] == [
        "compiling the network for features, 3, 3, 8, 8; this may take minutes"
    ]


def test_channels_lie_last_where_they_should_and_give_the_same_features():
    torch.manual_seed(0)
    cfg = load_config(TINY, ["MODEL.CHANNELS_LAST", "True"])
    plain = build_model(cfg, num_classes=4).eval()
    images = torch.rand(2, 3, 32, 32) * 255
    expected, maps = plain(images).detach(), plain.backbone(images).detach()
    model = to_device(cfg, plain)
    assert model.backbone.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.backbone(images).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model.backbone(images), maps, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)


def test_saved_features_are_made_anew_for_what_compiling_changes_only():
    plain, compiled = (feature_settings(load_config(TINY, ["MODEL.COMPILE", word])) for word in ("False", "True"))
    assert plain == compiled
    narrow = ["TEST.NETWORK_PRECISION", "bfloat16", "MODEL.COMPILE"]
    plain, compiled = (feature_settings(load_config(TINY, [*narrow, word])) for word in ("False", "True"))
    assert plain != compiled


def test_compiling_and_recomputing_are_not_asked_for_together():
    cfg = load_config(TINY, ["MODEL.COMPILE", "True", "MODEL.BACKBONE.GRADIENT_CHECKPOINTING", "True"])
    with pytest.raises(InputError, match=r"MODEL.COMPILE cannot take in MODEL.BACKBONE.GRADIENT_CHECKPOINTING"):
        build_step(cfg, build_model(cfg, num_classes=4), iters_per_epoch=4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_torch_s_own_compiler_gives_the_plain_step_within_rounding_and_the_same_bits_when_a_run_goes_on(
    toy_step, tmp_path, monkeypatch, told
):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, whole, first, second = toy_step(), *(toy_step(compiled=True) for _ in range(3))
    for seed in range(4):
        assert whole(batch_of(seed)).values == pytest.approx(plain(batch_of(seed)).values, rel=1e-3)
        (first if seed < 2 else second)(batch_of(seed))
        if seed == 1:
            second.load_state_dict(first.state_dict())
            second.model.load_state_dict(first.model.state_dict())
    assert not any("cannot be compiled" in line for line in told)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters()))
