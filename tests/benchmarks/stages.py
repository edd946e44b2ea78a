"""User time of each stage around the network, on a generated 24-MP raw, in one thread.

    python tests/benchmarks/stages.py
    python tests/benchmarks/stages.py --against ../other-checkout

The system's time is left out: it is what memory costs that is touched first, which depends on what
ran before. With --against, the stages of another checkout alternate with these in one process. A
whole run writes results/stages.json and stages.md; --quick is 1 MP, to try it.
"""

import importlib
import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from report import RESULTS, context, head, keep, parser_of, table

from tests.shoot import make_raw

RATIO = 100.0
BLUR = 9
"""Side of the mean that stands for the network: what follows takes as long on any smooth frame."""


def main() -> None:
    """Measure, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument("--rounds", type=int, default=4, help="the first warms up")
    parser.add_argument("--quick", action="store_true", help="one round of 1 MP")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packages = ["ledcli"]
        if options.against:
            packages.insert(0, _renamed(options.against / "ledcli", folder))
        raw = folder / "raw.ARW"
        shape = (800, 1200) if options.quick else (4000, 6000)
        make_raw(raw, shape=shape, gain=4.0, read_noise=5.0, iso=12800)
        seconds: dict[str, dict[str, list[float]]] = {package: {} for package in packages}
        for _ in range(1 if options.quick else options.rounds):
            for package in packages:
                _measure(package, raw, seconds[package])
    medians = {
        package: {stage: statistics.median(each[1:] or each) for stage, each in stages.items()}
        for package, stages in seconds.items()
    }
    columns = [medians[package] for package in packages]
    rows = [[stage, *(f"{each[stage]:.3f}" for each in columns)] for stage in columns[-1]]
    rows.append(["all", *(f"{sum(each.values()):.2f}" for each in columns)])
    about = context() | {"rounds": options.rounds}
    markdown = head("Stages around the network", about)
    markdown += "A made-up raw of 24 MP to DNG at ratio 100: seconds of user time in one thread, "
    markdown += "medians.\n\n"
    markdown += table(["stage", *(["before"] if options.against else []), "now"], rows)
    print(markdown)
    if not options.quick:
        keep(RESULTS / "stages.json", about | {"seconds": medians}, markdown)


def _renamed(package: Path, folder: Path) -> str:
    """Copy a package to be imported beside this one; returns its name."""
    shutil.copytree(package, folder / "ledbefore")
    for file in (folder / "ledbefore").rglob("*.py"):
        file.write_text(file.read_text("utf-8").replace("ledcli", "ledbefore"), "utf-8")
    sys.path.insert(0, str(folder))
    return "ledbefore"


@torch.inference_mode()
def _measure(package: str, raw: Path, seconds: dict[str, list[float]]) -> None:
    def module(name: str) -> Any:
        return importlib.import_module(f"{package}.{name}")

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        result = work()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        seconds.setdefault(stage, []).append(after - before)
        return result

    corrections, pixels, dng = (
        module(name) for name in ("inference.postprocess", "output.pixels", "output.dng")
    )
    photo = timed("read the raw", lambda: module("raw.reader").read_raw(raw))
    planes = timed("pack (twice a photo)", photo.planes)
    noise = timed("blind estimate", lambda: photo.estimate_noise(planes)).profile
    timed("ratio", lambda: module("raw.colour").auto_ratio(planes))
    timed("outliers", lambda: module("noise.outliers").remove_outliers(planes, noise, photo.phase))
    frame = torch.from_numpy(planes)
    clean = F.avg_pool2d(frame[None], BLUR, 1, BLUR // 2)[0].mul_(RATIO)
    timed("bias", lambda: corrections.correct_bias(frame, clean, RATIO, noise))
    timed("greens", lambda: corrections.equilibrate_greens(clean, RATIO, noise, photo.phase))
    timed("checkerboard", lambda: corrections.remove_checkerboard(clean, RATIO, noise))
    shape = photo.mosaic.shape
    unpack = module("sensor.cfa").unpack
    mosaic = timed("unpack", lambda: unpack(clean.numpy(), photo.phase, shape))
    black = pixels.black_levels(photo, mosaic)
    samples = timed("quantise", lambda: pixels.quantise(mosaic, photo.phase, black))
    directory = dng._mosaic(photo, samples, black)
    timed("lossless JPEG", lambda: dng.put_tiles(directory, samples))
    timed("preview", lambda: pixels.jpeg_bytes(pixels.preview_rgb(photo, mosaic)))


if __name__ == "__main__":
    main()
