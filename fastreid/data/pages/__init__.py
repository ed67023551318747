"""Where pages come from: their files, or a cache of what these held."""
