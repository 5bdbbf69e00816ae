"""The side of a pixel, as far as its file says it: on the map, or under the microscope."""

import math
import re
from collections.abc import Mapping

import tifffile

from kernelkit.slide import Slide

__all__ = ["pixel_size"]

_OME = re.compile(r'PhysicalSizeX="([^"]+)"')
_OME_UNIT = re.compile(r'PhysicalSizeXUnit="([^"]+)"')
_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.]+)")
_MICRONS: Mapping[str, float] = {"nm": 1e-3, "µm": 1, "μm": 1, "um": 1, "mm": 1e3, "cm": 1e4}
# TIFF's units of resolution, in micrometres.
_UNITS = {2: 25_400.0, 3: 10_000.0}
# Larger pixels are those of a print, such as 72 per inch. No microscope writes them.
_LARGEST = 100.0


def pixel_size(slide: Slide) -> str:
    """The side of a pixel in words, such as "0.50 um" or "10 m". Empty if nothing says it."""
    if slide.crs is not None:
        side = math.sqrt(abs(slide.transform.determinant))
        unit = "degrees" if slide.crs.is_geographic else _short(slide.crs.linear_units)
        return f"{side:.3g} {unit}"
    microns = _microns(slide)
    return f"{microns:.3g} um" if microns else ""


def _short(unit: str) -> str:
    return "m" if unit in ("metre", "meter") else unit


def _microns(slide: Slide) -> float | None:
    """What a TIFF says, in micrometres: OME, Aperio, or the resolution of its first page."""
    try:
        with tifffile.TiffFile(slide.paths[0]) as file:
            page = file.pages.first
            text = str(page.description)
            tags = {
                name: page.tags[name].value
                for name in ("XResolution", "ResolutionUnit")
                if name in page.tags
            }
    except Exception:  # it is no TIFF, or one that tifffile does not read
        return None
    if found := _OME.search(text):
        unit = _OME_UNIT.search(text)
        return _number(found[1], _MICRONS.get(unit[1] if unit else "µm", 0))
    if found := _APERIO.search(text):
        return _number(found[1], 1)
    pixels, per = tags.get("XResolution", (0, 1))
    unit_size = _UNITS.get(int(tags.get("ResolutionUnit", 1)), 0)
    microns = unit_size * per / pixels if pixels else 0
    return microns if 0 < microns < _LARGEST else None


def _number(text: str, unit: float) -> float | None:
    try:
        value = float(text) * unit
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
