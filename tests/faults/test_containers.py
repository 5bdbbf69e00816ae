"""Files that name other files, archives or addresses: none is followed, and no server is asked."""

import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio

from kernelkit.errors import SlideError
from kernelkit.slide import Slide

SIZE = 64


class Place(NamedTuple):
    """What a row may name: a folder of its own, a file that it must not read, and a server."""

    folder: Path
    secret: Path
    url: str


class Row(NamedTuple):
    """A container: how it is made, and the right answer.

    Attributes
    ----------
    name
        What it tries.
    make
        Writes it and returns what a slide is to open.
    error
        A pattern of the error's sentence. If it is empty, the image's own pixels are read, all 0.
    """

    name: str
    make: Callable[[Place], Path | str]
    error: str = ""


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine, and what it was asked for."""
    requests: list[str] = []

    class Count(BaseHTTPRequestHandler):
        def answer(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    Count.do_GET = Count.do_HEAD = Count.answer  # type: ignore[attr-defined]
    server = HTTPServer(("127.0.0.1", 0), Count)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()


def vrt(source: object, driver: str = "") -> str:
    """A VRT of one band that reads it from elsewhere."""
    kind = f"<{driver}/>" if driver else ""
    return (
        f'<VRTDataset rasterXSize="{SIZE}" rasterYSize="{SIZE}"><VRTRasterBand dataType="Byte" '
        f'band="1">{kind}<SimpleSource><SourceFilename relativeToVRT="0">{source}'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def tms(url: str) -> str:
    """The description of a tile service."""
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl>'
        "</Service><DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>0</UpperLeftY><LowerRightX>"
        "512</LowerRightX><LowerRightY>512</LowerRightY><TileLevel>1</TileLevel><TileCountX>1"
        "</TileCountX><TileCountY>1</TileCountY></DataWindow><Projection>EPSG:3857</Projection>"
        "<BandsCount>3</BandsCount></GDAL_WMS>"
    )


def text(name: str, content: Callable[[Place], str]) -> Callable[[Place], Path]:
    """A file of this text."""

    def make(place: Place) -> Path:
        path = place.folder / name
        path.write_text(content(place))
        return path

    return make


def image(path: Path, value: int = 0, driver: str = "GTiff", bands: int = 1) -> Path:
    """An image of one value."""
    with rasterio.open(
        path, "w", driver=driver, count=bands, height=SIZE, width=SIZE, dtype="uint8"
    ) as file:
        file.write(np.full((bands, SIZE, SIZE), value, "u1"))
    return path


def beside(
    name: str, suffix: str, content: Callable[[Place], str | bytes], driver: str = "GTiff"
) -> Callable[[Place], Path]:
    """A good file, and another beside it."""

    def make(place: Place) -> Path:
        path = image(place.folder / name, driver=driver)
        other = path.with_name(path.name + suffix if suffix.startswith(".") else suffix)
        found = content(place)
        other.write_bytes(found.encode() if isinstance(found, str) else found)
        return path

    return make


def zipped(place: Place) -> Path:
    """An archive that holds an image."""
    path = place.folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(place.secret, "a.tif")
    return path


def named(form: str) -> Callable[[Place], str]:
    """A name that GDAL or rasterio would follow."""
    return lambda place: form.format(
        url=place.url, secret=place.secret, zip=zipped(place), folder=place.folder
    )


def folder_named(name: str) -> Callable[[Place], str]:
    """A real file in a folder whose name looks like an address, as a relative path."""

    def make(place: Place) -> str:
        (place.folder / name).mkdir(parents=True)
        image(place.folder / name / "a.tif")
        os.chdir(place.folder)
        return f"{name}/a.tif"

    return make


# A world file, and GDAL's notes beside a file: a nodata value and a place on earth.
WORLD = b"2\n0\n0\n-2\n500\n500\n"
NOTES = (
    b"<PAMDataset><SRS>EPSG:3857</SRS><PAMRasterBand band='1'><NoDataValue>0</NoDataValue>"
    b"</PAMRasterBand></PAMDataset>"
)


def picture_of_secret(place: Place) -> bytes:
    """Another image's bytes."""
    return place.secret.read_bytes()


