"""Parametric families of objects, one builder per family."""

from fastreid.synthetic.families.registry import FAMILIES, HELD_OUT_FAMILIES, build_object

__all__ = ["FAMILIES", "HELD_OUT_FAMILIES", "build_object"]
