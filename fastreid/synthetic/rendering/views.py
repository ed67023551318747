"""Where a drawing is seen from: the six sides and perspective corners."""

from dataclasses import dataclass

import numpy as np

from fastreid.synthetic.geometry.outlines import Points

MOST_DRAWINGS = 12
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
    """One way to look at an object.

    Args:
        azimuth: degrees around the upright axis; 0 looks at the front, 90 at the right side.
        elevation: degrees above the horizon, -90..90.
        distance: from the eye to the middle of the object, in half diagonals of the object, above 1; 0 is a parallel
            projection.
    """

    azimuth: float
    elevation: float
    distance: float = 0.0

    def axes(self) -> Points:
        """float64 (3, 3): right, down and towards the eye, one a row."""
        turn, lift = np.radians(self.azimuth), np.radians(self.elevation)
        right = np.array([np.cos(turn), np.sin(turn), 0.0])
        eye = np.array([np.cos(lift) * np.sin(turn), -np.cos(lift) * np.cos(turn), np.sin(lift)])
        return np.stack([right, np.cross(right, eye), eye])

    def project(self, points: Points) -> Points:
        """(V, 3) points as right, down and nearness, all in half diagonals.

        Nearness grows towards the eye, is straight along straight lines of the picture (so it can be interpolated
        there), and equals true nearness about the middle of the object.
        """
        seen = np.einsum("vj,ij->vi", points, self.axes())
        if not self.distance:
            return seen
        shrink = self.distance / (self.distance - seen[:, 2])
        return np.stack([seen[:, 0] * shrink, seen[:, 1] * shrink, self.distance * (shrink - 1)], axis=1)

    def facing_cosine(self, normals: Points, points: Points) -> Points:
        """For faces with a normal and a point each, the cosine to the eye times a positive number: above 0 is seen."""
        eye = self.axes()[2]
        if not self.distance:
            return np.einsum("fj,j->f", normals, eye)
        return np.einsum("fj,fj->f", normals, self.distance * eye - points)


def plan_views(rng: np.random.Generator) -> list[View]:
    """The views of one patent in the order of its figures; a patent with n drawings shows the first n.

    The first is a perspective corner. Then come the six sides, mostly in the order offices ask for, with further
    corners in between.
    """
    distance = rng.uniform(3.0, 7.0)
    mirror = 1 - 2 * rng.integers(0, 2)
    corners = []
    for azimuth, lift in ((-40, 1), (40, 1), (-40, -1), (135, 1), (40, -1), (-135, 1)):
        angle = mirror * (azimuth + rng.uniform(-15.0, 15.0))
        corners.append(View(float(angle), lift * rng.uniform(15.0, 42.0), distance))
    names = list(_SIDES)
    order = names if rng.random() < 0.6 else [names[i] for i in rng.permutation(len(names))]
    views = [View(*_SIDES[name]) for name in order]
    for corner in corners[1:]:
        views.insert(int(rng.integers(0, len(views) + 1)), corner)
    return [corners[0], *views]
