import ast
import os
import re
import sys

from source_tree import PACKAGE, ROOT, TOOLS, called, imports, tree

from fastreid import __version__

SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
MODULE = {"pillow": "PIL", "faiss-cpu": "faiss", "pyyaml": "yaml"}
OPTIONAL = {"timm", "pyarrow", "wandb", "mlflow"}  # extras, imported where they are asked for


def required(block: str) -> set[str]:
    text = re.search(rf"{block}[=:] ?\[(.*?)\]", SETUP, re.DOTALL)[1]
    return {re.split("[<>=!]", word)[0] for word in re.findall(r'"(.+?)"', text)}


def imported() -> set[str]:
    found = set()
    for path in [*PACKAGE, *TOOLS]:
        found |= {module.split(".")[0] for _, module in imports(path)}
        found |= {node.args[0].value for node in ast.walk(tree(path)) if called(node) == "importlib.import_module"}
        found |= {"tensorboard" for _, module in imports(path) if module == "torch.utils.tensorboard"}
    return {name for name in found if "." not in name} - {*sys.stdlib_module_names, "fastreid"}


def test_each_dependency_is_imported_and_each_import_is_a_dependency():
    needed = {MODULE.get(name.lower(), name) for name in required("install_requires")}
    assert imported() - OPTIONAL == needed


def test_the_page_of_dependencies_tells_of_each_and_how_old_it_may_be():
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ]
    told = {name: row[3] for row in rows[2:] for name in row[0].split(", ")}
    block = re.search(r"install_requires=\[(.*?)\]", SETUP, re.DOTALL)[1]
    least = dict(re.fullmatch(r"([\w-]+?)(?:>=([\d.]+))?", word).groups() for word in re.findall(r'"(.+?)"', block))
    assert told.keys() == least.keys()
    assert [name for name, version in least.items() if not told[name].startswith(version or "")] == []


def test_every_folder_of_the_package_is_installed():
    assert [str(folder) for folder in {path.parent for path in PACKAGE} if not (folder / "__init__.py").is_file()] == []


def test_what_is_installed_is_pinned():
    pins = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    names = required("install_requires") | required('"dev"')
    assert {
        name for name in names if name.lower().replace("-", "_") not in {pin.replace("-", "_") for pin in pins}
    } == set()


def test_ci_runs_the_test_command_of_the_readme():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("make test")
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_make_knows_its_words():
    text = (ROOT / "Makefile").read_text()
    assert re.search(r"\.PHONY: (.+)", text)[1].split() == [
        "setup",
        "demo",
        "test",
        "faults",
        "check",
        "fix",
        "bench",
        "fuzz",
        "audit",
    ]


def test_the_version_has_one_home():
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert __version__ not in SETUP