def pipe(place: Place) -> Path:
    """A named pipe, which nobody writes."""
    os.mkfifo(place.folder / "m.tif")
    return place.folder / "m.tif"


def link(place: Place, target: Path) -> Path:
    """A link, as Kaggle mounts files."""
    (place.folder / "m.tif").symlink_to(target)
    return place.folder / "m.tif"


TEXT = "a text that describes one"
ROWS = [
    Row("VRT of another file", text("m.tiff", lambda p: vrt(p.secret)), TEXT),
    Row("VRT under its own name", text("m.vrt", lambda p: vrt(p.secret)), TEXT),
    Row("VRT of a URL", text("m.tiff", lambda p: vrt(f"/vsicurl/{p.url}/x.tif")), TEXT),
    Row("VRT of a stream", text("m.tif", lambda p: vrt(f"/vsicurl_streaming/{p.url}/x")), TEXT),
    Row("VRT named .png", text("m.png", lambda p: vrt(p.secret)), TEXT),
    Row("VRT behind a BOM", text("m.tif", lambda p: "\ufeff" + vrt(p.secret)), TEXT),
    Row("VRT behind blanks", text("m.tif", lambda p: " \n" + vrt(p.secret)), TEXT),
    Row("VRT with a declaration", text("m.tif", lambda _: "<?xml version='1.0'?>" + vrt(1)), TEXT),
    Row("VRT with an entity", text("m.tif", lambda p: f"<!DOCTYPE a SYSTEM '{p.url}'>"), TEXT),
    Row("tile service", text("m.tiff", lambda p: tms(p.url)), TEXT),
    Row("tile service of few words", text("m.tif", lambda p: f"<GDAL_WMS>{p.url}"), TEXT),
    Row("WCS", text("m.tif", lambda p: f"<WCS_GDAL><ServiceURL>{p.url}</ServiceURL>"), TEXT),
    Row("WMTS", text("m.tif", lambda p: f"<GDAL_WMTS><GetCapabilitiesUrl>{p.url}"), TEXT),
    Row("STAC", text("m.tif", lambda p: f'{{"type": "Feature", "href": "{p.url}"}}'), "no image"),
    Row("MRF", text("m.mrf", lambda p: f"<MRF_META><CachedSource><Source>{p.url}"), TEXT),
    Row("DERIVED", text("m.tif", lambda p: f"DERIVED_SUBDATASET:AMPLITUDE:{p.secret}"), "no image"),
    Row("an ENVI header", text("m.hdr", lambda _: "ENVI\nsamples = 64\n"), "no image"),
    Row("a GeoPackage", text("m.gpkg", lambda _: "SQLite format 3\0"), "no image"),
    Row("a PDF", text("m.pdf", lambda _: "%PDF-1.7"), "no image"),
    Row("a Zarr", text("m.tif", lambda _: '{"zarr_format": 2}'), "no image"),
    Row("an archive", zipped, "no image"),
    Row("/vsizip", named("/vsizip/{zip}/a.tif"), "no such file"),
    Row("zip://", named("zip://{zip}!a.tif"), "no such file"),
    Row("/vsicurl", named("/vsicurl/{url}/a.tif"), "no such file"),
    Row("http://", named("{url}/a.tif"), "no such file"),
    Row("s3://", named("s3://bucket/a.tif"), "no such file"),
    Row("/vsisubfile", named("/vsisubfile/0,{secret}"), "no such file"),
    Row("/vsimem", named("/vsimem/a.tif"), "no such file"),
    Row("/vsistdin", named("/vsistdin/"), "no such file"),
    Row("GTIFF_DIR", named("GTIFF_DIR:1:{secret}"), "no such file"),
    Row("NETCDF", named("NETCDF:{secret}:a"), "no such file"),
    Row("a text as a name", named("<VRTDataset rasterXSize='1'/>"), "no such file"),
    Row("a long text as a name", named("<VRTDataset>" + "x" * 5000), "Check its name"),
    Row("a zero in a name", named("a\0.tif"), "no file can have"),
    Row("a folder named zip:", folder_named("zip:")),
    Row("a folder named http:", folder_named("http:/x")),
    Row("a folder named GTIFF_DIR:1:", folder_named("GTIFF_DIR:1:x")),
    Row("a folder named vsicurl", folder_named("vsicurl")),
    Row("overviews beside", beside("m.tif", ".ovr", picture_of_secret)),
    Row("VRT as overviews", beside("m.tif", ".ovr", lambda p: vrt(f"/vsicurl/{p.url}/o.tif"))),
    Row("a mask beside", beside("m.tif", ".msk", picture_of_secret)),
    Row("VRT as mask", beside("m.tif", ".msk", lambda p: vrt(f"/vsicurl/{p.url}/o.tif"))),
    Row("notes of GDAL", beside("m.tif", ".aux.xml", lambda _: NOTES)),
    Row("notes of GDAL, PNG", beside("m.png", ".aux.xml", lambda _: NOTES, "PNG")),
    Row("notes of GDAL, JPEG", beside("m.jpg", ".aux.xml", lambda _: NOTES, "JPEG")),
    Row("overviews of PNG", beside("m.png", ".ovr", picture_of_secret, "PNG")),
    Row("world file", beside("m.tif", "m.tfw", lambda _: WORLD)),
    Row("world file of any", beside("m.tif", "m.wld", lambda _: WORLD)),
    Row("world file of PNG", beside("m.png", "m.pgw", lambda _: WORLD, "PNG")),
    Row("world file of JPEG", beside("m.jpg", "m.jgw", lambda _: WORLD, "JPEG")),
    Row("a PNG named .tif", lambda p: image(p.folder / "m.tif", driver="PNG")),
    Row("a TIFF named .jpg", lambda p: image(p.folder / "m.jpg")),
    Row("a GIF named .tif", lambda p: image(p.folder / "m.tif", driver="GIF"), "no image"),
    Row("a BMP", lambda p: image(p.folder / "m.bmp", driver="BMP")),
    Row("a GIF", lambda p: image(p.folder / "m.gif", driver="GIF")),
    Row("a pipe", lambda p: pipe(p), "a pipe or a device"),
    Row("a device", lambda _: "/dev/zero", "a pipe or a device"),
    Row("a folder", lambda p: p.folder, "found a folder"),
    Row("a link to an image", lambda p: link(p, image(p.folder / "real.tif"))),
    Row("a link to nothing", lambda p: link(p, p.folder / "gone.tif"), "no such file"),
    Row("a WAV", lambda p: text("m.tif", lambda _: "RIFFxxxxWAVEfmt ")(p), "no image"),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_container(
    row: Row, tmp_path: Path, asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused in a sentence, or it is the image that lies in this very file."""
    monkeypatch.chdir(tmp_path)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    url, requests = asked
    requests.clear()
    (tmp_path / "here").mkdir()
    place = Place(tmp_path / "here", image(tmp_path / "secret.tif", 77), url)
    path = row.make(place)
    if row.error:
        with pytest.raises(SlideError, match=row.error) as caught:
            Slide(path)
        assert not str(caught.value).endswith(".")
    else:
        with Slide(path) as slide:
            assert not slide.read(slide.bounds)[0].any()
            assert slide.read_valid(slide.bounds).all()
            assert not slide.thumbnail(16).any()
            assert slide.thumbnail(16).shape[1:] == (16, 16)
            assert slide.transform.is_identity
            assert slide.crs is None
    assert not requests
