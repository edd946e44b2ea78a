"""The report of smooth areas in markdown."""

from typing import Any

from report import head, table

Entry = dict[str, Any]


def markdown(about: dict[str, Any], flat: list[Entry], gradient: list[Entry]) -> str:
    """Write the report: flat patches, then gradients."""
    grids = about["grids"]
    text = head("Smooth areas", about) + (
        f"Model {about['model']} (sha256 {about['sha256'][:12]}), {about['precision']} on "
        f"{about['device']}, blind.\n\n"
        + "".join(f"- {line}\n" for line in _summary(flat, gradient, grids))
        + f"\n## Flat grey\n\n{about['draws']} patches of {about['side']} x {about['side']} plane "
        "pixels each. Bias: mean error in % of white, worst plane, and the noisy input's, which "
        "is chance; then in % of the plane's level: the bias, the noise left in a pixel, and for "
        "the phases of a grid of so many plane pixels the one that is furthest off, the rms of "
        "all, and the rms that chance alone makes.\n\n"
    )
    columns = ["camera, ratio, level", "bias, white", "noisy", "bias, level", "noise left"]
    columns += [f"grid {period}: furthest, rms / chance" for period in grids]
    text += table(columns, [_flat_row(entry, grids) for entry in flat])
    text += (
        f"\n## Smooth gradient\n\n{about['gradient']}. Jumps of the error from a column to the "
        "next, means over the rows, worst plane; the rms error of such means inside and in the "
        "outermost columns; tiles against the whole frame, and the step across a seam: all in % "
        "of white. Distinct: values along a row over its pixels.\n\n"
    )
    columns = ["camera, ratio", "jump: largest / median", "noisy: largest / median"]
    columns += ["rms inside / border", "distinct", "seams: rms / largest / step"]
    return text + table(columns, [_gradient_row(entry) for entry in gradient])


def _flat_row(entry: Entry, grids: list[int]) -> list[str]:
    found = [entry[f"grid_{period}"] for period in grids]
    return [
        f"{entry['camera']}, {entry['ratio']:g}, {entry['level']:g}",
        f"{100 * max(entry['bias_of_white'], key=abs):+.3f}",
        f"{100 * max(entry['noisy_bias_of_white'], key=abs):+.3f}",
        f"{100 * max(entry['bias'], key=abs):+.2f}",
        f"{100 * max(entry['noise_left']):.2f}",
        *(
            f"{100 * grid['largest']:.3f}, {100 * grid['rms']:.3f} / {100 * grid['chance']:.3f}"
            for grid in found
        ),
    ]


def _gradient_row(entry: Entry) -> list[str]:
    found, noisy, seam = entry["steps"], entry["noisy_steps"], entry["seams"]
    return [
        f"{entry['camera']}, {entry['ratio']:g}",
        f"{100 * found['largest']:.3f} / {100 * found['median']:.4f}",
        f"{100 * noisy['largest']:.3f} / {100 * noisy['median']:.4f}",
        f"{100 * found['inside']:.3f} / {100 * found['border']:.3f}",
        f"{found['levels']:.3f}",
        f"{100 * seam['rms']:.4f} / {100 * seam['largest']:.3f} / {100 * seam['step']:.4f}",
    ]


def _summary(flat: list[Entry], gradient: list[Entry], grids: list[int]) -> list[str]:
    """Say the worst of each, one line a figure."""
    at_100 = [entry for entry in flat if entry["ratio"] == 100]
    lines = [
        f"Largest mean error of a plane at ratio 100 (wanted: under 0.2 % of white): "
        f"{_worst_bias(at_100)}; at any ratio {_worst_bias(flat)}."
    ]
    for period in grids:
        found = [(entry[f"grid_{period}"], entry) for entry in flat]
        even = sum(grid["largest"] < 0.001 for grid, _ in found)
        # Of noise alone the square of rms over chance is 1 on the mean.
        ratio = (sum((g["rms"] / g["chance"]) ** 2 for g, _ in found) / len(found)) ** 0.5
        worst, where = max(found, key=lambda pair: pair[0]["rms"] / pair[0]["chance"])
        lines.append(
            f"Grid of {period}: all phases agree to 0.1 % of the level in {even} of {len(found)} "
            f"patches; rms over what chance makes (1 and a little, in the worst plane) "
            f"{ratio:.2f} on the mean, at most {worst['rms'] / worst['chance']:.2f} "
            f"({_name(where)}: {100 * worst['rms']:.3f} % against {100 * worst['chance']:.3f} %)."
        )
    seam = max(gradient, key=lambda entry: entry["seams"]["step"])
    band = max(gradient, key=lambda e: e["steps"]["largest"] / e["steps"]["median"])
    edge = max(gradient, key=lambda e: e["steps"]["border"] / e["steps"]["inside"])
    lines += [
        f"Largest step across a seam of tiles: {100 * seam['seams']['step']:.4f} % of white "
        f"({_name(seam)}); largest difference of a pixel there "
        f"{100 * seam['seams']['largest']:.3f} %.",
        "Largest jump in a gradient over the median jump: "
        f"{band['steps']['largest'] / band['steps']['median']:.1f} ({_name(band)}); the noisy "
        f"input's {band['noisy_steps']['largest'] / band['noisy_steps']['median']:.1f}.",
        "Error in the outermost columns over the error inside, at most: "
        f"{edge['steps']['border'] / edge['steps']['inside']:.2f} ({_name(edge)}).",
    ]
    return lines


def _worst_bias(entries: list[Entry]) -> str:
    entry = max(entries, key=lambda e: max(map(abs, e["bias_of_white"])))
    worst = max(entry["bias_of_white"], key=abs)
    noisy = max(entry["noisy_bias_of_white"], key=abs)
    return f"{100 * worst:+.3f} % ({_name(entry)}; of the noisy input {100 * noisy:+.3f} %)"


def _name(entry: Entry) -> str:
    level = f", level {entry['level']:g}" if "level" in entry else ""
    return f"{entry['camera']}, ratio {entry['ratio']:g}{level}"
