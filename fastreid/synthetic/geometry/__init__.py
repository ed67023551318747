"""Triangle meshes: outlines, parts, sweeps, intersections and assembled solids."""

from fastreid.synthetic.geometry.mesh import Mesh
from fastreid.synthetic.geometry.solid import Solid, assemble

__all__ = ["Mesh", "Solid", "assemble"]
