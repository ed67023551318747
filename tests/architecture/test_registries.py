"""Every registry contains callables and rejects an unknown name with the nearest valid one."""

import importlib
import pkgutil
import re

import pytest
from source_tree import BUILDS, ROOT, module_name

import fastreid
from fastreid.utils.errors import InputError
from fastreid.utils.registry import Registry

PUBLIC = {
    "fastreid.data": ["DATASETS", "SAMPLERS"],
    "fastreid.evaluation": ["ENGINES", "METRICS", "STEPS"],
    "fastreid.layers": ["NORMS"],
    "fastreid.modeling": ["BACKBONES", "HEADS", "LOSSES", "MARGINS", "META_ARCHITECTURES", "POOLING"],
    "fastreid.monitoring": ["TRACKERS"],
    "fastreid.solver": ["SCHEDULES"],
}
INTERNAL = {"FAMILIES", "_FUSIONS"}  # parts of synthetic patents and of TEST.FUSE; user code does not add entries


def registries():
    """Yield (name, registry) of every registry in the package."""
    for module in pkgutil.walk_packages(fastreid.__path__, "fastreid."):
        if module.name.endswith("rank_cy"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Registry):
                yield f"{module.name}.{name}", value


def test_each_package_has_one_build_module():
    packages = ("data", "engine", "evaluation", "modeling", "monitoring", "solver")
    assert {module_name(path) for path in BUILDS} >= {f"fastreid.{package}.build" for package in packages}


def test_registries_are_found():
    assert len({id(registry) for _, registry in registries()}) >= 6


@pytest.mark.parametrize(("package", "name"), [(package, name) for package in PUBLIC for name in PUBLIC[package]])
def test_package_exports_its_registries(package, name):
    module = importlib.import_module(package)
    assert isinstance(getattr(module, name), Registry)
    assert name in module.__all__


def test_every_registry_is_public_or_internal():
    public = {name for names in PUBLIC.values() for name in names}
    assert {name.rpartition(".")[2] for name, _ in registries()} == public | INTERNAL


def test_extending_page_lists_the_public_registries():
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| `(fastreid\.\w+)` \|", page, re.MULTILINE)
    listed = {(package, name) for names, package in rows for name in re.findall(r"\w+", names)}
    assert listed == {(package, name) for package in PUBLIC for name in PUBLIC[package]}


def test_registries_contain_callables():
    for name, registry in registries():
        assert registry.names(), name
        assert [entry for entry in registry.names() if not callable(registry.get(entry))] == [], name


def test_unknown_name_is_rejected_with_a_suggestion():
    for _, registry in registries():
        for entry in registry.names():
            with pytest.raises(InputError, match="Did you mean") as error:
                registry.get(f"{entry}x")
            assert entry in str(error.value)
            assert registry.kind in str(error.value)
