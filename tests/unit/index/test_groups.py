"""All drawings of one group, and the number of drawings of several groups."""

import pytest
import torch

import fastreid.index
from fastreid.index import ModelIdentity
from fastreid.utils.errors import InputError, WeightsError

pytest.importorskip("lancedb", reason="the extra `search` is not installed")
MODEL, DIM = ModelIdentity("test", "0" * 64), 8


def test_groups_of_several_values(tmp_path):
    collection = fastreid.index.create(tmp_path / "c", model=MODEL, dim=DIM)
    values = ["06-01", "06-01|06-03", "06-01|06-03", "06-03", "06-01|06-03|07-01", None]
    rows = [{"id": str(number), "locarno": value} for number, value in enumerate(values)]
    collection.add_features(torch.eye(6, DIM), rows, model=MODEL)
    groups = {"06-01": ["0"], "06-01|06-03": ["1", "2"], "06-03": ["3"]}
    assert collection.count_groups("locarno", list(groups)) == {
        **{value: len(ids) for value, ids in groups.items()},
        "06-01|06-03|07-01": 1,  # has one of the values
    }
    for value, ids in groups.items():
        hits = collection.search(features=torch.ones(1, DIM), within=("locarno", value))
        assert sorted(hit.id for hit in hits) == ids


def test_columns_of_one_value_and_of_other_types(tmp_path):
    collection = fastreid.index.create(tmp_path / "c", model=MODEL, dim=DIM)
    rows = [{"id": str(number), "patent": f"D{number // 2}|x", "year": 2000 + number // 3} for number in range(6)]
    collection.add_features(torch.eye(6, DIM), rows, model=MODEL)
    assert collection.count_groups("patent", ["D0|x", "D1|x"], ids=["0"]) == {"D0|x": 1, "D1|x": 2}
    assert collection.count_groups("year", [2001], where="patent != 'D2|x'", exclude_patents=["D0|x"]) == {2001: 1}
    hits = collection.search(features=torch.ones(1, DIM), within=("year", "2001"), where="patent = 'D2|x'")
    assert sorted(hit.id for hit in hits) == ["4", "5"]
    with pytest.raises(InputError, match="year: 'x' is not an integer"):
        collection.search(features=torch.ones(1, DIM), within=("year", "x"))
    with pytest.raises(InputError, match="Did you mean 'patent'"):
        collection.search(features=torch.ones(1, DIM), within=("patnt", "x"))


def test_settings_that_affect_no_features_are_not_compared():
    old = ModelIdentity("test", "0" * 64, {"MODEL.HEADS.MARGIN": 0.3, "INPUT.SIZE_TEST": [64, 64]})
    old.check_equal(ModelIdentity("test", "0" * 64, {"INPUT.SIZE_TEST": [64, 64]}), where="c")
    with pytest.raises(WeightsError, match=r"INPUT\.SIZE_TEST was"):
        old.check_equal(ModelIdentity("test", "0" * 64, {"INPUT.SIZE_TEST": [32, 32]}), where="c")
