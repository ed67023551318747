from fastreid.synthetic.rendering.hidden_lines import extract_visible_lines, render_depth_view


def compute_visible_lines(solid, view, *, depth_px=480):
    return extract_visible_lines(solid, render_depth_view(solid, view, depth_px=depth_px))
