"""Time `led preview` on a raw: the network on nine crops against the network on the whole frame.

    python tests/benchmarks/preview.py RAW [--whole]

Seconds of processor time of all threads, which other programs on the machine do not change much,
and seconds on the clock. With --whole the whole frame goes through the network once, too.
"""

import sys
import time
from pathlib import Path

from ledcli.batch.settings import Quality, Settings
from ledcli.inference.denoiser import Denoiser, DenoiserCache
from ledcli.preview.tiles import Previewer
from ledcli.preview.variants import plan_variants
from ledcli.raw.exif import read_exif
from ledcli.zoo.selection import BestModel

RATIO = 100.0
CROPS = 9


def main(raw: Path, whole: bool) -> None:
    spent = [0.0, 0.0, 0]
    denoise = Denoiser.denoise

    def timed(self, planes, *arguments, **options):
        clocks = time.process_time, time.perf_counter
        before = [clock() for clock in clocks]
        result = denoise(self, planes, *arguments, **options)
        for n, clock in enumerate(clocks):
            spent[n] += clock() - before[n]
        spent[2] += 1
        return result

    Denoiser.denoise = timed
    denoisers = DenoiserCache()
    print(f"{raw.name}, {denoisers.description}")
    for quality in (Quality.FAST, Quality.STANDARD):
        settings = Settings(RATIO)
        variants = plan_variants(settings, qualities=[quality])
        choosers = [BestModel(quality == Quality.FAST)] * len(variants)
        previewer = Previewer(settings, variants, choosers, denoisers)
        for warm in (False, True):
            spent[:] = 0.0, 0.0, 0
            begun = time.process_time()
            (photo,) = previewer.run([raw])
            assert photo.result.error is None, photo.result.error
            other = time.process_time() - begun - spent[0]
            scale = CROPS / spent[2]
            print(
                f"{quality}, {'warm' if warm else 'first'}: {CROPS} crops: "
                f"{spent[0] * scale:.2f} s of processor time, {spent[1] * scale:.2f} s on the "
                f"clock; all but the network, for 3 crops: {other:.2f} s of processor time",
                flush=True,
            )
        if whole:
            crops, spent[:] = spent[0] * scale, (0.0, 0.0, 0)
            model = choosers[0].choose(read_exif(raw), RATIO)
            denoisers.get(model.path, model.csa_set).denoise(raw, RATIO)
            print(
                f"{quality}, whole frame: {spent[0]:.2f} s of processor time, {spent[1]:.2f} s on "
                f"the clock: {spent[0] / crops:.1f} times the {CROPS} crops",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--whole" in sys.argv[2:])
