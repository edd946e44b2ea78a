"""A file that is being fetched: what has come so far, and how to ask for the rest. No torch."""

from __future__ import annotations

import json
import os
from email.message import Message
from pathlib import Path

from ledcli.errors import DownloadError, OutputError
from ledcli.photo.files import atomic_write, way_out


class PartFile:
    """`NAME.part` and, beside it, `NAME.part.json`: whose beginning it is.

    The second holds the address and what names this version of the file there (`ETag`, else
    `Last-Modified`). Without one, or of another address, what has come is of no use.

    Parameters
    ----------
    target : Path
        Where the whole file is going to be.
    url : str
        Where it comes from.
    """

    def __init__(self, target: Path, url: str) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._state = target.with_name(target.name + ".part.json")
        self._url = url
        self.validator = self._known()
        """What names this version of the file; empty when it cannot be gone on with."""
        self.size = self.path.stat().st_size if self.validator and self.path.is_file() else 0
        if not self.size:
            self.restart()

    def _known(self) -> str:
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            same = state["url"] == self._url and isinstance(state["validator"], str)
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        validator: str = state["validator"] if same else ""
        return validator if validator.isascii() and validator.isprintable() else ""

    def restart(self) -> None:
        """Forget what has come."""
        try:
            self._state.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be removed: {way_out(error)}") from error
        self.validator, self.size = "", 0

    def begin(self, headers: Message) -> None:
        """Note the version that begins to come."""
        etag = headers.get("ETag", "")
        # A weak tag names no bytes: a range may not be asked for by it (RFC 9110, 13.1.5).
        self.validator = headers.get("Last-Modified", "") if etag[:2] in ("", "W/") else etag
        if self.validator:
            state = {"url": self._url, "validator": self.validator}
            atomic_write(self._state, json.dumps(state).encode())

    def append(self, data: bytes) -> None:
        """Write what came next."""
        try:
            with open(self.path, "ab") as file:
                file.write(data)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {way_out(error)}") from error
        self.size += len(data)

    def place(self) -> None:
        """Put the whole file under its name, in one step."""
        try:
            with open(self.path, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(self.path, self.target)
            self._state.unlink(missing_ok=True)
        except FileNotFoundError:
            raise DownloadError(f"{self.target.name}: the server sent an empty file") from None
        except OSError as error:
            raise OutputError(f"{self.target}: cannot be written: {way_out(error)}") from error
