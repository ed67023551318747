"""The `fastreid` command: one module per sub-command; used from the shell, not from Python."""

__all__: list[str] = []
