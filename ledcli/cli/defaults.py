"""Defaults and presets of options, from led.toml. Imports neither torch nor NumPy.

The user's file comes first, that of the working folder overrides it, a preset overrides both, and
the command line overrides all. A file has a table for each command, and the same for each preset::

    [denoise]
    format = ["dng", "png"]

    [preset.concert.denoise]
    strength = 0.8
"""

import inspect
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer import Option

from ledcli.batch.settings import Quality
from ledcli.cli.console import Output
from ledcli.errors import LedError, UsageError

FILE = "led.toml"
PRESET = "preset"
NONE = "none"
"""``--preset none`` ignores the files."""
UNCONFIGURED = ("config", "demo")
"""Commands whose options have no defaults in a file."""
MAX_BYTES = 1 << 20
ONE_RUN = frozenset(["help", "version", PRESET, "overwrite", "again", "resume", "dry-run", "ray"])
ONE_RUN |= {"force", "force-read", "accept-license", "quiet", "json", "watch", "shard", "report"}
ONE_RUN |= {"registry", "config", "choose", "files-from", "models.pull.name", "models.import.name"}
ONE_RUN |= {"pairs.scan.out"}
"""Options for one run, or that a folder from elsewhere must not set; some with their commands."""
REPLACES = {
    "ratio": ("exposure",),
    "exposure": ("ratio",),
    "strength": ("luma", "chroma"),
    "model": ("quality",),
    "models": ("quality",),
    "pretrained": ("quality",),
    "quality": ("model", "pretrained"),
}
"""Options whose default is dropped where another is set in a stronger place; for `quality`, only if
that is or has ``fast``."""

Table = Mapping[str, Any]


class Default(NamedTuple):
    """A value from a file, as on the command line, and where it is from."""

    option: str
    """Without its dashes."""
    value: str | bool | list[str]
    source: str
    """The file, and the preset if it is one's."""

    @property
    def text(self) -> str:
        """The value for people, as a file may have it."""
        if isinstance(self.value, bool):
            return str(self.value).lower()
        return self.value if isinstance(self.value, str) else ",".join(self.value)


class ConfiguredCommand(NamedTuple):
    """A command: its names (``pairs``, ``scan``), those beside each of them, and typer's object."""

    names: Sequence[str]
    beside: Sequence[Collection[str]]
    command: Any


def user_file() -> Path:
    """Return the path of the user's file; `LED_HOME` moves it."""
    import platformdirs

    home = os.environ.get("LED_HOME") or platformdirs.user_config_dir("led", appauthor=False)
    return Path(os.path.expanduser(home)) / FILE


def documents() -> list[tuple[Path, Table]]:
    """Read the files that exist: the user's, then that of the working folder.

    Raises UsageError if one cannot be read; a folder that cannot be searched is only warned of.
    """
    return [(path, _read(path)) for path in (user_file(), Path(FILE)) if is_there(path)]


