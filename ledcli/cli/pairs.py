"""`led pairs`: find and check pairs of short and long frames."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from ledcli.cli import options as opt
from ledcli.cli.app import FAILED
from ledcli.cli.console import Output, printable
from ledcli.errors import LedError, PairError
from ledcli.reporting import count

if TYPE_CHECKING:
    from ledcli.pairs.checks import CheckedPair
    from ledcli.pairs.list_file import Pair
    from ledcli.pairs.result import Scan
    from ledcli.pairs.rule import RatioRule

LIST = Path("pairs.txt")
JSON_KINDS = {"pairs": "pair", "rules": "rule", "dark": "dark", "unpaired": "unpaired"}
PAIR_COLUMNS = ("SHORT", "LONG", "RATIO", "MEASURED", "SHIFT", "RESULT")

app = opt.group("Find and check pairs of short and long frames.")


@app.command("scan")
def scan(
    folder: Annotated[Path, Argument(metavar="DIR", help="Folder with the shots.")],
    out: Annotated[Path, Option("--out", "-o", metavar="FILE", help="List to write.")] = LIST,
    keep: opt.KeepOption = False,
    force_read: opt.ForceReadOption = False,
    dry_run: opt.DryRunOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Find the pairs of short and long frames in a folder and its subfolders.

    Each short frame is matched with the long frame of its scene; there may be many scenes. The
    list has one line SHORT LONG per pair; a .json file beside it has the details. An existing list
    is replaced.

    Fine-tuning works best with at least two pairs at each ratio, one at ISO 500 or less and one at
    ISO 3200 or more. If they are missing, led says which frames to shoot.

    Examples
    --------
    Write ./pairs.txt, which 'led finetune' reads::

        led pairs scan ./shots

    Show the pairs, including those with a moved tripod::

        led pairs scan ./shots --keep --dry-run
    """
    from ledcli.api import scan_pairs
    from ledcli.pairs.result import record_path, scan_record

    replaced = " (the old list was replaced)" if os.path.exists(out) else ""
    found = scan_pairs(
        folder, None if dry_run else out, keep_shifted=keep, force_read=force_read, report=output
    )
    record = scan_record(found, out.parent)
    for problem in found.problems:
        output.error(problem)
    for frame in found.unpaired:
        if frame.unreadable:
            output.error(f"{frame.file}: {frame.reason}")
        else:
            output.info(f"not paired: {frame.file}: {frame.reason}")
    for pair in found.pairs:
        for note in pair.check.notes:
            output.info(f"{pair.short.file}: {note}")
    by_iso = Counter(dark.iso for dark in found.darks)
    if by_iso:
        listed = ", ".join(f"{count} at ISO {iso:g}" for iso, count in sorted(by_iso.items()))
        output.info(f"dark frames (lens cap on): {listed}")
    if output.json:
        for part, kind in JSON_KINDS.items():
            for entry in record[part]:
                output.result({"kind": kind, **entry})
    elif found.rules:
        _show_rules(output, found.rules)
    if not found.pairs:
        raise _no_pairs(folder, found, keep)
    _note_quotes(output, found, out)
    details = f"written to {out}{replaced}; details in {record_path(out)}"
    pairs = count(len(found.pairs), "pair")
    output.info(f"{pairs} {f'would be written to {out}' if dry_run else details}")
    if found.problems or any(frame.unreadable for frame in found.unpaired):
        raise typer.Exit(FAILED)


