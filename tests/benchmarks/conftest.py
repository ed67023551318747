"""Torch's threads wait in benchmarks as they do in the commands: fastreid is imported before torch (decisions/0004)."""

import fastreid  # noqa: F401
