"""Only the modules listed here read the config; all other classes and functions take plain arguments."""

import ast
import re

from source_tree import PACKAGE, label, tree

CONFIG_READERS = {
    "fastreid/cli/",
    "fastreid/config/",
    "fastreid/data/audit/audit.py",
    "fastreid/data/build.py",
    "fastreid/data/transforms/build.py",
    "fastreid/engine/data.py",
    "fastreid/engine/evaluate.py",
    "fastreid/engine/evaluate_saved.py",
    "fastreid/engine/export/exporting.py",
    "fastreid/engine/export/output.py",
    "fastreid/engine/export/check_drawings.py",
    "fastreid/engine/export/scores.py",
    "fastreid/engine/features/extract.py",
    "fastreid/engine/features/local_extraction.py",
    "fastreid/engine/features/options.py",
    "fastreid/engine/head_only.py",
    "fastreid/engine/model/network.py",
    "fastreid/engine/model/directory.py",
    "fastreid/engine/model/teacher.py",
    "fastreid/engine/model/weights_source.py",
    "fastreid/engine/model/zoo.py",
    "fastreid/engine/predictor.py",
    "fastreid/engine/run_checks.py",
    "fastreid/engine/setup.py",
    "fastreid/engine/build.py",
    "fastreid/engine/trainer.py",
    "fastreid/evaluation/build.py",
    "fastreid/experiments/ablation.py",
    "fastreid/experiments/augmentation_sheet.py",
    "fastreid/experiments/batch_size.py",
    "fastreid/experiments/comparison.py",
    "fastreid/experiments/tuning.py",
    "fastreid/index/embedder.py",
    "fastreid/modeling/build.py",
    "fastreid/modeling/network_settings.py",
    "fastreid/monitoring/build.py",
    "fastreid/solver/build.py",
}
NAMES = {"cfg", "CfgNode", "get_cfg"}


def may_read_config(path) -> bool:
    return any(
        label(path) == entry or (entry.endswith("/") and label(path).startswith(entry)) for entry in CONFIG_READERS
    )


def names_in(path):
    """Yield (line, name) of every variable, attribute, parameter, import and keyword of a file."""
    for node in ast.walk(tree(path)):
        fields = {
            ast.Name: ("id",),
            ast.Attribute: ("attr",),
            ast.arg: ("arg",),
            ast.alias: ("name", "asname"),
            ast.keyword: ("arg",),
        }.get(type(node), ())
        yield from ((getattr(node, "lineno", 0), getattr(node, field)) for field in fields)


def test_only_listed_modules_read_the_config():
    found = [
        f"{label(path)}:{line}: {name}"
        for path in PACKAGE
        if not may_read_config(path)
        for line, name in names_in(path)
        if name in NAMES
    ]
    assert found == []


def test_every_listed_module_reads_the_config():
    readers = [path for path in PACKAGE if any(name in NAMES for _, name in names_in(path))]
    assert {entry for entry in CONFIG_READERS if not any(label(path).startswith(entry) for path in readers)} == set()


def test_config_is_frozen_once_and_never_unfrozen():
    calls = [
        (label(path), node.attr)
        for path in PACKAGE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and re.search(r"\bcfg\.(freeze|defrost)$", ast.unparse(node))
    ]
    assert calls == [("fastreid/engine/setup.py", "freeze")]
