"""The tags that go from a source to its result: one row each. Add a row to carry another tag."""

import math
import re
import struct
from dataclasses import dataclass
from enum import Enum
from functools import cache

from ledcli.metadata.tiff import Field, FieldType

MAX_TEXT, MAX_COMMENT, MAX_OPCODES = 1 << 12, 1 << 16, 4 << 20
"""Bytes; captions are the longest real texts, opcodes are lists of lens and sensor corrections."""
MAX_MAP, MAX_CURVE = 1 << 16, 2 * 8192
"""Numbers in a camera profile's tables (the largest real ones are 90 x 30 x 1 x 3) and curve."""


class Place(Enum):
    """Directory that a tag is read from and written to."""

    IMAGE = "first directory of any file"
    CAMERA = "first directory of a DNG: the camera"
    COLOUR = "first directory of a DNG: how to show its colours"
    RAW = "directory of the raw image"
    EXIF = "Exif directory"
    GPS = "GPS directory"


class Rule(Enum):
    """What else is asked of a tag's value."""

    NONE = "any value"
    DATE = "text with date and time"
    MAY_BE_UNKNOWN = 'the fraction 0/0, "unknown", is allowed'
    CHARSET = "the first eight bytes name the character set"
    MOSAIC_ONLY = "not for a demosaiced image"


@dataclass(frozen=True)
class Tag:
    """A tag that is carried over.

    Name and type are the standard's. Whole numbers of another width, and fractions of the other
    signedness, are converted if they fit. `count` is the number of values, or the smallest and
    the largest.
    """

    number: int
    name: str
    place: Place
    type: FieldType
    count: int | tuple[int, int] = 1
    rule: Rule = Rule.NONE


IMAGE, CAMERA, COLOUR, RAW, EXIF, GPS = Place
BYTE, ASCII, SHORT, LONG = FieldType.BYTE, FieldType.ASCII, FieldType.SHORT, FieldType.LONG
RATIONAL, SRATIONAL = FieldType.RATIONAL, FieldType.SRATIONAL
UNDEFINED, SSHORT, FLOAT = FieldType.UNDEFINED, FieldType.SSHORT, FieldType.FLOAT
NONE, DATE, MAY_BE_UNKNOWN, CHARSET, MOSAIC_ONLY = Rule
TEXT = (1, MAX_TEXT)

