"""Synthetic patents: parametric objects, rendered from several views with hidden-line removal."""

from fastreid.synthetic.collection import RULES_VERSION, Collection, write_patents
from fastreid.synthetic.patent import VARIETY, Patent, make_patent, num_drawings, render_patent
from fastreid.synthetic.rendering.sheet import contact_sheet, png_bytes
from fastreid.synthetic.stream import StreamRenderer, list_drawings

__all__ = [
    "RULES_VERSION",
    "VARIETY",
    "Collection",
    "Patent",
    "StreamRenderer",
    "contact_sheet",
    "list_drawings",
    "make_patent",
    "num_drawings",
    "png_bytes",
    "render_patent",
    "write_patents",
]
