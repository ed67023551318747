"""`fastreid average`: the weighted mean of checkpoints of the same network."""

import pytest
import torch

from fastreid.cli.main import main
from fastreid.engine.model.directory import ModelCard, save_model_directory
from fastreid.engine.resume.data_fingerprint import FORMAT
from fastreid.engine.setup import load_config
from fastreid.modeling import build_model
from fastreid.utils.checksums import verify_checksum
from fastreid.utils.errors import InputError, WeightsError


def save(path, value, *, num_classes=2, labels=None, **changes):
    state = {
        "backbone.conv.weight": torch.full((2, 3), float(value)),
        "backbone.bn.running_var": torch.tensor([1.0, value]),
        "backbone.bn.num_batches_tracked": torch.tensor(10 * value),
        "heads.weight": torch.full((num_classes, 3), 2.0 * value),
    } | changes
    content = {"model": {key: item for key, item in state.items() if item is not None}, "config": f"SEED: {value}"}
    if labels is not None:
        content["data"] = {"format": FORMAT, "labels": labels, "lists": {}}
    torch.save(content, path)
    return str(path)


def test_weighted_mean_of_two_checkpoints(tmp_path, capsys):
    models = [save(tmp_path / "a.pth", 1), save(tmp_path / "b.pth", 5)]
    output = tmp_path / "soup.pth"
    assert main(["average", *models, "--output", str(output), "--weights", "3", "1"]) == 0
    content = torch.load(output, weights_only=True)
    assert content["config"] == "SEED: 1"
    assert content["model"]["backbone.conv.weight"].tolist() == [[2.0] * 3] * 2
    assert content["model"]["backbone.bn.running_var"].tolist() == [1.0, 2.0]
    assert content["model"]["heads.weight"].tolist() == [[4.0] * 3] * 2
    assert content["model"]["backbone.bn.num_batches_tracked"].item() == 10
    verify_checksum(output)
    assert capsys.readouterr().out == f"{output}: mean of 4 tensors: 0.75 {models[0]}, 0.25 {models[1]}\n"


def test_equal_weights_are_the_default_and_sums_are_exact(tmp_path):
    """The float32 sum of these three numbers loses the 1."""
    models = [
        save(tmp_path / f"{n}.pth", n, **{"x": torch.tensor(v)}) for n, v in enumerate((2.0**25, 3.0, -(2.0**25)))
    ]
    assert main(["average", *models, "--output", str(tmp_path / "soup.pth")]) == 0
    assert torch.load(tmp_path / "soup.pth", weights_only=True)["model"]["x"].item() == 1.0


def test_classifier_of_other_patents_is_dropped(tmp_path, capsys):
    models = [save(tmp_path / "a.pth", 1), save(tmp_path / "b.pth", 3, num_classes=5)]
    assert main(["average", *models, "--output", str(tmp_path / "soup.pth")]) == 0
    assert "heads.weight" not in torch.load(tmp_path / "soup.pth", weights_only=True)["model"]
    first, _ = capsys.readouterr().out.splitlines()
    assert first == f"dropped heads.weight: float32 2x3 in {models[0]}, float32 5x3 in {models[1]}"


@pytest.mark.parametrize(
    ("labels", "is_kept"), [(("x", "x"), True), (("x", "y"), False), ((None, "x"), True), ((None, None), True)]
)
def test_classifier_of_as_many_other_patents_is_dropped(labels, is_kept, tmp_path, capsys):
    models = [save(tmp_path / f"{number}.pth", number, labels=record) for number, record in enumerate(labels)]
    output = tmp_path / "soup.pth"
    assert main(["average", *models, "--output", str(output)]) == 0
    content = torch.load(output, weights_only=True)
    assert ("heads.weight" in content["model"]) == is_kept
    assert content.get("data") == ({"format": FORMAT, "labels": "x"} if "x" in labels and is_kept else None)
    message = f"dropped heads.weight: {models[0]} and {models[1]} have other training patents\n"
    assert capsys.readouterr().out.startswith(message) == (not is_kept)


def test_model_directory_and_its_name_are_averaged(tmp_path, monkeypatch):
    network = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME", "test_efficientnet"]
    cfg = load_config(None, [*network, "MODEL.DEVICE", "cpu"])
    first, second = (build_model(cfg, num_classes=2) for _ in range(2))
    save_model_directory(tmp_path / "models/mine", cfg, first, ModelCard("mine"))
    torch.save({"model": second.state_dict()}, tmp_path / "b.pth")
    monkeypatch.setattr("fastreid.engine.model.directory.get_model_folder", lambda: tmp_path / "models")
    for name in ("mine", str(tmp_path / "models/mine")):
        assert main(["average", name, str(tmp_path / "b.pth"), "--output", str(tmp_path / "soup.pth")]) == 0
        content = torch.load(tmp_path / "soup.pth", weights_only=True)
        assert "TIMM_NAME: test_efficientnet" in content["config"]
        assert content["model"].keys() == second.state_dict().keys() - {"heads.weight"}
        weight = "backbone.body.conv_stem.weight"
        expected = (first.state_dict()[weight].double() + second.state_dict()[weight]) / 2
        assert torch.equal(content["model"][weight], expected.float())


def test_every_mismatch_of_other_networks_is_a_line(tmp_path):
    changes = {
        "backbone.conv.weight": torch.zeros(4, 3),
        "backbone.bn.running_var": None,
        "backbone.fc.bias": torch.ones(1),
    }
    models = [save(tmp_path / "a.pth", 1), save(tmp_path / "b.pth", 3, **changes)]
    with pytest.raises(WeightsError) as error:
        main(["average", *models, "--output", str(tmp_path / "soup.pth")])
    heading, *lines = str(error.value).splitlines()
    assert "different networks" in heading
    assert [line.split(":")[0].split()[-1] for line in lines] == list(changes)
    assert f"float32 2x3 in {models[0]}, float32 4x3 in {models[1]}" in lines[0]
    assert not (tmp_path / "soup.pth").exists()


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ("a", [], "two or more different files"),
        ("aa", [], "two or more different files"),
        ("ab", ["--weights", "1"], "--weights has 1 number for 2 checkpoints"),
        ("ab", ["--weights", "0", "0"], "must have a number above 0"),
        ("ab", ["--output", "soup.txt"], "must end in .pth"),
        ("ab", ["--output", "a.pth"], "is one of the checkpoints"),
        ("ac", [], "c.pth: no such weights file"),
    ],
)
def test_invalid_options_raise(models, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab"):
        save(tmp_path / f"{name}.pth", number)
    with pytest.raises(InputError, match=message):
        main(["average", *(f"{name}.pth" for name in models), "--output", "soup.pth", *options])


def test_nonfinite_weights_are_not_averaged(tmp_path):
    models = [
        save(tmp_path / "a.pth", 1),
        save(tmp_path / "b.pth", float("nan"), **{"backbone.bn.num_batches_tracked": None}),
    ]
    with pytest.raises(WeightsError, match=r"b\.pth: weights contain NaN or Inf"):
        main(["average", *models, "--output", str(tmp_path / "soup.pth")])
