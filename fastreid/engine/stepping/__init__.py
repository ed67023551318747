"""One step of training as a config describes it."""
