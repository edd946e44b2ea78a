"""What this machine remembers of downloads: licences that were accepted, hashes seen. No torch."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from ledcli.errors import ModelError, UsageError
from ledcli.photo.files import atomic_write, make_folder
from ledcli.zoo.shelf import installed_dir

FILE = "remembered.json"
_ACCEPTED, _HASHES = "accepted_licences", "sha256_at_first_download"


class Remembered:
    """The notes of this machine, beside the installed models; each is written as it is made.

    Raises
    ------
    ModelError
        When the file of notes is damaged.
    """

    def __init__(self) -> None:
        self.path: Path = installed_dir().parent / FILE
        self._notes = self._read()

    def accept(self, licence: str, url: str, *, accepted: bool) -> bool:
        """Settle a licence: accepted now or before.

        Parameters
        ----------
        licence, url : str
            Its name and where it can be read.
        accepted : bool
            Whether the user accepts it now.

        Returns
        -------
        bool
            Whether it was accepted only now.

        Raises
        ------
        UsageError
            When it never was.
        """
        key = f"{licence} {url}"
        if key in self._notes[_ACCEPTED]:
            return False
        if not accepted:
            terms = ", which forbids commercial use" if "-NC-" in licence else ""
            raise UsageError(
                f"the model's licence is {licence}{terms}: read it at {url}; with "
                "--accept-license you accept it, once for all models under it"
            )
        self._note(_ACCEPTED, key, datetime.now(UTC).isoformat(timespec="seconds"))
        return True

    def sha256(self, name: str) -> str | None:
        """Return the hash that the file of a registry's entry had at its first download."""
        return self._notes[_HASHES].get(name)

    def pin(self, name: str, sha256: str) -> None:
        """Remember the hash of an entry's file."""
        self._note(_HASHES, name, sha256)

    def _note(self, kind: str, key: str, text: str) -> None:
        # Another led may have written since.
        self._notes = self._read()
        self._notes[kind][key] = text
        make_folder(self.path.parent)
        atomic_write(self.path, json.dumps(self._notes, indent=1).encode())

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            notes = {kind: content.get(kind, {}) for kind in (_ACCEPTED, _HASHES)}
            if not all(isinstance(v, str) for kind in notes.values() for v in kind.values()):
                raise ValueError("a note is no text")
        except FileNotFoundError:
            return {_ACCEPTED: {}, _HASHES: {}}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise ModelError(
                f"{self.path}: cannot be understood; delete it, and accept the licences again"
            ) from error
        return notes
