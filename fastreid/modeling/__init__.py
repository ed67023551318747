"""Networks: images in, features or losses out."""

from fastreid.modeling.build import build_model, load_start_weights

__all__ = ["build_model", "load_start_weights"]
