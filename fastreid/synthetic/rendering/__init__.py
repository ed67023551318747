"""Rendering of line drawings: views, hidden-line removal, shading, labels and sheets."""

from fastreid.synthetic.rendering.sheet import Style, contact_sheet, png_bytes, render_sheet
from fastreid.synthetic.rendering.views import View

__all__ = ["Style", "View", "contact_sheet", "png_bytes", "render_sheet"]
