"""The `led` command; `python -m ledcli` is the same."""

import atexit
import gc
import sys


def main() -> int:
    """Run the command line on `sys.argv` and return its exit status."""
    # torch's import makes a million objects that live to the end. To look for garbage among them,
    # again and again and at the end, took a quarter of its time.
    gc.set_threshold(10_000, 20, 50)
    atexit.register(gc.freeze)
    try:
        from ledcli.cli.app import quieten_libraries, run

        quieten_libraries()
        return run(sys.argv[1:])
    except KeyboardInterrupt:
        # While Python was still importing; later ones are `run`'s.
        sys.stderr.write("led: interrupted.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
