"""Which tags go from a source to its result, and what their values may be."""

import math
import re
import struct
from typing import NamedTuple

from ledcli.metadata.tiff import Field, Kind

LONGEST_TEXT = 1 << 12
"""Bytes of a text tag; captions are the longest real ones."""
LONGEST_COMMENT = 1 << 16
"""Bytes of a user comment."""
MOST_MAP_VALUES = 1 << 16
"""Numbers in a camera profile's table; the largest real ones are 90 x 30 x 1 x 3."""
LONGEST_OPCODES = 4 << 20
"""Bytes of a list of lens and sensor corrections."""

_WHOLE = {Kind.BYTE: "B", Kind.SHORT: "H", Kind.LONG: "I"}
_FRACTIONS = {Kind.RATIONAL: "I", Kind.SRATIONAL: "i"}
_TEXT = (Kind.ASCII, Kind.BYTE)
_DATE = re.compile(rb"\d{4}:(0[1-9]|1[0-2]):(0[1-9]|[12]\d|3[01]) ([01]\d|2[0-3]):[0-5]\d:[0-5]\d")
_UNICODE = b"UNICODE\0"


class Spec(NamedTuple):
    """What a tag's value may be.

    Attributes
    ----------
    name : str
    kind : Kind
        That the standard asks for. Whole numbers of another width, and fractions of the other
        signedness, are turned into it where they fit.
    least, most : int
        Number of values.
    unknown : bool
        Whether 0/0, "not known", is an answer.
    date : bool
        Whether the text is a date and time.
    """

    name: str
    kind: Kind
    least: int = 1
    most: int = 1
    unknown: bool = False
    date: bool = False


def _text(name: str, most: int = LONGEST_TEXT) -> Spec:
    return Spec(name, Kind.ASCII, 1, most)


def _date(name: str) -> Spec:
    return Spec(name, Kind.ASCII, 20, 20, date=True)


def _short(name: str, most: int = 1) -> Spec:
    return Spec(name, Kind.SHORT, 1, most)


def _long(name: str) -> Spec:
    return Spec(name, Kind.LONG)


def _fraction(name: str, count: int = 1, unknown: bool = False) -> Spec:
    return Spec(name, Kind.RATIONAL, count, count, unknown)


def _signed(name: str, count: int = 1) -> Spec:
    return Spec(name, Kind.SRATIONAL, count, count)


def _bytes(name: str, least: int = 1, most: int = 1) -> Spec:
    return Spec(name, Kind.UNDEFINED, least, most)


IMAGE = {
    270: _text("ImageDescription"),
    271: _text("Make"),
    272: _text("Model"),
    306: _date("DateTime"),
    315: _text("Artist"),
    33432: _text("Copyright"),
    40091: Spec("XPTitle", Kind.BYTE, 2, LONGEST_TEXT),
    40092: Spec("XPComment", Kind.BYTE, 2, LONGEST_TEXT),
    40093: Spec("XPAuthor", Kind.BYTE, 2, LONGEST_TEXT),
    40094: Spec("XPKeywords", Kind.BYTE, 2, LONGEST_TEXT),
    40095: Spec("XPSubject", Kind.BYTE, 2, LONGEST_TEXT),
}
"""Of the first directory, whatever the file (TIFF 6.0; Microsoft's XP tags)."""

DNG_NAMES = {
    34858: Spec("TimeZoneOffset", Kind.SSHORT, 1, 2),
    37393: _long("ImageNumber"),
    50708: _text("UniqueCameraModel"),
    50709: _text("LocalizedCameraModel"),
    50735: _text("CameraSerialNumber"),
    50736: _fraction("DNGLensInfo", 4, unknown=True),
    51105: _text("CameraLabel"),
}
"""Of the first directory of a DNG (DNG specification 1.7, TIFF/EP): about the camera."""

