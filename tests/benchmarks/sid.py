"""SID on a made-up shoot: from the short raw to LibRaw's picture of the long frame.

    python tests/benchmarks/sid.py
    python tests/benchmarks/sid.py --scenes 2 --held 1 --iterations 20 --size 512 --json OUT

Pairs of a made-up camera, which nobody has calibrated, each of a scene of its own. On some of them
SID is trained; the others, whole scenes, are developed by it, and beside it by LibRaw: the noisy
frame, and the DNG that the bundled LED model makes of it. All are compared with LibRaw's picture
of the long frame. A whole run writes results/sid.json and sid.md; any other only where --json says.
"""

import argparse
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import RESULTS, context, finish, head, parser_of, table

from ledcli.cli.console import Output
from ledcli.evaluation.datasets.base import source_of_pairs
from ledcli.evaluation.evaluate import collect, load_candidates, measure
from ledcli.evaluation.results import NOISY, Evaluation
from ledcli.evaluation.simulation import PAIR_ISOS, make_pairs
from ledcli.pairs.list_file import Pair, list_text
from ledcli.training.finetune import FinetunedModel, finetune
from ledcli.training.methods.sid import SidRecipe
from ledcli.training.methods.start import NO_MODEL
from ledcli.training.settings import FinetuneSettings
from ledcli.zoo.model_file import save_model

FIRST_HELD = 1000
"""Seed of the first scene that is not trained on."""
LED = "generic"
BAR = 6.0
"""dB over the noisy frame's picture that issue E asks for."""


def main() -> None:
    """Shoot, train, measure, print and keep."""
    options = _options()
    whole = not any(
        getattr(options, name) != default
        for name, default in vars(_parser().parse_args([])).items()
    )
    with tempfile.TemporaryDirectory() as folder:
        results = _run(Path(folder), options)
    about = context() | {
        "scenes": options.scenes,
        "held": options.held,
        "size": options.size,
        "ratio": options.ratio,
        "pretrained": options.pretrained,
    }
    text = _markdown(about, results)
    finish(options.json or (RESULTS / "sid.json" if whole else None), about | results, text)


def _options() -> argparse.Namespace:
    options = _parser().parse_args()
    if options.size < 256 or options.size % 2:
        _parser().error(f"--size {options.size}: take an even number from 256 up")
    return options


def _parser() -> argparse.ArgumentParser:
    recipe = SidRecipe()
    parser = parser_of(__doc__)
    parser.add_argument("--scenes", type=int, default=12, help="that are trained on, by two ISOs")
    parser.add_argument("--held", type=int, default=4, help="that are not, by two ISOs")
    parser.add_argument("--size", type=int, default=1280, help="side of a frame in pixels")
    parser.add_argument("--ratio", type=float, default=100.0)
    parser.add_argument("--iterations", type=int, default=recipe.iterations)
    parser.add_argument("--batch", type=int, default=recipe.batch)
    parser.add_argument("--pretrained", default=LED, help=f"model to start from, or {NO_MODEL}")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    return parser


def _run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    trained = _shoot(folder, range(options.scenes), options)
    held = _shoot(folder, range(FIRST_HELD, FIRST_HELD + options.held), options)
    tuned = _trained(folder, trained, options)
    model = folder / "sid.safetensors"
    save_model(model, tuned.folded, tuned.plain.state_dict())
    evaluation = _measured(held, model)
    return {
        "minutes": round(tuned.spec.training["seconds"] / 60, 2),
        "training": {k: v for k, v in tuned.spec.training.items() if k != "pairs"},
        "held_strips": {"noisy": tuned.before, "sid": tuned.after},
        "held_scenes": _by_iso(evaluation),
    }


