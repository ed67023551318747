"""Retrieval of patent drawings: find the other drawings of the same object, seen from other sides."""

import os

__version__ = "0.1.0"

# Torch's threads spin while they wait, so that beside any other work on the machine a step takes many times as long
# (measured: docs/decisions/0004-passive-threads.md). It must be said before torch is imported, hence here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
