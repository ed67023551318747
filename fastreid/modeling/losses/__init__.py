"""What training makes small, in float32 at least: one file a family, each a small object that takes plain arguments."""