def is_there(path: Path) -> bool:
    """Return whether a file exists; warns if nobody can tell, as with the home of another user."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        Output().warn(f"{path}: ignored, as its folder cannot be searched ({error.strerror})")
        return False
    return True


def _read(path: Path) -> Table:
    import tomllib

    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: is not a configuration file: remove or rename it")
        return tomllib.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # TOML's and Unicode's are values
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error


def presets(read: Sequence[tuple[Path, Table]]) -> list[str]:
    """Return the names of all presets; raises UsageError for one that cannot be asked for."""
    named = set[str]()
    for path, document in read:
        named.update(_table(path, PRESET, document.get(PRESET, {})))
        if NONE in named:
            name = f"{PRESET}.{NONE}"
            raise UsageError(f"{path}: {name}: --preset {NONE} ignores the files: rename it")
    return sorted(named)


def collect(
    command: ConfiguredCommand, preset: str | None, read: Sequence[tuple[Path, Table]]
) -> dict[str, Default]:
    """Return a command's defaults, by typer's names of its options.

    Raises UsageError for a key or preset that does not exist, or a value that does not fit.
    """
    if preset == NONE:
        return {}
    known = presets(read)
    if preset is not None and preset not in known:
        hint = _instead(preset, known)
        raise UsageError(f"no preset '{preset}'{hint or f' in {FILE}; led config show lists them'}")
    options = options_of(command)
    found: dict[str, Default] = {}
    for source, path, tables in _tables(preset, read):
        section = ""
        for name, beside in zip(command.names, command.beside, strict=True):
            _check(path, section, tables, beside, "command")
            section = f"{section}.{name}".strip(".")
            tables = _table(path, section, tables.get(name, {}))
        _check(path, section, tables, options, "option")
        for key, value in tables.items():
            parameter = options[key]
            where = f"{path}: {section}.{key}"
            given = _as_typed(where, value, parameter)
            try:
                parameter.process_value(typer.Context(command.command), given)
            except typer.TyperException as error:
                raise UsageError(f"{where}: {error.format_message().rstrip('.')}") from error
            found.pop(parameter.name, None)  # the last is that of the strongest place
            found[parameter.name] = Default(key, given, source)
    return found


def replaced(found: Mapping[str, Default], typed: Mapping[str, object]) -> set[str]:
    """Return the defaults that do not count, as another option is typed or of a stronger place."""
    values: list[tuple[str, object, str]] = [(name, value, "") for name, value in typed.items()]
    values[:0] = [(n, each.value, each.source) for n, each in found.items() if n not in typed]
    return {
        weaker
        for n, (name, value, source) in enumerate(values)
        for weaker, other, place in values[:n]
        if place != source
        and weaker in REPLACES.get(name, ())
        and Quality.FAST in str({name: value, weaker: other}.get("quality", Quality.FAST))
    }


def options_of(command: ConfiguredCommand) -> dict[str, Any]:
    """Return the options that a file can set, by name without dashes."""
    options = [param for param in command.command.params if param.param_type_name == "option"]
    named = {name[2:]: param for param in options for name in param.opts if name[:2] == "--"}
    section = ".".join(command.names)
    return {n: param for n, param in named.items() if not {n, f"{section}.{n}"} & ONE_RUN}


def _tables(
    preset: str | None, read: Sequence[tuple[Path, Table]]
) -> Iterator[tuple[str, Path, Table]]:
    """Go through the tables of commands, each with its source; later ones override."""
    for path, document in read:
        yield str(path), path, {k: v for k, v in document.items() if k != PRESET}
    for path, document in read if preset else ():
        named = _table(path, PRESET, document.get(PRESET, {}))
        own = _table(path, f"{PRESET}.{preset}", named.get(str(preset), {}))
        yield f"{path}, preset {preset}", path, own


def _table(path: Path, section: str, value: object) -> Table:
    if not isinstance(value, Mapping):
        raise UsageError(f"{path}: {section} must be a table: write [{section}]")
    return value


def _check(path: Path, section: str, table: Table, known: Collection[str], what: str) -> None:
    """Raise UsageError for a key that does not exist."""
    for key in table:
        if key in known:
            continue
        name = f"{section}.{key}".strip(".")
        if {key, name} & ONE_RUN and what == "option":
            raise UsageError(f"{path}: {name}: give --{key} on the command line, for one run")
        hint = _instead(key.replace("_", "-"), known)
        raise UsageError(f"{path}: {name}: no such {what}{hint or '; see led config init'}")


def _instead(word: str, known: Collection[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1)
    return f": did you mean '{close[0]}'?" if close else ""


def _as_typed(where: str, value: object, parameter: Any) -> str | bool | list[str]:  # noqa: ANN401
    """Return a value of TOML as the command line has it."""
    if getattr(parameter, "is_flag", False):
        if isinstance(value, bool):
            return value
        raise UsageError(f"{where}: takes true or false")
    several = parameter.multiple or parameter.nargs != 1
    values = value if isinstance(value, list) else [value]
    if any(isinstance(each, bool) or not isinstance(each, str | int | float) for each in values):
        raise UsageError(f"{where}: takes a text, a number or a list of them")
    texts = [os.path.expanduser(str(each)) for each in values]
    return texts if several else ",".join(texts)


class Chosen(NamedTuple):
    """What `--preset` and the files came to, for a command that is called."""

    context: typer.Context
    defaults: Mapping[str, Default]

    def replaced(self) -> set[str]:
        """Return the options whose default does not count."""
        params = self.context.params
        return replaced(self.defaults, {n: v for n, v in params.items() if self._typed(n)})

    def used(self) -> list[Default]:
        """Return the values that count."""
        without = self.replaced()
        return [d for n, d in self.defaults.items() if n not in without and not self._typed(n)]

    def explain(self, error: LedError) -> None:
        """Add to an error where the values are from whose options it names: advice names others."""
        said = str(error)
        for each in self.used():
            name, value = each.option, re.escape(each.text)
            about = rf"(^(--[\w-]+ and )*|leave (out )?)--{name}(?![\w-])"
            about += rf"|--{name} {value}(?![\w.-])|\bno {name} (is called )?'{value}'"
            if re.search(about, said):
                error.args = (f"{error} ({each.option} = {each.text} is from {each.source})",)

    def _typed(self, name: str) -> bool:
        return str(self.context.get_parameter_source(name)).endswith("COMMANDLINE")

    def announce(self, *, json: bool, quiet: bool) -> None:
        """Say which values are from where: as JSON before the results, else as a message."""
        used, output = self.used(), Output(json=json, quiet=quiet)
        if json and used:
            values = {each.option: {"value": each.value, "from": each.source} for each in used}
            output.result({"configuration": values})
        for place in dict.fromkeys(each.source for each in used):
            shown = [f"{each.option} = {each.text}" for each in used if each.source == place]
            output.info(f"from {place}: {', '.join(shown)}")


def _choose(context: typer.Context, value: str | None) -> Chosen | None:
    """Set the defaults of the command that is called; an eager option's callback."""
    if context.resilient_parsing:  # shell completion
        return None
    chain: list[Any] = [context]
    while chain[0].parent is not None:
        chain.insert(0, chain[0].parent)
    names = [str(each.info_name) for each in chain[1:]]
    groups = [getattr(each.command, "commands", names) for each in chain[:-1]]
    beside = [[name for name in group if name not in UNCONFIGURED] for group in groups]
    read = [] if value == NONE else documents()
    found = collect(ConfiguredCommand(names, beside, context.command), value, read)
    context.default_map = {name: default.value for name, default in found.items()}
    return Chosen(context, found)


PresetOption = Annotated[
    str | None,
    Option(
        f"--{PRESET}",
        metavar="NAME|none",
        help=f"Options of a preset in {FILE} ('led config'); none: ignore the file.",
        callback=_choose,
        is_eager=True,
        show_default=False,
    ),
]


def with_defaults(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--preset`, and its options the defaults of the files."""

    @wraps(function)
    def run(*arguments: object, preset: Chosen | None = None, **options: Any) -> None:  # noqa: ANN401
        if preset is not None:
            options |= {name: signature.parameters[name].default for name in preset.replaced()}
            preset.announce(json=bool(options.get("json")), quiet=bool(options.get("quiet", False)))
        try:
            function(*arguments, **options)
        except LedError as error:
            if preset is not None:
                preset.explain(error)
            raise

    own = inspect.Parameter(
        PRESET, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PresetOption
    )
    signature = inspect.signature(function, eval_str=True)
    run.__annotations__ = function.__annotations__ | {PRESET: PresetOption}
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), own]
    )
    return run