TAGS = (
    # TIFF 6.0; Microsoft's XP tags
    Tag(270, "ImageDescription", IMAGE, ASCII, TEXT),
    Tag(271, "Make", IMAGE, ASCII, TEXT),
    Tag(272, "Model", IMAGE, ASCII, TEXT),
    Tag(306, "DateTime", IMAGE, ASCII, 20, DATE),
    Tag(315, "Artist", IMAGE, ASCII, TEXT),
    Tag(33432, "Copyright", IMAGE, ASCII, TEXT),
    Tag(40091, "XPTitle", IMAGE, BYTE, (2, MAX_TEXT)),
    Tag(40092, "XPComment", IMAGE, BYTE, (2, MAX_TEXT)),
    Tag(40093, "XPAuthor", IMAGE, BYTE, (2, MAX_TEXT)),
    Tag(40094, "XPKeywords", IMAGE, BYTE, (2, MAX_TEXT)),
    Tag(40095, "XPSubject", IMAGE, BYTE, (2, MAX_TEXT)),
    # DNG 1.7, TIFF/EP
    Tag(34858, "TimeZoneOffset", CAMERA, SSHORT, (1, 2)),
    Tag(37393, "ImageNumber", CAMERA, LONG),
    Tag(50708, "UniqueCameraModel", CAMERA, ASCII, TEXT),
    Tag(50709, "LocalizedCameraModel", CAMERA, ASCII, TEXT),
    Tag(50735, "CameraSerialNumber", CAMERA, ASCII, TEXT),
    Tag(50736, "DNGLensInfo", CAMERA, RATIONAL, 4, MAY_BE_UNKNOWN),
    Tag(51105, "CameraLabel", CAMERA, ASCII, TEXT),
    # DNG 1.7
    Tag(50721, "ColorMatrix1", COLOUR, SRATIONAL, 9),
    Tag(50722, "ColorMatrix2", COLOUR, SRATIONAL, 9),
    Tag(50723, "CameraCalibration1", COLOUR, SRATIONAL, 9),
    Tag(50724, "CameraCalibration2", COLOUR, SRATIONAL, 9),
    Tag(50727, "AnalogBalance", COLOUR, RATIONAL, 3),
    Tag(50728, "AsShotNeutral", COLOUR, RATIONAL, 3),
    Tag(50729, "AsShotWhiteXY", COLOUR, RATIONAL, 2),
    Tag(50730, "BaselineExposure", COLOUR, SRATIONAL),
    Tag(50732, "BaselineSharpness", COLOUR, RATIONAL),
    Tag(50734, "LinearResponseLimit", COLOUR, RATIONAL),
    Tag(50739, "ShadowScale", COLOUR, RATIONAL),
    Tag(50778, "CalibrationIlluminant1", COLOUR, SHORT),
    Tag(50779, "CalibrationIlluminant2", COLOUR, SHORT),
    Tag(50931, "CameraCalibrationSignature", COLOUR, ASCII, TEXT),
    Tag(50932, "ProfileCalibrationSignature", COLOUR, ASCII, TEXT),
    Tag(50934, "AsShotProfileName", COLOUR, ASCII, TEXT),
    Tag(50936, "ProfileName", COLOUR, ASCII, TEXT),
    Tag(50937, "ProfileHueSatMapDims", COLOUR, LONG, 3),
    Tag(50938, "ProfileHueSatMapData1", COLOUR, FLOAT, (3, MAX_MAP)),
    Tag(50939, "ProfileHueSatMapData2", COLOUR, FLOAT, (3, MAX_MAP)),
    Tag(50940, "ProfileToneCurve", COLOUR, FLOAT, (4, MAX_CURVE)),
    Tag(50941, "ProfileEmbedPolicy", COLOUR, LONG),
    Tag(50942, "ProfileCopyright", COLOUR, ASCII, TEXT),
    Tag(50964, "ForwardMatrix1", COLOUR, SRATIONAL, 9),
    Tag(50965, "ForwardMatrix2", COLOUR, SRATIONAL, 9),
    Tag(50981, "ProfileLookTableDims", COLOUR, LONG, 3),
    Tag(50982, "ProfileLookTableData", COLOUR, FLOAT, (3, MAX_MAP)),
    Tag(51107, "ProfileHueSatMapEncoding", COLOUR, LONG),
    Tag(51108, "ProfileLookTableEncoding", COLOUR, LONG),
    Tag(51109, "BaselineExposureOffset", COLOUR, SRATIONAL),
    Tag(51110, "DefaultBlackRender", COLOUR, LONG),
    # DNG 1.7: lens and sensor corrections. Opcode lists 2 and 3 count pixels from the active
    # area's first, which is the result's first; list 1 counts from the sensor's first
    Tag(50733, "BayerGreenSplit", RAW, LONG, 1, MOSAIC_ONLY),
    Tag(51009, "OpcodeList2", RAW, UNDEFINED, (4, MAX_OPCODES), MOSAIC_ONLY),
    Tag(51022, "OpcodeList3", RAW, UNDEFINED, (4, MAX_OPCODES)),
    # Lens corrections in the raw image's directory of Sony and Nikon, as exiftool names them
    Tag(28721, "VignettingCorrection", RAW, SSHORT),
    Tag(28722, "VignettingCorrParams", RAW, SSHORT, (1, 256)),
    Tag(28724, "ChromaticAberrationCorrection", RAW, SSHORT),
    Tag(28725, "ChromaticAberrationCorrParams", RAW, SSHORT, (1, 256)),
    Tag(28726, "DistortionCorrection", RAW, SSHORT),
    Tag(28727, "DistortionCorrParams", RAW, SSHORT, (1, 256)),
    Tag(51157, "NEFInfo", RAW, UNDEFINED, (1, MAX_COMMENT)),
    # Exif 2.32
    Tag(33434, "ExposureTime", EXIF, RATIONAL),
    Tag(33437, "FNumber", EXIF, RATIONAL),
    Tag(34850, "ExposureProgram", EXIF, SHORT),
    Tag(34852, "SpectralSensitivity", EXIF, ASCII, TEXT),
    Tag(34855, "PhotographicSensitivity", EXIF, SHORT, (1, 4)),
    Tag(34864, "SensitivityType", EXIF, SHORT),
    Tag(34865, "StandardOutputSensitivity", EXIF, LONG),
    Tag(34866, "RecommendedExposureIndex", EXIF, LONG),
    Tag(34867, "ISOSpeed", EXIF, LONG),
    Tag(34868, "ISOSpeedLatitudeyyy", EXIF, LONG),
    Tag(34869, "ISOSpeedLatitudezzz", EXIF, LONG),
    Tag(36864, "ExifVersion", EXIF, UNDEFINED, 4),
    Tag(36867, "DateTimeOriginal", EXIF, ASCII, 20, DATE),
    Tag(36868, "DateTimeDigitized", EXIF, ASCII, 20, DATE),
    Tag(36880, "OffsetTime", EXIF, ASCII, (1, 16)),
    Tag(36881, "OffsetTimeOriginal", EXIF, ASCII, (1, 16)),
    Tag(36882, "OffsetTimeDigitized", EXIF, ASCII, (1, 16)),
    Tag(37377, "ShutterSpeedValue", EXIF, SRATIONAL),
    Tag(37378, "ApertureValue", EXIF, RATIONAL),
    Tag(37379, "BrightnessValue", EXIF, SRATIONAL),
    Tag(37380, "ExposureBiasValue", EXIF, SRATIONAL),
    Tag(37381, "MaxApertureValue", EXIF, RATIONAL),
    Tag(37382, "SubjectDistance", EXIF, RATIONAL),
    Tag(37383, "MeteringMode", EXIF, SHORT),
    Tag(37384, "LightSource", EXIF, SHORT),
    Tag(37385, "Flash", EXIF, SHORT),
    Tag(37386, "FocalLength", EXIF, RATIONAL),
    Tag(37510, "UserComment", EXIF, UNDEFINED, (8, MAX_COMMENT), CHARSET),
    Tag(37520, "SubSecTime", EXIF, ASCII, (1, 32)),
    Tag(37521, "SubSecTimeOriginal", EXIF, ASCII, (1, 32)),
    Tag(37522, "SubSecTimeDigitized", EXIF, ASCII, (1, 32)),
    Tag(37888, "Temperature", EXIF, SRATIONAL),
    Tag(37889, "Humidity", EXIF, RATIONAL),
    Tag(37890, "Pressure", EXIF, RATIONAL),
    Tag(37891, "WaterDepth", EXIF, SRATIONAL),
    Tag(37892, "Acceleration", EXIF, RATIONAL),
    Tag(37893, "CameraElevationAngle", EXIF, SRATIONAL),
    Tag(41483, "FlashEnergy", EXIF, RATIONAL),
    Tag(41486, "FocalPlaneXResolution", EXIF, RATIONAL),
    Tag(41487, "FocalPlaneYResolution", EXIF, RATIONAL),
    Tag(41488, "FocalPlaneResolutionUnit", EXIF, SHORT),
    Tag(41493, "ExposureIndex", EXIF, RATIONAL),
    Tag(41495, "SensingMethod", EXIF, SHORT),
    Tag(41728, "FileSource", EXIF, UNDEFINED),
    Tag(41729, "SceneType", EXIF, UNDEFINED),
    Tag(41985, "CustomRendered", EXIF, SHORT),
    Tag(41986, "ExposureMode", EXIF, SHORT),
    Tag(41987, "WhiteBalance", EXIF, SHORT),
    Tag(41988, "DigitalZoomRatio", EXIF, RATIONAL, 1, MAY_BE_UNKNOWN),
    Tag(41989, "FocalLengthIn35mmFilm", EXIF, SHORT),
    Tag(41990, "SceneCaptureType", EXIF, SHORT),
    Tag(41991, "GainControl", EXIF, SHORT),
    Tag(41992, "Contrast", EXIF, SHORT),
    Tag(41993, "Saturation", EXIF, SHORT),
    Tag(41994, "Sharpness", EXIF, SHORT),
    Tag(41996, "SubjectDistanceRange", EXIF, SHORT),
    Tag(42016, "ImageUniqueID", EXIF, ASCII, (1, 65)),
    Tag(42032, "CameraOwnerName", EXIF, ASCII, TEXT),
    Tag(42033, "BodySerialNumber", EXIF, ASCII, TEXT),
    Tag(42034, "LensSpecification", EXIF, RATIONAL, 4, MAY_BE_UNKNOWN),
    Tag(42035, "LensMake", EXIF, ASCII, TEXT),
    Tag(42036, "LensModel", EXIF, ASCII, TEXT),
    Tag(42037, "LensSerialNumber", EXIF, ASCII, TEXT),
    Tag(42080, "CompositeImage", EXIF, SHORT),
    # Exif 2.32
    Tag(0, "GPSVersionID", GPS, BYTE, 4),
    Tag(1, "GPSLatitudeRef", GPS, ASCII, (1, 2)),
    Tag(2, "GPSLatitude", GPS, RATIONAL, 3),
    Tag(3, "GPSLongitudeRef", GPS, ASCII, (1, 2)),
    Tag(4, "GPSLongitude", GPS, RATIONAL, 3),
    Tag(5, "GPSAltitudeRef", GPS, BYTE),
    Tag(6, "GPSAltitude", GPS, RATIONAL),
    Tag(7, "GPSTimeStamp", GPS, RATIONAL, 3),
    Tag(8, "GPSSatellites", GPS, ASCII, TEXT),
    Tag(9, "GPSStatus", GPS, ASCII, (1, 2)),
    Tag(10, "GPSMeasureMode", GPS, ASCII, (1, 2)),
    Tag(11, "GPSDOP", GPS, RATIONAL),
    Tag(12, "GPSSpeedRef", GPS, ASCII, (1, 2)),
    Tag(13, "GPSSpeed", GPS, RATIONAL),
    Tag(14, "GPSTrackRef", GPS, ASCII, (1, 2)),
    Tag(15, "GPSTrack", GPS, RATIONAL),
    Tag(16, "GPSImgDirectionRef", GPS, ASCII, (1, 2)),
    Tag(17, "GPSImgDirection", GPS, RATIONAL),
    Tag(18, "GPSMapDatum", GPS, ASCII, TEXT),
    Tag(19, "GPSDestLatitudeRef", GPS, ASCII, (1, 2)),
    Tag(20, "GPSDestLatitude", GPS, RATIONAL, 3),
    Tag(21, "GPSDestLongitudeRef", GPS, ASCII, (1, 2)),
    Tag(22, "GPSDestLongitude", GPS, RATIONAL, 3),
    Tag(23, "GPSDestBearingRef", GPS, ASCII, (1, 2)),
    Tag(24, "GPSDestBearing", GPS, RATIONAL),
    Tag(25, "GPSDestDistanceRef", GPS, ASCII, (1, 2)),
    Tag(26, "GPSDestDistance", GPS, RATIONAL),
    Tag(27, "GPSProcessingMethod", GPS, UNDEFINED, (8, MAX_TEXT), CHARSET),
    Tag(28, "GPSAreaInformation", GPS, UNDEFINED, (8, MAX_TEXT), CHARSET),
    Tag(29, "GPSDateStamp", GPS, ASCII, (1, 11)),
    Tag(30, "GPSDifferential", GPS, SHORT),
    Tag(31, "GPSHPositioningError", GPS, RATIONAL),
)