def _shoot(folder: Path, seeds: range, options: argparse.Namespace) -> list[tuple[str, Pair]]:
    """Write two pairs for every seed, of an ISO each."""
    pairs = []
    for seed in seeds:
        place = folder / f"scene-{seed}"
        place.mkdir()
        for number, (short, long) in enumerate(
            make_pairs(place, ratio=options.ratio, size=options.size, seed=seed)
        ):
            pairs.append((f"{seed}-{PAIR_ISOS[number]:g}", Pair(short.path, long.path)))
    return pairs


def _trained(
    folder: Path, pairs: list[tuple[str, Pair]], options: argparse.Namespace
) -> FinetunedModel:
    """Train as `led finetune --method sid` does."""
    os.environ["LED_HOME"] = str(folder / "home")
    pair_list = folder / "pairs.txt"
    pair_list.write_bytes(list_text(pair_list, [pair for _, pair in pairs]))
    settings = FinetuneSettings(
        pretrained=options.pretrained,
        method="sid",
        options={"iterations": options.iterations, "batch": options.batch},
        force=True,
        device=options.device,
    )
    tuned = finetune(pair_list, settings, report=Output()).tuned
    assert tuned is not None
    return tuned


def _measured(pairs: list[tuple[str, Pair]], model: Path) -> Evaluation:
    source = source_of_pairs(
        "scenes that were not trained on",
        [pair for _, pair in pairs],
        names=[name for name, _ in pairs],
    )
    candidates = load_candidates([str(model), LED])
    found = collect(source, candidates, (measure(case, candidates) for case in source.cases))
    if found.skipped:
        raise SystemExit(found.skipped[0])
    return found


def _by_iso(evaluation: Evaluation) -> dict[str, dict[str, list[float]]]:
    """Return the mean PSNR and SSIM in sRGB by ISO, and of all, for each way."""
    values: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    ways = dict(zip(evaluation.models, ("noisy", "sid", "led"), strict=True))
    assert evaluation.models[0] == NOISY
    for frame in evaluation.frames:
        both = frame.metrics["psnr_srgb"], frame.metrics["ssim_srgb"]
        for iso in (f"{frame.iso:g}", "all"):
            values[iso][ways[frame.model]].append(both)
    return {
        iso: {way: np.mean(found, 0).round(4).tolist() for way, found in by_way.items()}
        for iso, by_way in values.items()
    }


def _markdown(about: dict[str, Any], results: dict[str, Any]) -> str:
    training, strips = results["training"], results["held_strips"]
    rows = []
    by_iso = sorted(results["held_scenes"].items(), key=lambda item: (item[0] == "all", item[0]))
    for iso, ways in by_iso:
        shown = [f"{ways[way][0]:.2f}/{ways[way][1]:.3f}" for way in ("noisy", "led", "sid")]
        rows.append([iso, *shown, f"{ways['sid'][0] - ways['noisy'][0]:+.2f}"])
    gain = results["held_scenes"]["all"]["sid"][0] - results["held_scenes"]["all"]["noisy"][0]
    return head("SID: from the raw to a picture", about) + (
        f"A made-up camera, ratio {about['ratio']:g}, {2 * about['scenes']} pairs of "
        f"{about['scenes']} seeds (each a scene of its own, {about['size']} pixels a side) to "
        f"train on; {training['iterations']} iterations of {training['batch']} crops, from "
        f"{about['pretrained']}, {results['minutes']:.0f} minutes.\n\n"
        f"Held-out scenes, {2 * about['held']} frames: PSNR in dB and SSIM in sRGB, against "
        "LibRaw's picture of the long frame. LED's is the bundled model's planes, developed by "
        "LibRaw.\n\n"
        + table(["ISO", "noisy frame", "LED", "SID", "SID over noisy, dB"], rows)
        + f"\nThe parts of the pairs that are held out: noisy {strips['noisy']:.2f} dB, SID "
        f"{strips['sid']:.2f} dB.\n\nAsked for: {BAR:g} dB over the noisy frame's picture; "
        f"{'held' if gain >= BAR else 'not held'} ({gain:+.2f} dB).\n"
    )


if __name__ == "__main__":
    main()
