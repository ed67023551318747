"""Marks on surfaces."""

from fastreid.synthetic.surface.marks import add_marks

__all__ = ["add_marks"]
