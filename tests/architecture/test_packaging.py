import ast
import os
import re
import sys

from source_tree import PACKAGE, ROOT, TOOLS, called, imports, tree

from fastreid import __version__
from fastreid.cli.doctor import EXTRAS

SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
MODULE = {"pillow": "PIL", "faiss-cpu": "faiss", "pyyaml": "yaml", "scikit-learn": "sklearn", "jinja2": "jinja2"}
OPTIONAL = {  # extras, imported when they are used
    *("timm", "huggingface_hub", "pyarrow", "pypdfium2", "lancedb", "pymilvus", "huggingface_hub", "wandb", "mlflow"),
    *("fastapi", "pydantic", "python_multipart", "starlette", "uvicorn", "prometheus_client"),
    *("onnx", "onnxruntime"),
}


def requirements(block: str) -> set[str]:
    text = re.search(rf"{block}[=:] ?\[(.*?)\]", SETUP, re.DOTALL)[1]
    return {re.split("[<>=!]", word)[0] for word in re.findall(r'"(.+?)"', text)}


def imported_packages() -> set[str]:
    found = set()
    for path in [*PACKAGE, *TOOLS]:
        found |= {module.split(".")[0] for _, module in imports(path)}
        calls = [node for node in ast.walk(tree(path)) if called(node) == "importlib.import_module"]
        found |= {node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)}
        found |= {"tensorboard" for _, module in imports(path) if module == "torch.utils.tensorboard"}
    return {name for name in found if "." not in name} - {*sys.stdlib_module_names, "fastreid"}


def test_imports_match_dependencies():
    needed = {MODULE.get(name.lower(), name) for name in requirements("install_requires")}
    assert imported_packages() - OPTIONAL == needed


def test_page_of_dependencies_is_complete():
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ]
    documented = {name: row[3] for row in rows[2:] for name in row[0].split(", ")}
    block = re.search(r"install_requires=\[(.*?)\]", SETUP, re.DOTALL)[1]
    minimum = dict(re.fullmatch(r"([\w-]+?)(?:>=([\d.]+))?", word).groups() for word in re.findall(r'"(.+?)"', block))
    assert documented.keys() == minimum.keys()
    assert [name for name, version in minimum.items() if not documented[name].startswith(version or "")] == []


def test_doctor_lists_all_extras():
    block = re.search(r"extras_require=\{(.*?)\n    \}", SETUP, re.DOTALL)[1]
    extras = set(re.findall(r'^        "(\w+)": \[', block, re.MULTILINE)) - {"gpu", "dev"}
    assert {extra: set(packages) for extra, packages in EXTRAS.items()} == {
        extra: requirements(f'"{extra}"') for extra in extras
    }


def test_every_folder_is_a_package():
    assert [str(folder) for folder in {path.parent for path in PACKAGE} if not (folder / "__init__.py").is_file()] == []


def test_dependencies_are_pinned():
    pins = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    names = requirements("install_requires") | requirements('"dev"')
    assert {
        name for name in names if name.lower().replace("-", "_") not in {pin.replace("-", "_") for pin in pins}
    } == set()


def test_ci_runs_make_test():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("make test")
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_make_targets():
    text = (ROOT / "Makefile").read_text()
    targets = "setup demo test quick faults check fix docs bench fuzz audit"
    assert re.search(r"\.PHONY: (.+)", text)[1] == targets
    assert targets in text.splitlines()[0]


def test_version_is_defined_once():
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert __version__ not in SETUP


def test_only_command_is_fastreid():
    assert re.findall(r'console_scripts": \[(.*?)\]', SETUP) == ['"fastreid = fastreid.cli.main:main_entry"']


def test_wheel_contains_all_configs():
    patterns = re.search(r'"fastreid\.configs": \[(.*?)\]', SETUP)[1]
    packaged = {path for pattern in re.findall(r'"(.+?)"', patterns) for path in (ROOT / "configs").glob(pattern)}
    assert packaged == {path for path in (ROOT / "configs").rglob("*") if path.is_file()}
    assert 'package_dir={"fastreid.configs": "configs"}' in SETUP


def test_wheel_contains_the_type_marker_and_the_models():
    assert '"fastreid": ["py.typed", "models/*/*"]' in SETUP
    assert (ROOT / "fastreid/py.typed").read_bytes() == b""


def test_strict_type_checks_and_line_length_are_enabled():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "strict = true" in text
    assert "line-length = 120" in text
    assert "E501" not in re.search(r"^ignore = .*", text, re.MULTILINE)[0]
