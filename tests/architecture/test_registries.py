"""Every registry contains callables and rejects an unknown name with the nearest valid one."""

import importlib
import pkgutil

import pytest
from source_tree import BUILDS, module_name

import fastreid
from fastreid.utils.errors import InputError
from fastreid.utils.registry import Registry


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
