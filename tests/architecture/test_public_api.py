"""Names that users, other programs and checks rely on."""

import importlib
import inspect

import pytest

NAMES = {
    "fastreid.config": ["get_cfg", "CfgNode"],
    "fastreid.modeling": ["build_model"],
    "fastreid.data.image": ["read_image"],
    "fastreid.layers": ["euclidean_distance", "cosine_distance"],
    "fastreid.evaluation": ["nearest", "expand", "k_reciprocal", "score"],
    "fastreid.engine": ["DefaultTrainer", "default_argument_parser", "default_setup", "launch", "Predictor"],
    "fastreid.structures": ["Drawing", "Batch", "Embeddings", "Ranking"],
    "fastreid.utils.registry": ["Registry"],
    "fastreid.utils.cli": ["run_tool"],
}
KEYWORDS = {
    "fastreid.modeling.build_model": {"num_classes"},
    "fastreid.evaluation.nearest": {"metric"},
    "fastreid.evaluation.expand": {"k", "alpha", "times", "queries_too", "gallery_too"},
    "fastreid.evaluation.k_reciprocal": {"k1", "k2", "lambda_value", "metric", "k"},
}


@pytest.mark.parametrize("module", NAMES)
def test_public_names_are_importable(module):
    imported = importlib.import_module(module)
    assert [name for name in NAMES[module] if not callable(getattr(imported, name, None))] == []


@pytest.mark.parametrize("dotted", KEYWORDS)
def test_public_keywords_are_accepted(dotted):
    module, _, name = dotted.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    assert KEYWORDS[dotted] <= set(inspect.signature(function).parameters)


def test_predictor_is_built_from_a_config():
    predictor = importlib.import_module("fastreid.engine").Predictor
    assert list(inspect.signature(predictor.from_config).parameters) == ["config_file", "weights", "opts"]
