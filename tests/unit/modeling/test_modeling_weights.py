import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fastreid.modeling.weights import extract_model_state, load_state, read_weights
from fastreid.utils.errors import InputError, WeightsError


class TinyModel(nn.Module):
    """Small model with the parameter names of a head and every kind of tensor."""

    def __init__(self, num_classes=3, dim=4):
        super().__init__()
        self.backbone = nn.Linear(2, dim)
        self.heads = nn.Module()
        self.heads.weight = nn.Parameter(torch.randn(num_classes, dim))
        self.heads.bottleneck = nn.Sequential(nn.BatchNorm2d(dim))


def make_state(**changed):
    return {name: value.clone() for name, value in TinyModel().state_dict().items()} | changed


class MaliciousObject:
    def __reduce__(self):
        return (print, ("this must never be printed",))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_saved_weights_are_read(tmp_path, suffix):
    path, tensors = tmp_path / f"weights{suffix}", make_state()
    save_file(tensors, path) if suffix == ".safetensors" else torch.save({"model": tensors}, path)
    loaded = extract_model_state(read_weights(path))
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())


def test_missing_file_raises(tmp_path):
    with pytest.raises(InputError, match="no such weights file"):
        read_weights(tmp_path / "absent.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04", b"PK\x03\x04" + bytes(40), bytes(100)])
def test_invalid_file_raises_with_one_line(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save({"model": MaliciousObject()}, path),
        lambda path: path.write_bytes(pickle.dumps({"model": MaliciousObject()})),
    ],
)
def test_malicious_pickle_raises_without_running_code(tmp_path, capsys, write):
    write(tmp_path / "malicious.pth")
    with pytest.raises(WeightsError, match="not a file of tensors and plain values"):
        read_weights(tmp_path / "malicious.pth")
    assert capsys.readouterr().out == ""


def test_message_for_other_objects_has_no_torch_text(tmp_path):
    torch.save({"model": MaliciousObject()}, tmp_path / "run.pth")
    with pytest.raises(WeightsError, match=r"run\.pth: not a file of tensors .* torch\.save\(") as caught:
        read_weights(tmp_path / "run.pth")
    assert "PyTorch" not in str(caught.value)


def test_truncated_file_raises(tmp_path):
    path = tmp_path / "truncated.pth"
    torch.save(make_state(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsError, match=r"truncated\.pth"):
        read_weights(path)


def test_file_with_a_single_tensor_raises(tmp_path):
    torch.save(torch.ones(2), tmp_path / "tensor.pth")
    with pytest.raises(WeightsError, match="contains a Tensor, not a dict"):
        read_weights(tmp_path / "tensor.pth")


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"model": x, "epoch": 3}, lambda x: {"state_dict": x}])
def test_wrapped_and_prefixed_state_dicts_are_equal(wrap):
    tensors = make_state()
    loaded = extract_model_state(wrap({f"module.{name}": value for name, value in tensors.items()}))
    assert list(loaded) == list(tensors)


def test_old_names_are_renamed_and_pixel_statistics_removed():
    bias = torch.zeros(4)
    old = {"pixel_mean": bias, "pixel_std": bias, "heads.classifier.weight": bias, "heads.bnneck.bias": bias}
    assert list(extract_model_state(old)) == ["heads.weight", "heads.bottleneck.0.bias"]
    reduced = old | {"heads.bottleneck.0.weight": torch.zeros(4, 8, 1, 1)}
    assert "heads.bottleneck.1.bias" in extract_model_state(reduced)


@pytest.mark.parametrize("content", [{}, {"model": {}}, {"model": {"a": 1}}, {"a": torch.ones(1), "b": "text"}])
def test_state_dict_with_other_values_raises(content):
    with pytest.raises(WeightsError, match="a state dict must map names to tensors"):
        extract_model_state(content)


def test_all_tensors_are_loaded_and_reported():
    model, tensors = TinyModel(), make_state()
    assert str(load_state(model, tensors)) == "loaded 8/8 tensors"
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", list(TinyModel().state_dict()))
@pytest.mark.parametrize("difference", ["missing", "shape", "dtype"])
def test_any_tensor_mismatch_raises_and_loads_nothing(name, difference):
    model, tensors = TinyModel(), make_state()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    original = tensors.pop(name)
    if difference == "shape":
        tensors[name] = torch.zeros(7, dtype=original.dtype)
    if difference == "dtype":
        tensors[name] = original.long() if original.is_floating_point() else original.float()
    with pytest.raises(WeightsError, match=f"1 of 8 tensors differ: {name}"):
        load_state(model, tensors)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_error_contains_the_source_of_the_weights():
    with pytest.raises(WeightsError, match=r"^logs/old\.pth: weights do not match the model, 8 of 8"):
        load_state(TinyModel(), {}, source="logs/old.pth")
    with pytest.raises(WeightsError, match=r"^logs/old\.pth: weights contain NaN"):
        load_state(TinyModel(), make_state(**{"backbone.bias": torch.full((4,), torch.nan)}), source="logs/old.pth")


