"""Patents drawn from a seed: objects built by rule, seen from several sides, hidden lines removed."""

from fastreid.data.generated.patent import VARIETY, Patent, draw_patent, make_patent, num_drawings
from fastreid.data.generated.sheet import contact_sheet, png_bytes
from fastreid.data.generated.write import RULES_VERSION, Collection, write_patents

__all__ = [
    "RULES_VERSION",
    "VARIETY",
    "Collection",
    "Patent",
    "contact_sheet",
    "draw_patent",
    "make_patent",
    "num_drawings",
    "png_bytes",
    "write_patents",
]
