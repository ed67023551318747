"""Start the processes of a run, let them find each other and check that they agree."""

__all__: list[str] = []