DNG_COLOUR = {
    50721: _signed("ColorMatrix1", 9),
    50722: _signed("ColorMatrix2", 9),
    50723: _signed("CameraCalibration1", 9),
    50724: _signed("CameraCalibration2", 9),
    50727: _fraction("AnalogBalance", 3),
    50728: _fraction("AsShotNeutral", 3),
    50729: _fraction("AsShotWhiteXY", 2),
    50730: _signed("BaselineExposure"),
    50732: _fraction("BaselineSharpness"),
    50734: _fraction("LinearResponseLimit"),
    50739: _fraction("ShadowScale"),
    50778: _short("CalibrationIlluminant1"),
    50779: _short("CalibrationIlluminant2"),
    50931: _text("CameraCalibrationSignature"),
    50932: _text("ProfileCalibrationSignature"),
    50934: _text("AsShotProfileName"),
    50936: _text("ProfileName"),
    50937: Spec("ProfileHueSatMapDims", Kind.LONG, 3, 3),
    50938: Spec("ProfileHueSatMapData1", Kind.FLOAT, 3, MOST_MAP_VALUES),
    50939: Spec("ProfileHueSatMapData2", Kind.FLOAT, 3, MOST_MAP_VALUES),
    50940: Spec("ProfileToneCurve", Kind.FLOAT, 4, 2 * 8192),
    50941: _long("ProfileEmbedPolicy"),
    50942: _text("ProfileCopyright"),
    50964: _signed("ForwardMatrix1", 9),
    50965: _signed("ForwardMatrix2", 9),
    50981: Spec("ProfileLookTableDims", Kind.LONG, 3, 3),
    50982: Spec("ProfileLookTableData", Kind.FLOAT, 3, MOST_MAP_VALUES),
    51107: _long("ProfileHueSatMapEncoding"),
    51108: _long("ProfileLookTableEncoding"),
    51109: _signed("BaselineExposureOffset"),
    51110: _long("DefaultBlackRender"),
}
"""Of the first directory of a DNG: how its colours are to be shown."""

MAPS = {50938: 50937, 50939: 50937, 50982: 50981}
"""Tables of a profile, and the tag that says how many hues, saturations and values they have."""

DNG_RAW = {
    50733: _long("BayerGreenSplit"),
    51009: _bytes("OpcodeList2", 4, LONGEST_OPCODES),
    51022: _bytes("OpcodeList3", 4, LONGEST_OPCODES),
}
"""Of the directory of a DNG's raw picture: corrections of lens and sensor. These two lists count
pixels from the active area's first, which is the result's first; OpcodeList1 counts otherwise."""

EXIF = {
    33434: _fraction("ExposureTime"),
    33437: _fraction("FNumber"),
    34850: _short("ExposureProgram"),
    34852: _text("SpectralSensitivity"),
    34855: _short("PhotographicSensitivity", 4),
    34864: _short("SensitivityType"),
    34865: _long("StandardOutputSensitivity"),
    34866: _long("RecommendedExposureIndex"),
    34867: _long("ISOSpeed"),
    34868: _long("ISOSpeedLatitudeyyy"),
    34869: _long("ISOSpeedLatitudezzz"),
    36864: _bytes("ExifVersion", 4, 4),
    36867: _date("DateTimeOriginal"),
    36868: _date("DateTimeDigitized"),
    36880: _text("OffsetTime", 16),
    36881: _text("OffsetTimeOriginal", 16),
    36882: _text("OffsetTimeDigitized", 16),
    37377: _signed("ShutterSpeedValue"),
    37378: _fraction("ApertureValue"),
    37379: _signed("BrightnessValue"),
    37380: _signed("ExposureBiasValue"),
    37381: _fraction("MaxApertureValue"),
    37382: _fraction("SubjectDistance"),
    37383: _short("MeteringMode"),
    37384: _short("LightSource"),
    37385: _short("Flash"),
    37386: _fraction("FocalLength"),
    37510: _bytes("UserComment", 8, LONGEST_COMMENT),
    37520: _text("SubSecTime", 32),
    37521: _text("SubSecTimeOriginal", 32),
    37522: _text("SubSecTimeDigitized", 32),
    37888: _signed("Temperature"),
    37889: _fraction("Humidity"),
    37890: _fraction("Pressure"),
    37891: _signed("WaterDepth"),
    37892: _fraction("Acceleration"),
    37893: _signed("CameraElevationAngle"),
    41483: _fraction("FlashEnergy"),
    41486: _fraction("FocalPlaneXResolution"),
    41487: _fraction("FocalPlaneYResolution"),
    41488: _short("FocalPlaneResolutionUnit"),
    41493: _fraction("ExposureIndex"),
    41495: _short("SensingMethod"),
    41728: _bytes("FileSource"),
    41729: _bytes("SceneType"),
    41985: _short("CustomRendered"),
    41986: _short("ExposureMode"),
    41987: _short("WhiteBalance"),
    41988: _fraction("DigitalZoomRatio", unknown=True),
    41989: _short("FocalLengthIn35mmFilm"),
    41990: _short("SceneCaptureType"),
    41991: _short("GainControl"),
    41992: _short("Contrast"),
    41993: _short("Saturation"),
    41994: _short("Sharpness"),
    41996: _short("SubjectDistanceRange"),
    42016: _text("ImageUniqueID", 65),
    42032: _text("CameraOwnerName"),
    42033: _text("BodySerialNumber"),
    42034: _fraction("LensSpecification", 4, unknown=True),
    42035: _text("LensMake"),
    42036: _text("LensModel"),
    42037: _text("LensSerialNumber"),
    42080: _short("CompositeImage"),
}
"""Of the Exif directory (Exif 2.32)."""

