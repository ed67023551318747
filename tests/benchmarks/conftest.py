"""Import fastreid before torch, so that waiting threads sleep as in the commands (docs/decisions/0004)."""

import fastreid  # noqa: F401
