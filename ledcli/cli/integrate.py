"""`led integrate`: install led's plug-in into a photo program."""

import os
import re
import shutil
import string
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

import ledcli
from ledcli.cli import options as opt
from ledcli.cli.console import printable
from ledcli.errors import LedError, OutputError, UsageError

LINE = b'xpcall(require, require("darktable").print_error, "led") -- led integrate darktable\n'
"""Loads the plug-in; an error in it is logged and the rest of luarc runs."""
_LOADED = re.compile(rb"""^(?![ \t]*--).*\brequire\b.*["']led["']""", re.MULTILINE)
_PROGRAM = re.compile(rb"^local PROGRAM = \{.*\}$", re.MULTILINE)
_OURS = b"-- led for darktable: "
"""The first words of the script, by which an installed one is recognised."""
_PLAIN = frozenset(string.ascii_letters + string.digits + "-_./: ")


def integrate(
    program: Annotated[Literal["darktable"], Argument(help="The photo program.")],
    config: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="darktable's configuration folder.",
            show_default="~/.config/darktable; on Windows %LOCALAPPDATA%\\darktable",
        ),
    ] = None,
    dry_run: opt.DryRunOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Install led's plug-in into a photo program.

    For darktable: copies the script to lua/led.lua in its configuration folder and adds one line
    to luarc there, unless it has it; the rest of luarc stays as it is. Run it again after
    updating or moving led. To undo it, remove that line and the script.

    Examples
    --------
    For darktable's usual folder, or to see first what would be written::

        led integrate darktable
        led integrate darktable --dry-run
    """
    from ledcli.output.atomic import atomic_write, make_folder

    folder = _darktable_folder() if config is None else Path(os.path.expanduser(config))
    if not os.path.isdir(folder):
        raise UsageError(
            f"{folder}: no such folder: start darktable once, or name its configuration folder "
            "with --config"
        )
    # Files that are links, as those of collections of settings, stay links.
    script, luarc = (Path(os.path.realpath(folder / n)) for n in ("lua/led.lua", "luarc"))
    for path, content in ((script, _new_script(script)), (luarc, _new_luarc(luarc))):
        old = _read(path)
        status = "new" if old is None else "unchanged" if old == content else "changed"
        if status != "unchanged" and not dry_run:
            make_folder(path.parent)
            keep_mode = None if old is None else partial(shutil.copymode, path)
            atomic_write(path, content, finish=keep_mode)
        would = "would be " if dry_run and status != "unchanged" else ""
        output.result({"file": path, "status": status}, f"{printable(path)}: {would}{status}")
    output.hint("restart darktable; the module 'led: denoise raws' is in its lighttable")


def _darktable_folder() -> Path:
    local = os.environ.get("LOCALAPPDATA")
    if os.name == "nt" and local:
        return Path(local, "darktable")
    home = os.environ.get("XDG_CONFIG_HOME") if sys.platform != "darwin" else None
    return Path(home or Path.home() / ".config", "darktable")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror}") from error


def _new_script(path: Path) -> bytes:
    """Return the plug-in with the command that starts this led; raises LedError."""
    old = _read(path)
    if old is not None and not old.startswith(_OURS):
        raise OutputError(f"{path}: is another script, not led's: rename or remove it first")
    # -P: the folder that darktable was started in is not searched for modules.
    words = ", ".join(map(_lua_string, (sys.executable, "-P", "-m", "ledcli")))
    package = Path(ledcli.__file__).resolve().parent
    for folder in (package, package.parent):
        if text := _read(folder / "contrib" / "darktable" / "led.lua"):
            return _PROGRAM.sub(lambda _: b"local PROGRAM = {%s}" % words.encode(), text)
    raise LedError(f"the plug-in is missing in {package}: install led again")


def _new_luarc(path: Path) -> bytes:
    """Return luarc with the line that loads the plug-in."""
    old = _read(path) or b""
    if _LOADED.search(old):
        return old
    # At the top, as nothing may follow a return; a byte-order mark and a line that begins with #
    # must stay the first.
    first = re.match(rb"(\xef\xbb\xbf)?(#[^\n]*\n?)?", old)
    head = old[: first.end()] if first else b""
    gap = b"\n" if b"#" in head and not head.endswith(b"\n") else b""
    return head + gap + LINE + old[len(head) :]


def _lua_string(text: str) -> str:
    r"""Write a Lua string of ASCII characters.

    Examples
    --------
    >>> _lua_string('a"b')
    '"a\\034b"'
    """
    data = text.encode() if os.name == "nt" else os.fsencode(text)
    return '"' + "".join(chr(c) if chr(c) in _PLAIN else f"\\{c:03}" for c in data) + '"'
