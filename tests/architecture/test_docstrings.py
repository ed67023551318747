"""Each package lists its public API in `__all__`, and everything in it is documented."""

import importlib
import inspect
import re

import pytest
from source_tree import PACKAGE, module_name

PACKAGES = sorted(module_name(path) for path in PACKAGE if path.name == "__init__.py")
MAX_UNDOCUMENTED = 2  # parameters of a function that needs no Args section


def exported_names(package):
    """Return (name, object) of every public name of a package."""
    module = importlib.import_module(package)
    return [(name, getattr(module, name)) for name in module.__all__]


def documented_names(docstring):
    """Return the names in the Args section of a docstring."""
    match = re.search(r"^Args:\n((?:[ ]{4}.*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    return set(re.findall(r"\w+", " ".join(re.findall(r"^    (\S.*?):", match[1], re.MULTILINE)))) if match else set()


def parameters_of(function):
    """Return the names of the parameters that a caller may pass, without `self` and `cls`."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind not in variadic and p.name not in ("self", "cls")]


def undocumented_parameters(function, docstrings):
    """Return the parameters that no Args section explains; short signatures need no such section."""
    names = parameters_of(function)
    explained = set().union(*map(documented_names, docstrings))
    if len(names) <= MAX_UNDOCUMENTED and not explained:
        return []
    return [name for name in names if name not in explained and not name.startswith("_")]


def undocumented(name, value):
    """Return the undocumented parameters of a function, or of a class and its methods."""
    if inspect.isfunction(value):
        return [f"{name}: {parameter}" for parameter in undocumented_parameters(value, [value.__doc__ or ""])]
    if not inspect.isclass(value) or issubclass(value, Exception):
        return []
    classes = [cls for cls in value.__mro__ if cls.__module__.startswith("fastreid.")]
    missing = []
    if any("__init__" in vars(cls) for cls in classes):
        found = undocumented_parameters(value, [cls.__doc__ or "" for cls in classes])
        missing += [f"{name}: {parameter}" for parameter in found]
    for method, function in inspect.getmembers(value, inspect.isroutine):
        if not method.startswith("_") and method in vars(value):
            docstrings = [getattr(cls, method).__doc__ or "" for cls in classes if hasattr(cls, method)]
            found = undocumented_parameters(function, docstrings)
            missing += [f"{name}.{method}: {parameter}" for parameter in found]
    return missing


@pytest.mark.parametrize("package", PACKAGES)
def test_package_lists_its_public_names(package):
    names = importlib.import_module(package).__all__
    assert len(set(names)) == len(names)
    assert [name for name in names if name.startswith("_") and name != "__version__"] == []
    code = [
        (name, value) for name, value in exported_names(package) if inspect.isclass(value) or inspect.isfunction(value)
    ]
    assert [name for name, value in code if not value.__doc__] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_explain_all_parameters(package):
    assert [line for name, value in exported_names(package) for line in undocumented(name, value)] == []


def test_undocumented_parameters_are_found():
    def documented(a, b, c):
        """Add.

        Args:
            a: first.
            b, c: others.
        """

    def partly_documented(a, b):
        """Add.

        Args:
            a: first.
        """

    def short(a, b):
        """Add a and b."""

    def long(a, b, c):
        """Add a, b and c."""

    assert undocumented("f", documented) == undocumented("f", short) == []
    assert undocumented("f", partly_documented) == ["f: b"]
    assert undocumented("f", long) == ["f: a", "f: b", "f: c"]
