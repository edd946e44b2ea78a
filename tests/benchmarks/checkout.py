"""Where the checkout is; importing this makes its packages importable, installed or not."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results"
SHARED = ROOT.parent / "shared" / "data"
"""Photographs and calibrations that do not belong to the checkout."""

sys.path.insert(0, str(ROOT))
