"""Extract features of drawings: inference in fixed batches, its options, journal and local features."""

__all__: list[str] = []