def test_unknown_tensor_raises():
    with pytest.raises(WeightsError, match=r"backbone\.NL_2\.weight: unknown to the model"):
        load_state(TinyModel(), make_state(**{"backbone.NL_2.weight": torch.ones(1)}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.update({"heads.weight": torch.zeros(100, 4)}), "100 -> 3 classes"),
        (lambda tensors: tensors.update({"heads.weight": torch.zeros(100, 9)}), "100x9 -> 3x4"),
        (lambda tensors: tensors.pop("heads.weight"), "absent"),
    ],
)
def test_different_classifier_is_reinitialized_and_reported(change, reason):
    model, tensors = TinyModel(), make_state()
    initial = model.heads.weight.clone()
    change(tensors)
    report = load_state(model, tensors, may_differ=("heads.weight",))
    assert str(report) == f"loaded 7/8 tensors; heads.weight reinitialized ({reason})"
    assert torch.equal(model.heads.weight, initial)
    with pytest.raises(WeightsError):
        load_state(model, tensors)


def test_matching_classifier_is_loaded():
    assert str(load_state(TinyModel(), make_state(), may_differ=("heads.weight",))) == "loaded 8/8 tensors"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nonfinite_weights_raise_with_the_name(value):
    tensors = make_state()
    tensors["backbone.bias"][1] = value
    with pytest.raises(WeightsError, match=r"NaN or Inf in 1 tensors: backbone\.bias"):
        load_state(TinyModel(), tensors)


def test_message_lists_twenty_differences_and_their_number():
    extra = {f"extra.{n}": torch.ones(1) for n in range(30)}
    message = r"0 of 8 tensors differ and the file has 30 more tensors: .*extra\.19: .*, \.\.\. \(30 in all\)"
    with pytest.raises(WeightsError, match=message) as caught:
        load_state(TinyModel(), make_state(**extra))
    assert "extra.20:" not in str(caught.value)


def test_half_precision_weights_load_into_float32_model():
    tensors = {name: value.half() if value.is_floating_point() else value for name, value in make_state().items()}
    model = TinyModel()
    load_state(model, tensors)
    assert model.backbone.weight.dtype == torch.float32
    assert torch.equal(model.backbone.weight, tensors["backbone.weight"].float())


def test_sha256_file_of_weights_is_verified(tmp_path):
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "foreign.pth")
    assert "model" in read_weights(tmp_path / "foreign.pth")
    (tmp_path / "foreign.pth.sha256").write_text(f"{'0' * 64}  foreign.pth\n")
    with pytest.raises(WeightsError, match=r"its sha256 \w{12} is not that of foreign.pth.sha256"):
        read_weights(tmp_path / "foreign.pth")


@pytest.mark.parametrize(
    ("wrap", "line"),
    [
        (lambda x: {f"_orig_mod.{name}": value for name, value in x.items()}, "removed from their names: _orig_mod."),
        (lambda x: {f"module.{name}": value for name, value in x.items()}, ""),
        (lambda x: {f"model.{name}": value for name, value in x.items()}, "removed from their names: model."),
        (
            lambda x: {"state_dict": {f"module._orig_mod.model.{name}": value for name, value in x.items()}},
            "removed from their names: _orig_mod., module., model.",
        ),
        (lambda x: {f"student.{name}": value for name, value in x.items()}, "removed from their names: student."),
        (lambda x: {"model_state_dict": x, "epoch": 3}, "the tensors are those of 'model_state_dict'"),
        (lambda x: {"ema": {"state_dict": x}}, "the tensors are those of 'ema.state_dict'"),
        (lambda x: {"network": x}, "the tensors are those of 'network'"),
        (lambda x: {"ema": {}, "model": x}, ""),
    ],
)
def test_wrappers_and_prefixes_are_removed_with_one_line(wrap, line, logged_lines):
    tensors = make_state()
    assert list(extract_model_state(wrap(tensors), source="a.pth")) == list(tensors)
    assert logged_lines == [f"a.pth: {line}"] * bool(line)


def test_prefix_that_the_network_has_is_kept():
    state = {"model.0.weight": torch.ones(2), "model.0.bias": torch.ones(2)}
    assert extract_model_state(state, expected=["model.0.weight"]).keys() == state.keys()
    assert (
        extract_model_state({f"module.{name}": value for name, value in state.items()}, expected=list(state)) == state
    )


def test_unusual_prefix_is_removed_if_names_of_the_network_remain():
    state = {"encoder_q.conv1.weight": torch.ones(2), "encoder_q.fc.weight": torch.ones(2)}
    assert list(extract_model_state(state, expected=["conv1.weight"])) == ["conv1.weight", "fc.weight"]
    assert list(extract_model_state(state, expected=["stem.weight"])) == list(state)
    assert list(extract_model_state(state)) == list(state)


def test_prefix_of_some_names_is_kept():
    tensors = {"model.weight": torch.ones(1), "other.weight": torch.ones(1)}
    assert list(extract_model_state(tensors)) == ["model.weight", "other.weight"]


def test_compiled_part_of_a_network_loads():
    tensors = {"backbone._orig_mod.weight": torch.ones(1), "heads.weight": torch.ones(1)}
    assert list(extract_model_state(tensors)) == ["backbone.weight", "heads.weight"]


def test_missing_counters_are_zero_if_allowed():
    model, tensors = TinyModel(), make_state()
    model.heads.bottleneck[0].num_batches_tracked.fill_(7)
    del tensors["heads.bottleneck.0.num_batches_tracked"]
    load_state(model, tensors, may_lack_counters=True)
    assert model.heads.bottleneck[0].num_batches_tracked == 0
    with pytest.raises(WeightsError, match="num_batches_tracked: absent"):
        load_state(model, tensors)
