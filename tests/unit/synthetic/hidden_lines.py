"""The lines of an object from one side, in one call."""

from fastreid.synthetic.rendering.hidden_lines import lines_in_sight, look


def visible_lines(solid, view, *, depth_px=480):
    return lines_in_sight(solid, look(solid, view, depth_px=depth_px))
