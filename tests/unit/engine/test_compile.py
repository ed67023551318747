import functools
from pathlib import Path

import pytest
import torch
from torch import nn

from fastreid.engine.build import build_step
from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.compile import CompiledCaller
from fastreid.engine.features.extract import feature_settings
from fastreid.engine.features.inference import run_inference
from fastreid.engine.setup import load_config
from fastreid.modeling import build_model
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

TINY = Path(__file__).parents[2] / "end_to_end/resnet.yml"


@pytest.fixture
def log_lines(monkeypatch):
    lines = []
    for level in ("info", "warning"):
        monkeypatch.setattr(get_logger(), level, lines.append)
    return lines


@pytest.fixture
def compiler(monkeypatch):
    """Return a function that replaces torch's backend, which takes minutes, and records the compiled graphs."""

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


def aot_eager(graph, inputs):
    return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)


def random_batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(6, 3, 8, 8, generator=generator) * 255, torch.arange(6) % 3, torch.arange(6))


def test_compiled_step_matches_the_plain_step(make_step, compiler, log_lines):
    graphs = compiler(aot_eager)
    plain, compiled = make_step(), make_step(compiled=True)
    for seed in range(3):
        for step in (plain, compiled):
            step.freeze(("backbone",) if seed == 0 else ())
        assert compiled(random_batch(seed)).values == pytest.approx(plain(random_batch(seed)).values, rel=1e-4)
    expected, weights = plain.model.state_dict(), compiled.model.state_dict()
    assert list(weights) == list(expected)
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)
    assert len(graphs) == 2
    assert "compiling the network for training, 6, 3, 8, 8, backbone frozen; this may take minutes" in log_lines


def test_compiler_failure_falls_back_to_the_plain_step(make_step, compiler, log_lines, tmp_path):
    compiler(aot_eager, fails=True)
    plain, compiled = make_step(), make_step(compiled=True)
    for seed in range(3):
        assert compiled(random_batch(seed)).values == plain(random_batch(seed)).values
    expected = plain.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in compiled.model.state_dict().items())
    [line] = [line for line in log_lines if "cannot be compiled" in line]
    assert "no C++ compiler was found" in line
    assert line.endswith("; continuing without compilation")
    assert "\n" not in line


def test_compiler_failure_in_the_backward_pass_is_undone(make_step, compiler, log_lines):
    """By then the batch-norm statistics have changed and some gradients exist."""
    compiler(aot_eager)
    plain, compiled = make_step(grad_accum_steps=2), make_step(grad_accum_steps=2, compiled=True)
    failing = [True]

    def fail(gradient):
        if failing.pop() if failing else False:
            raise RuntimeError("the backward pass cannot be compiled")

    compiled.model.heads.weight.register_hook(fail)
    assert compiled(random_batch(0)).values == plain(random_batch(0)).values
    for one, other in zip(plain.model.buffers(), compiled.model.buffers()):
        assert torch.equal(one, other)


def test_package_errors_are_not_compiler_failures(log_lines):
    def fail(network):
        raise InputError("a drawing is bad")

    with pytest.raises(InputError, match="a drawing is bad"):
        CompiledCaller(nn.Identity, compiled=True).run(fail, signature=("training",))
    assert not any("cannot be compiled" in line for line in log_lines)


def test_checkpoint_of_a_compiled_step_resumes_plain(make_step, compiler, log_lines, tmp_path):
    compiler(aot_eager)
    compiled, plain = make_step(compiled=True), make_step()
    compiled(random_batch(0))
    Checkpointer(tmp_path, compiled, iters_per_epoch=4).save("model_0000.pth", Progress(iteration=1))
    Checkpointer(tmp_path, plain, iters_per_epoch=4).resume()
    assert all(torch.equal(a, b) for a, b in zip(compiled.model.parameters(), plain.model.parameters()))


def test_last_feature_batch_is_padded_for_the_compiler(make_step, compiler, log_lines):
    graphs = compiler(aot_eager)
    model = make_step().model
    drawings = [Drawing(str(number), str(number), "1") for number in range(8)]
    images = torch.rand(8, 3, 8, 8) * 255
    parts = [Batch(images[rows], torch.zeros(len(rows), dtype=torch.int64), rows) for rows in torch.arange(8).split(3)]
    device, caller = torch.device("cpu"), CompiledCaller(lambda: model, compiled=True)
    expected = run_inference(model, parts, drawings, device=device)
    results = [run_inference(model, parts, drawings, device=device, caller=caller, pad_to=3) for _ in range(2)]
    for embeddings in results:
        torch.testing.assert_close(embeddings.features, expected.features)
    assert len(graphs) == 1
    assert [line for line in log_lines if line.startswith("compiling")] == [
        "compiling the network for features, 3, 3, 8, 8; this may take minutes"
    ]


def test_compile_affects_saved_features_only_in_16_bits():
    plain, compiled = (feature_settings(load_config(TINY, ["MODEL.COMPILE", word])) for word in ("False", "True"))
    assert plain == compiled
    narrow = ["TEST.NETWORK_PRECISION", "bfloat16", "MODEL.COMPILE"]
    plain, compiled = (feature_settings(load_config(TINY, [*narrow, word])) for word in ("False", "True"))
    assert plain != compiled


def test_compile_excludes_gradient_checkpointing():
    cfg = load_config(TINY, ["MODEL.COMPILE", "True", "MODEL.BACKBONE.GRADIENT_CHECKPOINTING", "True"])
    with pytest.raises(InputError, match=r"MODEL.COMPILE and MODEL.BACKBONE.GRADIENT_CHECKPOINTING cannot be combined"):
        build_step(cfg, build_model(cfg, num_classes=4), iters_per_epoch=4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_inductor_matches_the_plain_step_and_resumes_exactly(make_step, tmp_path, monkeypatch, log_lines):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, whole, first, second = make_step(), *(make_step(compiled=True) for _ in range(3))
    for seed in range(4):
        assert whole(random_batch(seed)).values == pytest.approx(plain(random_batch(seed)).values, rel=1e-3)
        (first if seed < 2 else second)(random_batch(seed))
        if seed == 1:
            second.load_state_dict(first.state_dict())
            second.model.load_state_dict(first.model.state_dict())
    assert not any("cannot be compiled" in line for line in log_lines)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters()))