MAP_DIMENSIONS = {50938: 50937, 50939: 50937, 50982: 50981}
"""Tables of a camera profile, and the tag with their number of hues, saturations and values."""

_WHOLE, _FRACTIONS = {BYTE, SHORT, LONG}, {RATIONAL, SRATIONAL}
_DATE = re.compile(rb"\d{4}:(0[1-9]|1[0-2]):(0[1-9]|[12]\d|3[01]) ([01]\d|2[0-3]):[0-5]\d:[0-5]\d")
_UNICODE = b"UNICODE\0"


@cache
def tags_in(*wanted: Place) -> dict[int, Tag]:
    """Return the rows of some directories by tag number."""
    return {tag.number: tag for tag in TAGS if tag.place in wanted}


def fit(tag: Tag, field: Field, order: str = "<") -> Field | None:
    """Convert a value to what the standard asks for.

    None for a wrong type or number of values, a number out of range, a zero denominator, and a
    float that is not finite. `order` is the source's byte order, for UTF-16 in comments.
    """
    if tag.type == ASCII:
        return _fit_text(tag, field)
    low, high = (tag.count, tag.count) if isinstance(tag.count, int) else tag.count
    if not low <= field.count <= high:
        return None
    types = {tag.type, field.type}
    if types <= _WHOLE or types <= _FRACTIONS:
        words = field.words()
        if types <= _FRACTIONS and not all(
            below or (tag.rule is MAY_BE_UNKNOWN and not above)
            for above, below in zip(words[::2], words[1::2], strict=True)
        ):
            return None
        try:
            return Field.of_words(tag.type, words)
        except struct.error:
            return None
    if tag.type != field.type:
        return None
    if tag.type == FLOAT and not all(map(math.isfinite, field.words())):
        return None
    if tag.rule is CHARSET and order == ">" and field.data.startswith(_UNICODE):
        text = field.data[8 : field.count // 2 * 2].decode("utf-16-be", "replace")
        return Field(field.type, _UNICODE + text.encode("utf-16-le"))
    return field


def _fit_text(tag: Tag, field: Field) -> Field | None:
    if field.type not in (ASCII, BYTE):
        return None
    if tag.rule is DATE and not _DATE.fullmatch(field.data.rstrip(b"\0")):
        return None
    data = field.data if field.data.endswith(b"\0") else field.data + b"\0"
    most = tag.count if isinstance(tag.count, int) else tag.count[1]
    return Field(ASCII, data) if len(data) <= most + 1 else None
