"""Polygons of a GeoJSON file, as standards write it and as viewers of slides do.

RFC 7946 has one object that holds all features, in longitude and latitude. QuPath and HuBMAP write
a bare list of features, in pixels. Their classes stand in `properties.classification.name`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from rasterio.crs import CRS
from shapely import MultiPolygon, Polygon

__all__ = ["SUFFIXES", "DrawnShapes", "read_geojson"]

SUFFIXES = (".geojson", ".json")
# Parsed JSON takes ten times its bytes.
_MOST_BYTES = 1 << 27
_KINDS = ("Polygon", "MultiPolygon")
# What coordinates mean if the file does not say so.
_DEGREES = "OGC:CRS84"
_LEAST_CORNERS = 3


@dataclass(frozen=True, slots=True)
class DrawnShapes:
    """The shapes of a file.

    Attributes
    ----------
    polygons
        Polygons and multipolygons.
    names
        The class of each. Empty if it has none.
    others
        How many shapes are neither.
    crs
        What the coordinates mean. None for pixels.
    """

    polygons: list[Polygon | MultiPolygon]
    names: list[str]
    others: int
    crs: CRS | None


def read_geojson(path: Path) -> DrawnShapes:
    """Read all polygons of a file.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or is no GeoJSON. The message says which feature is wrong.
    """
    content = _parsed(path)
    polygons, names, others = [], [], 0
    for number, feature in enumerate(_features(content), 1):
        try:
            polygon = _polygon(feature.get("geometry"))
        except (ValueError, shapely.GEOSException) as error:
            raise ValueError(f"feature {number} {error}") from None
        if polygon is None or polygon.is_empty:
            others += 1
        else:
            polygons.append(polygon)
            names.append(_name(feature.get("properties")))
    return DrawnShapes(polygons, names, others, _crs(content))


def _parsed(path: Path) -> Any:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"found {size} bytes, wanted at most {_MOST_BYTES}")
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is no JSON at line {error.lineno}: {error.msg}") from None
    except UnicodeDecodeError:
        raise ValueError("this is no text in UTF-8") from None
    except RecursionError:
        raise ValueError("found too many lists inside each other") from None


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"found {word}, wanted a finite number")


def _features(content: Any) -> Iterator[Mapping[str, Any]]:
    """The features of a bare list, of a collection, or the one that the file is."""
    if isinstance(content, dict):
        kind = content.get("type")
        content = content.get("features") if kind == "FeatureCollection" else [content]
    if not isinstance(content, list):
        raise ValueError("found no list of features, wanted GeoJSON")
    for number, feature in enumerate(content, 1):
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise ValueError(f"feature {number} is no Feature of GeoJSON")
        yield feature


def _polygon(geometry: Any) -> Polygon | MultiPolygon | None:
    """A polygon or several of them, None for another shape or none."""
    if geometry is None:
        return None
    if not isinstance(geometry, dict) or not isinstance(geometry.get("type"), str):
        raise ValueError("has a geometry without a type")
    kind, coordinates = geometry["type"], geometry.get("coordinates")
    if kind not in _KINDS:
        return None
    if not isinstance(coordinates, list):
        raise ValueError(f"is a {kind} without coordinates")
    if kind == "Polygon":
        return _rings(coordinates)
    return MultiPolygon([_rings(part) for part in coordinates])


def _rings(rings: Any) -> Polygon:
    if not isinstance(rings, list) or not rings:
        raise ValueError("has a polygon without an outline")
    outer, *holes = [_corners(ring) for ring in rings]
    return Polygon(outer, holes)


def _corners(ring: Any) -> Sequence[tuple[float, float]]:
    """The corners of a ring. Heights are left out."""
    if not isinstance(ring, list) or len(ring) < _LEAST_CORNERS:
        raise ValueError(f"has an outline of fewer than {_LEAST_CORNERS} corners")
    if not all(_is_corner(corner) for corner in ring):
        raise ValueError("has a corner that is not two finite numbers")
    return [(float(x), float(y)) for x, y, *_ in ring]


def _is_corner(corner: Any) -> bool:
    if not isinstance(corner, list) or len(corner) < 2:
        return False
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
        for value in corner[:2]
    )


def _name(properties: Any) -> str:
    """The class of a feature, as QuPath writes it, or its own name."""
    if not isinstance(properties, dict):
        return ""
    kind = properties.get("classification")
    for holder in (kind, properties):
        if isinstance(holder, dict) and isinstance(holder.get("name"), str):
            return str(holder["name"])
    return ""


def _crs(content: Any) -> CRS | None:
    """What a collection says, or RFC 7946 says for it. A bare list is in pixels."""
    if not isinstance(content, dict):
        return None
    said = content.get("crs")
    if not isinstance(said, dict):
        return CRS.from_user_input(_DEGREES)
    properties = said.get("properties")
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str):
        raise ValueError("found a crs without a name")
    return CRS.from_user_input(name)
