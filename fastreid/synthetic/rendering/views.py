"""Views of an object: the six sides and perspective views."""

from dataclasses import dataclass

import numpy as np

from fastreid.synthetic.geometry.outlines import Points

_SIDES = {
    "front": (0.0, 0.0),
    "back": (180.0, 0.0),
    "left": (-90.0, 0.0),
    "right": (90.0, 0.0),
    "top": (0.0, 90.0),
    "bottom": (0.0, -90.0),
}


@dataclass(frozen=True)
class View:
    """Camera direction and projection.

    Args:
        azimuth: degrees about the vertical axis; 0 shows the front, 90 the right side.
        elevation: degrees above the horizon, -90..90.
        distance: distance of the camera from the center of the object, in half diagonals of the object, greater
            than 1; 0 is a parallel projection.
    """

    azimuth: float
    elevation: float
    distance: float = 0.0

    def axes(self) -> Points:
        """Return the unit vectors right, down and towards the viewer as the rows of a float64 (3, 3)."""
        azimuth, elevation = np.radians(self.azimuth), np.radians(self.elevation)
        right = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
        towards_viewer = np.array(
            [np.cos(elevation) * np.sin(azimuth), -np.cos(elevation) * np.cos(azimuth), np.sin(elevation)]
        )
        return np.stack([right, np.cross(right, towards_viewer), towards_viewer])

    def project(self, points: Points) -> Points:
        """Project points (V, 3) to (right, down, depth), in half diagonals.

        Depth grows towards the viewer, is linear in image space (so it can be interpolated there) and equals the true
        depth near the center of the object.
        """
        projected: Points = np.einsum("vj,ij->vi", points, self.axes())
        if not self.distance:
            return projected
        factor = self.distance / (self.distance - projected[:, 2])
        return np.stack([projected[:, 0] * factor, projected[:, 1] * factor, self.distance * (factor - 1)], axis=1)

    def compute_facing(self, normals: Points, points: Points) -> Points:
        """Return a value per face (F,) that is positive if it faces the viewer: the cosine times a positive factor.

        Args:
            normals: float64 (F, 3).
            points: float64 (F, 3), any point of each face.
        """
        towards_viewer = self.axes()[2]
        facing: Points
        if self.distance:
            facing = np.einsum("fj,fj->f", normals, self.distance * towards_viewer - points)
        else:
            facing = np.einsum("fj,j->f", normals, towards_viewer)
        return facing


def plan_views(rng: np.random.Generator) -> list[View]:
    """Sample the views of a patent in the order of its figures; a patent with n drawings shows the first n.

    The first is a perspective view. The six sides follow, usually in the order that patent offices require, with more
    perspective views in between.
    """
    distance = rng.uniform(3.0, 7.0)
    mirror = 1 - 2 * rng.integers(0, 2)
    corners = []
    for azimuth, sign in ((-40, 1), (40, 1), (-40, -1), (135, 1), (40, -1), (-135, 1)):
        angle = mirror * (azimuth + rng.uniform(-15.0, 15.0))
        corners.append(View(float(angle), sign * rng.uniform(15.0, 42.0), distance))
    names = list(_SIDES)
    order = names if rng.random() < 0.6 else [names[i] for i in rng.permutation(len(names))]
    views = [View(*_SIDES[name]) for name in order]
    for corner in corners[1:]:
        views.insert(int(rng.integers(0, len(views) + 1)), corner)
    return [corners[0], *views]
