"""Patents drawn from a seed: objects built by rule, seen from several sides, hidden lines removed."""

from fastreid.synthetic.collection import RULES_VERSION, Collection, write_patents
from fastreid.synthetic.patent import VARIETY, Patent, make_patent, num_drawings, render_patent
from fastreid.synthetic.rendering.sheet import contact_sheet, png_bytes

__all__ = [
    "RULES_VERSION",
    "VARIETY",
    "Collection",
    "Patent",
    "contact_sheet",
    "make_patent",
    "num_drawings",
    "png_bytes",
    "render_patent",
    "write_patents",
]
