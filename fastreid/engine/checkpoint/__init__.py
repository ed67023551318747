"""Save the checkpoints of a run: their content, names, order and disk space."""

__all__: list[str] = []
