"""Retrieval of patent drawings: find all drawings of the same object from any of its views."""

import os

__version__ = "0.2.0"
__all__ = ["__version__"]

# Threads of torch spin while they wait, which slows steps down many times if other processes use the machine
# (measured in docs/decisions/0004-passive-openmp-threads.md). OpenMP reads the variable when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
