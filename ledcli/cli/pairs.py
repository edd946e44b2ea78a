"""`led pairs`: find the short and long frames of a shoot, and check them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.app import FAILED
from ledcli.cli.console import Output, printable
from ledcli.cli.options import DryRunOption, JsonOption, QuietOption
from ledcli.errors import LedError, PairError, UsageError

if TYPE_CHECKING:
    from ledcli.pairs.checks import PairCheck
    from ledcli.pairs.listfile import Pair
    from ledcli.pairs.scan import Scan

LIST = Path("pairs.txt")
RULE_COLUMNS = ("CAMERA", "RATIO", "PAIRS", "ISO", "RULE")
JSON_KINDS = {"pairs": "pair", "rules": "rule", "dark": "dark", "left_out": "left_out"}
PAIR_COLUMNS = ("SHORT", "LONG", "RATIO", "MEASURED", "SHIFT", "RESULT")

app = typer.Typer(help="Find and verify pairs of shots.")

KeepOption = Annotated[
    bool, typer.Option("--keep", help="Keep pairs whose frames are shifted against each other.")
]


@app.callback(invoke_without_command=True)
def _pairs(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        Output().result(context.get_help())


@app.command("scan")
def scan(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the shoot.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The list to write.")
    ] = LIST,
    keep: KeepOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find the pairs of short and long frames in a folder and its subfolders.

    Every short frame gets the long frame of its own scene, however many scenes there are. The
    list has a line SHORT LONG for each pair; beside it, in a file ending in .json, is all that was
    found. A list that is already there is replaced.

    The rule for fine-tuning: at each ratio two pairs or more, one of them at ISO 500 or less and
    one at ISO 3200 or more. Where it does not hold, the frames to shoot are named.

    Examples
    --------
    Write ./pairs.txt, which `led finetune` reads::

        led pairs scan ./shots

    See what would be found, pairs with a moved tripod included::

        led pairs scan ./shots --keep --dry-run
    """
    from ledcli.pairs import foundfile, listfile
    from ledcli.pairs.record import scan_record
    from ledcli.pairs.scan import scan as find_pairs
    from ledcli.photo.raw import RAW_SUFFIXES

    output = Output(json=json, quiet=quiet)
    if out.suffix.lower() in RAW_SUFFIXES | {".json", ""}:
        raise UsageError(f"--out {out}: the list's name must end in .txt or the like")
    listfile.check_replaceable(out)
    foundfile.check_replaceable(out)
    found = find_pairs(folder, output.progress, keep_shifted=keep)
    record = scan_record(found, out.parent)
    _show_left_out(output, found)
    _show_darks(output, found)
    if json:
        for part, kind in JSON_KINDS.items():
            for entry in record[part]:
                output.result({"kind": kind, **entry})
    if not found.pairs:
        raise _no_pairs(folder, found)
    if not json:
        _show_rules(output, found)
    pairs = [listfile.Pair(pair.short.file, pair.long.file) for pair in found.pairs]
    _note_quotes(output, pairs, out)
    count = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''}"
    if dry_run:
        output.info(f"{count} would be written to {out}")
    else:
        replaced = ", which replaces the list that was there" if out.exists() else ""
        beside = foundfile.write_record(out, record)
        listfile.write_list(out, pairs)
        output.info(f"{count} written to {out}{replaced}; all that was found is in {beside}")
    if any(left.failed for left in found.left_out):
        raise typer.Exit(FAILED)


