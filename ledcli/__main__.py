"""The `led` command; `python -m ledcli` is the same."""

import sys


def main() -> int:
    """Run the command line on `sys.argv` and return its exit status."""
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
