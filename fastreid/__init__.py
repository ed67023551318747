"""Retrieval of patent drawings: find the other drawings of the same object, seen from other sides."""

__version__ = "0.1.0"
