"""The `led` command; `python -m ledcli` is the same."""

import sys


def main() -> int:
    """Run the command line on `sys.argv` and return its exit status."""
    from ledcli.cli.app import quieten_libraries, run

    quieten_libraries()
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