GPS = {
    0: Spec("GPSVersionID", Kind.BYTE, 4, 4),
    1: _text("GPSLatitudeRef", 2),
    2: _fraction("GPSLatitude", 3),
    3: _text("GPSLongitudeRef", 2),
    4: _fraction("GPSLongitude", 3),
    5: Spec("GPSAltitudeRef", Kind.BYTE),
    6: _fraction("GPSAltitude"),
    7: _fraction("GPSTimeStamp", 3),
    8: _text("GPSSatellites"),
    9: _text("GPSStatus", 2),
    10: _text("GPSMeasureMode", 2),
    11: _fraction("GPSDOP"),
    12: _text("GPSSpeedRef", 2),
    13: _fraction("GPSSpeed"),
    14: _text("GPSTrackRef", 2),
    15: _fraction("GPSTrack"),
    16: _text("GPSImgDirectionRef", 2),
    17: _fraction("GPSImgDirection"),
    18: _text("GPSMapDatum"),
    19: _text("GPSDestLatitudeRef", 2),
    20: _fraction("GPSDestLatitude", 3),
    21: _text("GPSDestLongitudeRef", 2),
    22: _fraction("GPSDestLongitude", 3),
    23: _text("GPSDestBearingRef", 2),
    24: _fraction("GPSDestBearing"),
    25: _text("GPSDestDistanceRef", 2),
    26: _fraction("GPSDestDistance"),
    27: _bytes("GPSProcessingMethod", 8, LONGEST_TEXT),
    28: _bytes("GPSAreaInformation", 8, LONGEST_TEXT),
    29: _text("GPSDateStamp", 11),
    30: _short("GPSDifferential"),
    31: _fraction("GPSHPositioningError"),
}
"""Of the GPS directory (Exif 2.32)."""

_WITH_CHARSET = {37510, 27, 28}
"""Tags of bytes whose first eight name the character set."""


def fit(spec: Spec, field: Field) -> Field | None:
    """Make a value what the standard asks for.

    Parameters
    ----------
    spec : Spec
    field : Field

    Returns
    -------
    Field or None
        None for the wrong type, the wrong number of values, a fraction over nothing, or a number
        that is none.
    """
    kind, count, data = field
    if spec.kind == Kind.ASCII:
        return _fit_text(spec, kind, data)
    if not spec.least <= count <= spec.most:
        return None
    if spec.kind in _WHOLE and kind in _WHOLE:
        numbers = struct.unpack(f"<{count}{_WHOLE[kind]}", data)
        return _packed(spec.kind, count, _WHOLE[spec.kind], numbers)
    if spec.kind in _FRACTIONS and kind in _FRACTIONS:
        numbers = struct.unpack(f"<{2 * count}{_FRACTIONS[kind]}", data)
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        if not all(low or (spec.unknown and not high) for high, low in pairs):
            return None
        return _packed(spec.kind, count, _FRACTIONS[spec.kind], numbers)
    if spec.kind != kind:
        return None
    if kind == Kind.FLOAT and not all(map(math.isfinite, struct.unpack(f"<{count}f", data))):
        return None
    return field


def turned_charset(tag: int, field: Field, order: str) -> Field:
    """Turn UTF-16 in a comment of a big-endian file round, which no field type says."""
    kind, count, data = field
    if order != ">" or tag not in _WITH_CHARSET or not data.startswith(_UNICODE):
        return field
    text = data[8 : 8 + (count - 8) // 2 * 2]
    return kind, 8 + len(text), data[:8] + text.decode("utf-16-be", "replace").encode("utf-16-le")


def _fit_text(spec: Spec, kind: Kind, data: bytes) -> Field | None:
    if kind not in _TEXT:
        return None
    if spec.date and not _DATE.fullmatch(data.rstrip(b"\0")):
        return None
    ended = data if data.endswith(b"\0") else data + b"\0"
    return (Kind.ASCII, len(ended), ended) if len(ended) <= spec.most + 1 else None


def _packed(kind: Kind, count: int, letter: str, numbers: tuple[int, ...]) -> Field | None:
    try:
        return kind, count, struct.pack(f"<{len(numbers)}{letter}", *numbers)
    except struct.error:
        # A number too large for it.
        return None
