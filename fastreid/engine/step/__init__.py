"""One training step: forward and backward pass, gradient limit, weight average and starting point."""

__all__: list[str] = []