@app.command("check")
def check(
    pairs: Annotated[Path, Argument(metavar="[LIST]", help="List of pairs.")] = LIST,
    keep: opt.KeepOption = False,
    force_read: opt.ForceReadOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Check the pairs of a list by their content.

    Both frames of a pair must show the same scene, aligned to a fifth of a pixel; the long frame
    must be neither clipped nor noisy; black must be equal in both; and the brightness must differ
    by the ratio of their exposures. Where something moved, the area is left out of training. Lists
    of SID, ELD and LED can be read too.

    A second table shows whether the good pairs are sufficient for fine-tuning.

    Examples
    --------
    The list written by 'led pairs scan'::

        led pairs check

    Another list, as JSON::

        led pairs check SID/Sony_train_list.txt --json
    """
    from ledcli.pairs.list_file import read_list
    from ledcli.pairs.result import rule_record
    from ledcli.pairs.rule import rules_of
    from ledcli.pairs.scan import check_listed

    listed = read_list(pairs)
    results: list[CheckedPair | LedError] = []
    with output.progress(len(listed), "checking", "pairs") as bar:
        results_of = check_listed(listed, force_read=force_read, report=output)
        for pair, result in zip(listed, results_of, strict=True):
            bar.advance(note=pair.short.name)
            if isinstance(result, LedError):
                output.error(result)
            results.append(result)
    _show_checks(output, listed, results, keep)
    good: list[CheckedPair] = []
    dropped: list[CheckedPair] = []
    for result in results:
        if not isinstance(result, LedError):
            problems = result.check.problems_if(keep_shifted=keep)
            (dropped if problems else good).append(result)
    frames = list(dict.fromkeys(frame for pair in good + dropped for frame in pair[:2]))
    rules = rules_of(good, dropped, frames)
    if output.json:
        for rule in rules:
            output.result({"kind": "rule", **rule_record(rule, None)})
    elif rules:
        output.result("")
        _show_rules(output, rules)
    bad = len(listed) - len(good)
    if bad:
        shifted = any(pair.check.shifted for pair in dropped)
        kept = "; --keep accepts shifted pairs" if shifted and not keep else ""
        output.hint(
            f"{bad} of {len(listed)} pairs would harm the fine-tuning: remove their lines from "
            f"{pairs}, or shoot them again{kept}"
        )
        raise typer.Exit(FAILED)


def _show_rules(output: Output, rules: Sequence[RatioRule]) -> None:
    from ledcli.pairs.result import RULE_COLUMNS, rule_table

    rows, advice = rule_table(rules)
    output.table(RULE_COLUMNS, rows, right=["RATIO", "PAIRS"])
    for line in advice:
        output.result(line, printable(line))


def _no_pairs(folder: Path, found: Scan, keep: bool) -> PairError:
    from ledcli.pairs.rule import first_pairs

    among = f"among its {count(len(found.frames), 'frame')}"
    if found.rules:
        shifted = any(pair.check.shifted for pair in found.dropped)
        kept = ", or accept shifted pairs with --keep" if shifted and not keep else ""
        return PairError(f"{folder}: no good pair {among}: shoot the frames named above{kept}")
    wanted = "; ".join(str(pair) for pair in first_pairs(found.frames))
    return PairError(f"{folder}: no pair {among}. From a tripod, shoot {wanted}")


def _note_quotes(output: Output, found: Scan, out: Path) -> None:
    from ledcli.pairs.list_file import needs_quotes, relative_name

    files = [frame.file for pair in found.pairs for frame in (pair.short, pair.long)]
    names = [relative_name(file, out.parent) for file in files]
    quoted = sorted({name for name in names if needs_quotes(name)})
    if quoted:
        more = f" and {len(quoted) - 1} more" if len(quoted) > 1 else ""
        output.info(
            f"{quoted[0]}{more}: quoted in the list because of spaces or quotes in the name; led "
            "reads this, other LED tools do not: rename the files for those"
        )


def _show_checks(
    output: Output, listed: list[Pair], results: list[CheckedPair | LedError], keep: bool
) -> None:
    from ledcli.pairs.result import listed_record

    pairs = list(zip(listed, results, strict=True))
    rows = [(pair.short, pair.long, *_cells(result, keep)) for pair, result in pairs]
    records = [
        {"kind": "pair", **listed_record(pair, result, keep_shifted=keep)} for pair, result in pairs
    ]
    output.table(PAIR_COLUMNS, rows, records=records, right=["RATIO", "MEASURED", "SHIFT"])


def _cells(result: CheckedPair | LedError, keep: bool) -> tuple[str, str, str, str]:
    if isinstance(result, LedError):
        return "-", "-", "-", "cannot be checked"
    check = result.check
    size = None if check.shift is None else (check.shift[0] ** 2 + check.shift[1] ** 2) ** 0.5
    return (
        f"{check.ratio:g}",
        "-" if check.measured_ratio is None else f"{check.measured_ratio:.3g}",
        "-" if size is None else f"{size:.2f}",
        "; ".join(check.problems_if(keep_shifted=keep) or ("good", *check.notes)),
    )
