"""The tags that a result must have as its source has them, and how a source gets them.

Names and groups are exiftool's; values are given as its ``-n`` reads and writes them.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Tag(NamedTuple):
    """A tag by its directory and name, and the value that the made-up sources have.

    ``value`` is None where the source has its own already, from `tests.shoot`.
    """

    group: str
    name: str
    value: str | Sequence[str] | None

    def __str__(self) -> str:
        return f"{self.group}:{self.name}"


def _all(group: str, **values: str | Sequence[str] | None) -> list[Tag]:
    return [Tag(group, name, value) for name, value in values.items()]


SHOT = (
    *_all("IFD0", Make=None, Model=None),
    *_all(
        "IFD0",
        ImageDescription="A pier in the fog",
        ModifyDate="2024:05:06 07:08:11",
        Artist="Ünal Ångström",
        Copyright="(c) 2024 U. Ångström",
    ),
    *_all(
        "ExifIFD",
        ExposureTime="1/59",
        FNumber="2.8",
        ExposureProgram="3",
        ISO="1250",
        SensitivityType="2",
        RecommendedExposureIndex="1250",
        DateTimeOriginal="2024:05:06 07:08:09",
        CreateDate="2024:05:06 07:08:10",
        OffsetTime="+05:45",
        OffsetTimeOriginal="+05:30",
        OffsetTimeDigitized="-03:00",
        SubSecTime="07",
        SubSecTimeOriginal="123",
        SubSecTimeDigitized="45",
        ShutterSpeedValue="0.0169491525423729",
        ApertureValue="2.8",
        BrightnessValue="-1.37",
        ExposureCompensation="-0.666666667",
        MaxApertureValue="1.8",
        SubjectDistance="3.7",
        MeteringMode="5",
        LightSource="10",
        Flash="16",
        FocalLength="51.3",
        FocalLengthIn35mmFormat="77",
        UserComment="tripod, second night",
        SensingMethod="2",
        FileSource="3",
        CustomRendered="0",
        ExposureMode="1",
        WhiteBalance="1",
        DigitalZoomRatio="1",
        SceneCaptureType="3",
        GainControl="2",
        Contrast="1",
        Saturation="2",
        Sharpness="1",
        ImageUniqueID="0123456789abcdef0123456789abcdef",
        OwnerName="U. Ångström",
        SerialNumber="00712345",
        LensInfo="24 105 2.8 4.5",
        LensMake="Led Optics",
        LensModel="LED 24-105mm F2.8-4.5",
        LensSerialNumber="L-000987",
    ),
    *_all(
        "GPS",
        GPSLatitudeRef="S",
        GPSLatitude="41.2924",
        GPSLongitudeRef="W",
        GPSLongitude="174.778767",
        GPSAltitudeRef="1",
        GPSAltitude="37.25",
        GPSTimeStamp="07:08:09.5",
        GPSDateStamp="2024:05:06",
        GPSSatellites="07",
        GPSStatus="A",
        GPSMeasureMode="3",
        GPSDOP="2.5",
        GPSSpeedRef="K",
        GPSSpeed="1.5",
        GPSTrackRef="T",
        GPSTrack="271.25",
        GPSImgDirectionRef="M",
        GPSImgDirection="93.5",
        GPSMapDatum="WGS-84",
        GPSProcessingMethod="GPS",
        GPSDestBearing="12.5",
        GPSDifferential="1",
        GPSHPositioningError="4.75",
    ),
)
"""Of the shot: in every format."""

WORDS = (
    *_all("IPTC", Keywords=["night", "pier"], City="Wellington", Headline="Fog"),
    *_all("IPTC", **{"By-line": "U. Angstrom", "Caption-Abstract": "A pier in the fog"}),
    *_all("XMP-dc", Subject=["night", "Nebel über dem Wasser"], Title="Pier & <fog>"),
    *_all("XMP-xmp", Rating="4", Label="Blue"),
    *_all("XMP-photoshop", City="Wellington"),
)
"""What people and their catalogues wrote."""

_IDENTITY = "1.01 0 0 0 0.99 0 0 0 1.02"

CAMERA = (
    *_all("IFD0", Orientation=None, ColorMatrix1=None, AsShotNeutral=None),
    *_all(
        "IFD0",
        UniqueCameraModel="Led Testcam One (made up)",
        CalibrationIlluminant1="17",
        CalibrationIlluminant2="21",
        ColorMatrix2="0.9 -0.3 -0.1 -0.5 1.3 0.2 -0.1 0.25 0.6",
        CameraCalibration1=_IDENTITY,
        CameraCalibration2=_IDENTITY,
        ForwardMatrix1="0.45 0.36 0.15 0.22 0.71 0.07 0.01 0.08 0.73",
        ForwardMatrix2="0.44 0.35 0.17 0.21 0.72 0.07 0.02 0.09 0.71",
        AnalogBalance="1 1 1",
        BaselineExposure="0.35",
        BaselineSharpness="1.25",
        LinearResponseLimit="0.97",
        CameraSerialNumber="00712345",
        DNGLensInfo="24 105 2.8 4.5",
        CameraCalibrationSig="led.example",
        ProfileCalibrationSig="led.example",
    ),
)
"""What only a DNG says of its camera; all but the orientation are of DNG sources."""

EVERY = (*SHOT, *WORDS, *CAMERA)

NOT_TO_BE_CARRIED = ("-IFD0:Rating=4", "-IFD0:BaselineNoise=1.75")
"""A rating outside XMP is not in the standard, and what the noise was is no longer true."""


def arguments() -> list[str]:
    """Return what makes exiftool put all these into a file."""
    words = ["-n", "-overwrite_original", *NOT_TO_BE_CARRIED]
    for tag in EVERY:
        values = [tag.value] if isinstance(tag.value, str) else tag.value or []
        words += [f"-{tag}={value}" for value in values]
    return words
