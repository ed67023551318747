"""Build a network from a config and load its weights: files, model directories and pretrained backbones."""

__all__: list[str] = []
