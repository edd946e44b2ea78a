"""One exiftool process that does command after command, and is started again when it dies."""

import contextlib
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_GOODBYE_S = 2
_AT_OUR_END = "cat; printf '\\n-stay_open\\nFalse\\n'"
"""exiftool waits for more at the end of its input; this tells it to go when we are gone, killed or
not."""


class ExiftoolError(Exception):
    """exiftool cannot be started, died, or took too long; the message is the end of a sentence."""


class Exiftool:
    """An exiftool that stays open.

    Parameters
    ----------
    program : str
        Its path.
    folder : Path
        Where it works: names without a folder are looked for there.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._feeder: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._asked = 0
        self.aborted = False

    def ask(self, arguments: Sequence[str], limit_s: float) -> str:
        """Run one command.

        Parameters
        ----------
        arguments : sequence of str
            Without line breaks.
        limit_s : float
            After so long it is killed.

        Returns
        -------
        str
            What it says, warnings included.

        Raises
        ------
        ExiftoolError
        """
        end = time.monotonic() + limit_s
        self._asked += 1
        ready = b"{ready%d}" % self._asked
        text = b"".join(os.fsencode(argument) + b"\n" for argument in arguments)
        said = []
        try:
            self._start()
            self._send(text + b"-execute%d\n" % self._asked)
            while True:
                line = self._lines.get(timeout=max(end - time.monotonic(), 0))
                if line is None:
                    raise ExiftoolError("it ended before it was done")
                # What it was still saying belongs before its mark.
                rest, mark, _ = line.partition(ready)
                said.append(rest)
                if mark:
                    break
        except queue.Empty:
            self.kill()
            raise ExiftoolError(f"it took more than {limit_s:g} s") from None
        except OSError as error:
            self.kill()
            raise ExiftoolError(f"it cannot be run: {error.strerror or error}") from None
        except BaseException:
            # An interruption too: its answer would be taken for the next one's.
            self.kill()
            raise
        return b"".join(said).decode("utf-8", "replace")

    def close(self) -> None:
        """End it in a friendly way."""
        if self._process is not None:
            with contextlib.suppress(OSError, ValueError):
                self._send(b"-stay_open\nFalse\n").close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GOODBYE_S)
        self.kill()

    def kill(self) -> None:
        """End it at once; the next question starts another."""
        for process in (self._process, self._feeder):
            if process is not None:
                process.kill()
                process.wait()
                if process.stdin is not None:
                    with contextlib.suppress(OSError):
                        process.stdin.close()
        self._process = self._feeder = None

    def abort(self) -> None:
        """End it for good, from any thread: a question under way fails, and so does any other."""
        self.aborted = True
        # Left to be waited for by the thread that asks.
        for process in (self._process, self._feeder):
            if process is not None:
                process.kill()
        # Whoever else may hold its output open, as on Windows, where it starts a second process.
        self._lines.put(None)

    def _start(self) -> None:
        self._go_on()
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()
        self._lines = queue.SimpleQueue()
        shell = shutil.which("sh") if os.name == "posix" else None
        ours: int | IO[bytes] = subprocess.PIPE
        # Of a session of their own: Ctrl-C is for us, and we say what becomes of them.
        alone = os.name == "posix"
        if shell is not None:
            self._feeder = subprocess.Popen(
                [shell, "-c", _AT_OUR_END],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=alone,
            )
            assert self._feeder.stdout is not None
            ours = self._feeder.stdout
        self._process = subprocess.Popen(
            # An empty -config: nobody's own settings change what is done here.
            [self._program, "-config", "", "-stay_open", "True", "-@", "-"],
            stdin=ours,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            start_new_session=alone,
        )
        if self._feeder is not None and self._feeder.stdout is not None:
            self._feeder.stdout.close()
        threading.Thread(
            target=_listen, args=(self._process.stdout, self._lines), daemon=True
        ).start()
        self._go_on()  # `abort` may not have seen it yet

    def _go_on(self) -> None:
        if self.aborted:
            raise ExiftoolError("it was broken off")

    def _send(self, text: bytes) -> IO[bytes]:
        process = self._feeder or self._process
        assert process is not None and process.stdin is not None
        process.stdin.write(text)
        process.stdin.flush()
        return process.stdin


def _listen(output: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(OSError, ValueError), output:
        for line in output:
            lines.put(line)
    lines.put(None)