@app.command("check")
def check(
    pairs: Annotated[Path, typer.Argument(metavar="[LIST]", help="The list of pairs.")] = LIST,
    keep: KeepOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check the pairs of a list by what the frames show.

    Both frames of a pair must show the same scene to within a fifth of a pixel, the long one
    neither clipped nor noisy, black the same in both, and the brightness apart by the ratio that
    their exposures say. The lists of SID, ELD and LED are read as well.

    Examples
    --------
    The list that `led pairs scan` wrote::

        led pairs check

    Another list, for a script::

        led pairs check SID/Sony_train_list.txt --json
    """
    from ledcli.pairs.listfile import read_list
    from ledcli.pairs.match import check_listed

    output = Output(json=json, quiet=quiet)
    listed = read_list(pairs)
    results = []
    with output.progress(len(listed), "checking", "pairs") as bar:
        for pair, result in zip(listed, check_listed(listed), strict=True):
            bar.advance(note=pair.short.name)
            if isinstance(result, LedError):
                output.error(result)
            results.append(result)
    _show_checks(output, listed, results, keep)
    bad = [result for result in results if isinstance(result, LedError) or _speaking(result, keep)]
    if bad:
        shifted = any(not isinstance(result, LedError) and result.shifted for result in bad)
        kept = "; --keep lets shifted ones pass" if shifted and not keep else ""
        output.hint(
            f"{len(bad)} of {len(listed)} pairs would spoil a tuning: take their lines out of "
            f"{pairs}, or shoot them again{kept}"
        )
        raise typer.Exit(FAILED)


def _show_left_out(output: Output, found: Scan) -> None:
    for left in found.left_out:
        if left.failed:
            output.error(f"{left.file}: {left.reason}")
        else:
            output.info(f"left out: {left.file}: {left.reason}")


def _show_darks(output: Output, found: Scan) -> None:
    by_iso = Counter(dark.iso for dark in found.darks)
    if by_iso:
        listed = ", ".join(f"{count} at ISO {iso:g}" for iso, count in sorted(by_iso.items()))
        output.info(f"dark frames (lens cap on): {listed}")


def _show_rules(output: Output, found: Scan) -> None:
    rows = [
        (
            rule.camera,
            f"{rule.ratio:g}",
            rule.pairs,
            ", ".join(f"{iso:g}" for iso in rule.isos),
            "holds" if rule.holds else "does not hold: see below",
        )
        for rule in found.rules
    ]
    output.table(RULE_COLUMNS, rows, right=["RATIO", "PAIRS"])
    for rule in found.rules:
        for pair in rule.to_shoot:
            text = f"shoot for {rule.camera}, ratio {rule.ratio:g}: {pair}"
            output.result(text, printable(text))


def _no_pairs(folder: Path, found: Scan) -> PairError:
    from ledcli.pairs.rule import first_pairs

    frames = "frame" if len(found.frames) == 1 else "frames"
    wanted = "; ".join(str(pair) for pair in first_pairs(found.frames))
    return PairError(
        f"{folder}: there is no pair among its {len(found.frames)} {frames}. "
        f"From a tripod, shoot {wanted}"
    )


def _note_quotes(output: Output, pairs: list[Pair], out: Path) -> None:
    from ledcli.pairs.listfile import needs_quotes, relative_name

    names = [relative_name(file, out.parent) for pair in pairs for file in pair[:2]]
    quoted = sorted({name for name in names if needs_quotes(name)})
    if quoted:
        more = f" and {len(quoted) - 1} more" if len(quoted) > 1 else ""
        output.info(
            f"{quoted[0]}{more}: quoted in the list because of blanks or quotes in the name; led "
            "reads that, upstream's tools do not: rename the file for them"
        )


def _speaking(result: PairCheck, keep: bool) -> tuple[str, ...]:
    return result.against(keep_shifted=keep)


def _show_checks(
    output: Output, listed: list[Pair], results: list[PairCheck | LedError], keep: bool
) -> None:
    from ledcli.pairs.record import check_record

    rows: list[tuple[object, ...]] = []
    records: list[dict[str, object]] = []
    for pair, result in zip(listed, results, strict=True):
        record: dict[str, object] = {"short": pair.short, "long": pair.long}
        if isinstance(result, LedError):
            rows.append((pair.short, pair.long, "-", "-", "-", "cannot be checked"))
            records.append(record | {"ok": False, "error": str(result)})
            continue
        problems = _speaking(result, keep)
        measured, shift = result.measured_ratio, result.shift
        size = None if shift is None else (shift[0] ** 2 + shift[1] ** 2) ** 0.5
        rows.append(
            (
                pair.short,
                pair.long,
                f"{result.ratio:g}",
                "-" if measured is None else f"{measured:.3g}",
                "-" if size is None else f"{size:.2f}",
                "; ".join(problems) or "good",
            )
        )
        checked = {"ok": not problems, "ratio": result.ratio, **check_record(result)}
        records.append(record | checked)
    output.table(PAIR_COLUMNS, rows, records=records, right=["RATIO", "MEASURED", "SHIFT"])
