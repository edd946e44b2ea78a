import io
import shutil
import struct
import subprocess
import zlib
from dataclasses import replace

import exifread
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from ledcli.errors import OutputError
from ledcli.metadata.carried import Carried
from ledcli.metadata.tiff import Directory, Field, FieldType, serialise
from ledcli.metadata.xmp import XMP_TAG, note_in, xmp_packet
from ledcli.output.dng import dng_bytes
from ledcli.output.render import develop_dng, png_bytes, srgb_profile, tiff_bytes
from ledcli.raw.reader import read_raw
from tests.shoot import make_raw


@pytest.fixture
def photo(tmp_path):
    make_raw(tmp_path / "a.dng", light=np.full((96, 128), 0.18))
    return read_raw(tmp_path / "a.dng")


def png_note(png):
    """The note in a PNG, read as from the tag of a TIFF."""
    with Image.open(io.BytesIO(png)) as picture:
        root = Directory()
        root.set(XMP_TAG, FieldType.BYTE, picture.text["XML:com.adobe.xmp"].encode())
    return note_in(serialise(root))


def _gradient():
    rows, cols = np.mgrid[:37, :301]
    return np.stack([rows * 1000 + cols, cols * 200, 65535 - cols], axis=-1).astype(np.uint16)


def test_grey_of_the_shots_balance_is_grey_at_its_brightness(tmp_path):
    light = np.full((96, 128), 0.36)
    light[0::2, 0::2] = 0.36 * 0.5
    light[1::2, 1::2] = 0.36 * 0.625
    make_raw(tmp_path / "a.dng", light=light, gain=0, read_noise=0)
    photo = read_raw(tmp_path / "a.dng")
    rgb = develop_dng(dng_bytes(photo, photo.normalised(), software="led"))
    assert rgb.dtype == np.uint16 and rgb.shape == (96, 128, 3)
    wanted = 65535 * (1.055 * 0.36 ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(rgb[20:-20, 20:-20].mean((0, 1)), wanted, rtol=0.01)


def test_brightness_follows_the_data_and_is_not_stretched(photo):
    x = photo.normalised()
    means = [develop_dng(dng_bytes(photo, x * k, software="led")).mean() for k in (0.25, 0.5, 1)]
    assert means[0] < 0.75 * means[1] < 0.75**2 * means[2]


def test_it_is_turned_upright(photo, tmp_path):
    light = np.full((96, 128), 0.05)
    light[:48, :64] = 0.6
    make_raw(tmp_path / "b.dng", light=light, orientation=6)
    turned = read_raw(tmp_path / "b.dng")
    rgb = develop_dng(dng_bytes(turned, turned.normalised(), software="led"))
    assert rgb.shape == (128, 96, 3)
    # Orientation 6: the stored top left is shown at the top right.
    assert rgb[:50, 60:].mean() > 2 * rgb[80:, :40].mean()


def test_what_libraw_cannot_open_is_an_output_error():
    with pytest.raises(OutputError, match="cannot develop"):
        develop_dng(b"II*\0" + bytes(100))


def test_a_png_has_16_bits_the_profile_and_the_tags(photo):
    rgb = _gradient()
    png = png_bytes(rgb, photo=photo)
    np.testing.assert_array_equal(imagecodecs.png_decode(png), rgb)
    assert png[24] == 16 and png[25] == 2
    chunks, at = {}, 8
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        chunks.setdefault(kind, png[at + 8 : at + 8 + size])
        at += 12 + size
    assert at == len(png)
    assert zlib.decompress(chunks[b"iCCP"][6:]) == srgb_profile()
    assert list(chunks).index(b"iCCP") < list(chunks).index(b"IDAT")
    tags = exifread.process_file(io.BytesIO(chunks[b"eXIf"]))
    assert str(tags["EXIF ExposureTime"]) == "1/60"


def test_a_tiff_has_16_bits_the_profile_and_the_tags(photo):
    rgb = _gradient()
    data = tiff_bytes(rgb, photo=photo)
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        page = tif.pages[0]
        np.testing.assert_array_equal(page.asarray(), rgb)
        assert page.dtype == np.uint16
        assert page.tags[34675].value == srgb_profile()
        assert page.tags[274].value == 1
    assert len(data) < rgb.nbytes
    tags = exifread.process_file(io.BytesIO(data))
    assert str(tags["EXIF ISOSpeedRatings"]) == "800"
    assert str(tags["Image Model"]) == "Testcam One"


def test_both_carry_the_note_and_the_picture_is_the_same():
    note = {"model": 'a "b" <c> & \u00e9', "ratio": 2.5}
    said = {"model": note["model"], "ratio": "2.5"}
    png, tiff = png_bytes(_gradient(), note=note), tiff_bytes(_gradient(), note=note)
    assert png_note(png) == said
    assert note_in(tiff) == said
    with Image.open(io.BytesIO(png)) as picture:
        (packet,) = picture.text.values()
        assert (picture.text.keys(), packet.lang, packet.tkey) == ({"XML:com.adobe.xmp"}, "", "")
        assert b"urn:ledcli" in picture.info["xmp"]
    with tifffile.TiffFile(io.BytesIO(tiff)) as tif:
        assert b"urn:ledcli" in tif.pages[0].tags[XMP_TAG].value
        np.testing.assert_array_equal(tif.pages[0].asarray(), _gradient())
    np.testing.assert_array_equal(imagecodecs.png_decode(png), _gradient())
    assert note_in(tiff_bytes(_gradient())) is None
    assert b"iTXt" not in png_bytes(_gradient())


def test_other_programs_open_both():
    for data in (png_bytes(_gradient()), tiff_bytes(np.zeros((400, 500, 3), np.uint16))):
        Image.open(io.BytesIO(data)).load()


def test_the_profile_is_srgb_and_the_same_every_time():
    profile = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert srgb_profile()[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)


@pytest.fixture
def rich(photo):
    """A portrait-format photo whose source says more than its camera and exposure."""
    place = Field(FieldType.RATIONAL, struct.pack("<6I", 47, 1, 30, 1, 0, 1))
    carried = Carried(
        image={270: Field(FieldType.ASCII, b"Night\0")},
        exif={42036: Field(FieldType.ASCII, b"Lens\0"), 37521: Field(FieldType.ASCII, b"42\0")},
        gps={
            0: Field(FieldType.BYTE, bytes((2, 3, 0, 0))),
            1: Field(FieldType.ASCII, b"N\0"),
            2: place,
            27: Field(FieldType.UNDEFINED, b"ASCII\0\0\0GPS"),
        },
        xmp=xmp_packet({}).replace(
            b"<rdf:Description",
            b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" '
            b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"',
        ),
        iptc=b"\x1c\x02\x05\0\x05night",
    )
    return replace(photo, orientation=6, carried=carried)


def test_both_carry_what_the_source_says(rich):
    """Position, lens, caption, rating; but not its orientation, for the pixels are upright."""
    png, tiff = (make(_gradient(), photo=rich) for make in (png_bytes, tiff_bytes))
    with Image.open(io.BytesIO(png)) as picture:
        packet, exif = (
            picture.text["XML:com.adobe.xmp"].encode(),
            picture.info["exif"].removeprefix(b"Exif\0\0"),
        )
    with tifffile.TiffFile(io.BytesIO(tiff)) as tif:
        tags = tif.pages[0].tags
        assert tags[700].value == packet and tags[274].value == 1
        assert tags[33723].count == 3
    assert b'Rating="4"' in packet and b"Orientation" not in packet
    for data in (exif, tiff):
        found = exifread.process_file(io.BytesIO(data))
        assert str(found["EXIF LensModel"]) == "Lens"
        assert str(found["EXIF SubSecTimeOriginal"]) == "42"
        assert str(found["GPS GPSLatitude"]) == "[47, 30, 0]"
        assert str(found["Image ImageDescription"]) == "Night"
        assert str(found["Image Orientation"]) == "Horizontal (normal)"


@pytest.mark.skipif(not shutil.which("exiftool"), reason="no exiftool on the PATH")
def test_exiftool_finds_nothing_wrong_and_the_caption(rich, tmp_path):
    for name, make in (("a.png", png_bytes), ("a.tif", tiff_bytes)):
        note = {"model": "m"}
        (tmp_path / name).write_bytes(make(_gradient(), photo=rich, note=note))
        words = ["exiftool", "-validate", "-warning", "-error", "-a", "-s3", "-IPTC:ObjectName"]
        done = subprocess.run(
            [*words, tmp_path / name], capture_output=True, text=True, check=False
        )
        assert done.stdout.split() == ["OK"] + ["night"] * (name == "a.tif")
