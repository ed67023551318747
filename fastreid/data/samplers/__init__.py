"""Which drawings stand in which batch."""
