"""An evaluation as CSV: a row for each frame and model."""

import csv
import io
from pathlib import Path

from ledcli.evaluation.results import MEASURES, Evaluation
from ledcli.photo.files import atomic_write

COLUMNS = ("frame", "camera", "iso", "ratio", "model", *MEASURES)


def write_csv(path: Path, evaluation: Evaluation) -> Path:
    """Write the figures, and return the file; an unknown cell is empty. Raises OutputError."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for frame in evaluation.frames:
        about = (frame.frame, frame.camera, frame.iso, frame.ratio, frame.model)
        writer.writerow([*about, *(frame.figures.get(name) for name in MEASURES)])
    # A file name may hold bytes that are no text.
    atomic_write(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path
