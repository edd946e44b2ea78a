"""`led config`: defaults and presets of the commands' options."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from typer import Option

from ledcli.cli import options as opt
from ledcli.cli.app import COMMANDS, load_command
from ledcli.cli.console import printable
from ledcli.cli.defaults import (
    FILE,
    UNCONFIGURED,
    ConfiguredCommand,
    collect,
    documents,
    is_there,
    presets,
    replaced,
    user_file,
)

TEMPLATE = files("ledcli.cli").joinpath(FILE).read_text("utf-8")
"""What `led config init` writes: examples, commented out."""

app = opt.group("Show and make the file with the defaults of options (led.toml).")


@app.command()
def show(
    preset: Annotated[
        str | None, Option(metavar="NAME", help="Include the options of this preset.")
    ] = None,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Show what is set, and where; check names and types in both files.

    Examples
    --------
    What a preset changes::

        led config show --preset concert
    """
    read = documents()
    named = presets(read)
    for name in named:  # checked, shown or not
        for command in _commands():
            collect(command, name, read)
    found = [
        (" ".join(command.names), default)
        for command in _commands()
        for defaults in [collect(command, preset, read)]
        for name, default in defaults.items()
        if name not in replaced(defaults, {})
    ]
    columns = ("command", "option", "value", "from")
    if found:
        rows = [(name, each.option, each.text, each.source) for name, each in found]
        records = [
            dict(zip(columns, (name, each.option, each.value, each.source), strict=True))
            for name, each in found
        ]
        output.table(columns, rows, records=records)
    elif not read:
        output.hint(f"there is no {FILE}; led config init makes one")
    if named:
        output.info(f"presets: {', '.join(named)}")


@app.command()
def path(output: opt.OutputOptions = opt.PLAIN) -> None:
    """Show where the files are, in rising order of precedence.

    Examples
    --------
    Open yours in an editor::

        nano "$(led config path | head -n 1)"
    """
    for file in (user_file(), Path(FILE).resolve()):
        exists = is_there(file)
        output.result({"path": file, "exists": exists}, printable(file))
        if not exists:
            output.info(f"{file}: does not exist")


@app.command()
def init(
    here: Annotated[
        bool, Option("--here", help="Make it in the working folder, for commands started there.")
    ] = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Make a file with commented examples, the user's own or one in the working folder.

    Examples
    --------
    For all commands, in any folder::

        led config init
    """
    from ledcli.output.atomic import atomic_write, check_new, make_folder

    file = Path(FILE).resolve() if here else user_file()
    make_folder(file.parent)
    check_new(file, "edit it")
    atomic_write(file, TEMPLATE.encode(), overwrite=False)
    output.result({"path": file}, printable(file))


def _commands() -> Iterator[ConfiguredCommand]:
    """Go through all commands that the files can set options of."""
    names = [command.name for command in COMMANDS if command.name not in UNCONFIGURED]
    for name in names:
        command = load_command(name)
        verbs = getattr(command, "commands", {})
        if not verbs:
            yield ConfiguredCommand([name], [names], command)
        for verb, own in verbs.items():
            yield ConfiguredCommand([name, verb], [names, list(verbs)], own)
