"""Decide what `--resume` accepts: values, settings, optimizer state and images of the checkpoint."""

__all__: list[str] = []
