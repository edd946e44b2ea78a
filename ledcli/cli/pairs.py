"""`led pairs`: find the short and long frames of a shoot, and check them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.app import FAILED
from ledcli.cli.console import Output, printable
from ledcli.cli.options import DryRunOption, JsonOption, QuietOption
from ledcli.errors import LedError, PairError, UsageError

if TYPE_CHECKING:
    from ledcli.pairs.list_file import Pair
    from ledcli.pairs.match import Found
    from ledcli.pairs.rule import RatioRule
    from ledcli.pairs.scan import Scan

LIST = Path("pairs.txt")
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
    from ledcli.batch.inputs import RAW_SUFFIXES
    from ledcli.pairs import list_file as listfile
    from ledcli.pairs import result as foundfile
    from ledcli.pairs.record import scan_record
    from ledcli.pairs.scan import scan as find_pairs

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
    elif found.rules:
        _show_rules(output, found.rules)
    if not found.pairs:
        raise _no_pairs(folder, found, keep)
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

    Below, as `led pairs scan` shows it, whether the good pairs meet the rule for fine-tuning.

    Examples
    --------
    The list that `led pairs scan` wrote::

        led pairs check

    Another list, for a script::

        led pairs check SID/Sony_train_list.txt --json
    """
    from ledcli.pairs.list_file import read_list
    from ledcli.pairs.match import check_listed

    output = Output(json=json, quiet=quiet)
    listed = read_list(pairs)
    results: list[Found | LedError] = []
    with output.progress(len(listed), "checking", "pairs") as bar:
        for pair, result in zip(listed, check_listed(listed), strict=True):
            bar.advance(note=pair.short.name)
            if isinstance(result, LedError):
                output.error(result)
            results.append(result)
    _show_checks(output, listed, results, keep)
    checked = [result for result in results if not isinstance(result, LedError)]
    good = [pair for pair in checked if not pair.check.against(keep_shifted=keep)]
    dropped = [pair for pair in checked if pair.check.against(keep_shifted=keep)]
    _show_rules_of_list(output, good, dropped)
    bad = len(listed) - len(good)
    if bad:
        shifted = any(pair.check.shifted for pair in dropped)
        kept = "; --keep lets shifted ones pass" if shifted and not keep else ""
        output.hint(
            f"{bad} of {len(listed)} pairs would spoil a tuning: take their lines out of "
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


def _show_rules(output: Output, rules: Sequence[RatioRule]) -> None:
    from ledcli.pairs.rule import COLUMNS, lines_of, rows_of

    output.table(COLUMNS, rows_of(rules), right=["RATIO", "PAIRS"])
    for line in lines_of(rules):
        output.result(line, printable(line))


def _no_pairs(folder: Path, found: Scan, keep: bool) -> PairError:
    from ledcli.pairs.rule import first_pairs

    among = f"among its {len(found.frames)} frame{'' if len(found.frames) == 1 else 's'}"
    if found.rules:
        shifted = any(pair.check.shifted for pair in found.dropped)
        kept = ", or keep shifted ones with --keep" if shifted and not keep else ""
        return PairError(
            f"{folder}: there is no good pair {among}: shoot what is named above{kept}"
        )
    wanted = "; ".join(str(pair) for pair in first_pairs(found.frames))
    return PairError(f"{folder}: there is no pair {among}. From a tripod, shoot {wanted}")


def _note_quotes(output: Output, pairs: list[Pair], out: Path) -> None:
    from ledcli.pairs.list_file import needs_quotes, relative_name

    names = [relative_name(file, out.parent) for pair in pairs for file in pair[:2]]
    quoted = sorted({name for name in names if needs_quotes(name)})
    if quoted:
        more = f" and {len(quoted) - 1} more" if len(quoted) > 1 else ""
        output.info(
            f"{quoted[0]}{more}: quoted in the list because of blanks or quotes in the name; led "
            "reads that, upstream's tools do not: rename the file for them"
        )


def _show_checks(
    output: Output, listed: list[Pair], results: list[Found | LedError], keep: bool
) -> None:
    from ledcli.pairs.record import listed_record

    pairs = list(zip(listed, results, strict=True))
    rows = [(pair.short, pair.long, *_cells(result, keep)) for pair, result in pairs]
    records = [
        {"kind": "pair", **listed_record(pair, result, keep_shifted=keep)} for pair, result in pairs
    ]
    output.table(PAIR_COLUMNS, rows, records=records, right=["RATIO", "MEASURED", "SHIFT"])


def _cells(result: Found | LedError, keep: bool) -> tuple[str, str, str, str]:
    if isinstance(result, LedError):
        return "-", "-", "-", "cannot be checked"
    check = result.check
    size = None if check.shift is None else (check.shift[0] ** 2 + check.shift[1] ** 2) ** 0.5
    return (
        f"{check.ratio:g}",
        "-" if check.measured_ratio is None else f"{check.measured_ratio:.3g}",
        "-" if size is None else f"{size:.2f}",
        "; ".join(check.against(keep_shifted=keep)) or "good",
    )


def _show_rules_of_list(output: Output, good: list[Found], dropped: list[Found]) -> None:
    from ledcli.pairs.record import rule_record
    from ledcli.pairs.rule import rules_of

    pairs = good + dropped
    frames = list(dict.fromkeys(frame for pair in pairs for frame in (pair.short, pair.long)))
    rules = rules_of(good, dropped, frames)
    if output.json:
        for rule in rules:
            output.result({"kind": "rule", **rule_record(rule, None)})
    elif rules:
        output.result("")
        _show_rules(output, rules)
