"""Masks on the map: polygons and GeoTIFFs out, drawn labels in."""

from kernelkit.maps.geotiff import write_geotiff
from kernelkit.maps.labels import DrawnLabels
from kernelkit.maps.polygonise import polygons
from kernelkit.maps.vector_file import write_polygons

__all__ = ["DrawnLabels", "polygons", "write_geotiff", "write_polygons"]
