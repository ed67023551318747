"""Package and commands; the Cython ranker is built where a compiler is found and done without elsewhere."""

import re
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "fastreid/__init__.py").read_text(encoding="utf-8"))[1]


def extensions() -> list:
    """The ranker as an optional extension: whatever keeps it from being built is a warning, not a failure."""
    ranker = Extension(
        "fastreid.evaluation.scoring.rank_cy", ["fastreid/evaluation/scoring/rank_cy.pyx"], optional=True
    )
    try:
        from Cython.Build import cythonize

        return cythonize([ranker], language_level=3)
    except Exception as error:  # the ranker must never stand between a user and the package
        print(f"warning: the Cython ranker is left out, torch does its work ({error})", file=sys.stderr)
        return []


setup(
    name="fastreid",
    version=VERSION,
    description="Find the drawings of the same patent: training, testing and search",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["fastreid", "fastreid.*"]), "fastreid_tools"],
    package_dir={"fastreid_tools": "tools"},
    package_data={"fastreid.evaluation.scoring": ["*.pyx"]},
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
        "tqdm",
        "zstandard",
        "safetensors",
        "gdown",
        "tensorboard",
        "termcolor",
        "tabulate",
    ],
    extras_require={
        # faiss-gpu and faiss-cpu own the same folder faiss/: see docs/contributing.md before adding this one
        "gpu": ["faiss-gpu"],
        "timm": ["timm"],
        "parquet": ["pyarrow"],
        "wandb": ["wandb"],
        "mlflow": ["mlflow-skinny"],
        "dev": [
            "Cython",
            "hypothesis",
            "mypy",
            "pre-commit",
            "pyarrow",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "scikit-learn",
            "types-PyYAML",
            "types-tabulate",
        ],
    },
    entry_points={
        "console_scripts": [
            "fastreid-train = fastreid_tools.train_net:cli",
            "fastreid-test = fastreid_tools.test:cli",
            "fastreid-extract = fastreid_tools.extract:cli",
            "fastreid-ablate = fastreid_tools.ablate:cli",
            "fastreid-tune-postprocessing = fastreid_tools.tune_postprocessing:cli",
            "fastreid-check-data = fastreid_tools.check_data:cli",
            "fastreid-prepare = fastreid_tools.prepare:cli",
            "fastreid-find-batch-size = fastreid_tools.find_batch_size:cli",
            "fastreid-make-drawings = fastreid_tools.make_drawings:cli",
            "fastreid-compare-runs = fastreid_tools.compare_runs:cli",
            "fastreid-show-augmentations = fastreid_tools.show_augmentations:cli",
            "fastreid-measure-drawings = fastreid_tools.measure_drawings:cli",
        ]
    },
)
