"""Areas on the map, as callers write them and as Postgres compares them: on Mercator's map, in metres of the equator.

On it a box is what a screen shows, a polygon's sides are as they were drawn, and a circle of up to 100 km is round to
within half a percent.
"""

import math
from itertools import combinations

# How wide the map is: the equator.
WORLD = 40_075_017
# Further the map does not go.
MOST_NORTH = 85.0
MOST_CORNERS = 100

Point = tuple[float, float]
Box = tuple[Point, Point]
Circle = tuple[Point, float]


def box(text: str) -> Box:
    """`west,south,east,north` in degrees; raises ValueError saying what is wrong."""
    west, south, east, north = _numbers(text, 4, "west,south,east,north")
    if west >= east:
        raise ValueError("must have its west to the west of its east")
    if south >= north:
        raise ValueError("must have its south to the south of its north")
    return project(east, north), project(west, south)


def centre(text: str) -> Point:
    """`latitude,longitude` in degrees; raises ValueError saying what is wrong."""
    latitude, longitude = _numbers(text, 2, "latitude,longitude")
    return project(longitude, latitude)


def circle(text: str, metres: float) -> Circle:
    """All within `metres` of `latitude,longitude`; raises ValueError saying what is wrong."""
    latitude, _ = _numbers(text, 2, "latitude,longitude")
    return centre(text), metres / math.cos(math.radians(latitude))


def polygon(text: str) -> list[Point]:
    """`longitude,latitude;…` in degrees; raises ValueError saying what is wrong."""
    corners = [
        project(*_numbers(corner, 2, "longitude,latitude;…"))
        for corner in text.split(";")
        if corner
    ]
    if len(corners) > 1 and corners[0] == corners[-1]:
        del corners[-1]
    if not 3 <= len(corners) <= MOST_CORNERS:
        raise ValueError(f"must have 3 to {MOST_CORNERS} corners")
    if len(set(corners)) < len(corners):
        raise ValueError("must not have a corner twice")
    sides = [(corner, corners[(at + 1) % len(corners)]) for at, corner in enumerate(corners)]
    if any(_cross(one, other) for one, other in combinations(sides, 2)):
        raise ValueError("must not cross itself")
    return corners


def project(longitude: float, latitude: float) -> Point:
    """Where a place is on the map; raises ValueError for what is nowhere."""
    if not -180 <= longitude <= 180:
        raise ValueError("must have longitudes between -180 and 180")
    if not -MOST_NORTH <= latitude <= MOST_NORTH:
        raise ValueError(f"must have latitudes between -{MOST_NORTH:g} and {MOST_NORTH:g}")
    turned = math.tan(math.pi / 4 + math.radians(latitude) / 2)
    return WORLD * (longitude + 180) / 360, WORLD * (0.5 - math.log(turned) / (2 * math.pi))


def degrees(x: float, y: float) -> Point:
    """The longitude and latitude of a place on the map."""
    north = math.atan(math.exp((0.5 - y / WORLD) * 2 * math.pi))
    return x / WORLD * 360 - 180, math.degrees(2 * north - math.pi / 2)


def _numbers(text: str, count: int, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"must be {form} in degrees")
    return numbers


def _cross(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    """Whether two sides meet anywhere but in a corner they share."""
    (a, b), (c, d) = one, other
    shared = {a, b} & {c, d}
    if shared:
        # They share a corner: they lie on each other if the one ends on the other.
        (corner,) = shared
        p, q = (b if a == corner else a), (d if c == corner else c)
        return _turn(corner, p, q) == 0 and _dot(corner, p, q) > 0
    turns = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(turn == 0 and _between(*end) for turn, end in zip(turns, ends, strict=True))


def _turn(a: Point, b: Point, c: Point) -> float:
    """Above 0 where the way from a over b to c turns left, 0 where it goes straight on."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _dot(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[0] - a[0]) + (b[1] - a[1]) * (c[1] - a[1])


def _between(a: Point, b: Point, c: Point) -> bool:
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])
