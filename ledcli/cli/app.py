"""The command table of `led`: mounts the commands and turns every outcome into an exit status.

A command is a function in a module of this package, and one line in `COMMANDS`. The module is
imported when its command is called, and imports torch and NumPy inside the function that needs
them, so that `--help` is fast. A command parses its options, calls the library (`ledcli.api` where
that has the function) and shows the result. A group (`led models list`) has a `typer.Typer` named
`app` instead of a function.

Foreseeable errors are raised as `LedError`; `run` prints them and picks the exit status. A command
that continues after a bad file prints the error with `Output.error` and ends with
`typer.Exit(FAILED)`. Examples in a command's docstring are shown by `--help`.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from types import FrameType
from typing import Annotated, Any, NamedTuple

import typer
from rich.markup import escape
from typer import Option
from typer.core import TyperCommand, TyperGroup

from ledcli import __version__
from ledcli.cli import options as opt
from ledcli.cli.console import Output, debugging
from ledcli.cli.defaults import UNCONFIGURED, with_defaults
from ledcli.errors import LedError, first_line
from ledcli.output.atomic import explain

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: all done; some inputs failed; bad usage; stopped by Ctrl-C."""
STOPPING = "stopping after the current {}; press Ctrl-C again to stop at once"
LOST = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Of writing to standard output: errors of other files are explained, or name the file."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Command(NamedTuple):
    """A row of the table: a command, what it does, and its module if that has another name."""

    name: str
    summary: str
    module: str = ""


COMMANDS = (
    Command("denoise", "Denoise raws to 16-bit DNG, PNG or TIFF."),
    Command("preview", "Compare options on crops of photos before a long run."),
    Command("pairs", "Find and check pairs of short and long frames."),
    Command("finetune", "Tune a model to a camera with pairs."),
    Command("pretrain", "Train a backbone over virtual cameras."),
    Command(
        "reparam", "Fold a tuned model into a plain network and verify the result.", "model_files"
    ),
    Command("models", "List, describe, fetch, import, export and remove models."),
    Command("info", "Show camera, ISO, time, exposure level and noise of raws."),
    Command("evaluate", "Measure PSNR and SSIM of models on SID, ELD, pairs or calibrated noise."),
    Command("config", "Set defaults and presets of options."),
    Command("demo", "Make a small test shoot and run every step on it."),
    Command("integrate", "Install the plug-in for darktable."),
    Command("doctor", "Check what this machine can do and that every backend is correct."),
)


def help_text(docstring: str) -> str:
    """Turn a numpydoc docstring into help: its text and examples, no other section.

    Lines of a paragraph are joined, so that the terminal wraps them.
    """
    text = inspect.cleandoc(docstring)
    sections = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    body = _joined(sections[0])
    for title, content in zip(sections[1::2], sections[2::2], strict=True):
        if title == "Examples":
            body += "\n\nExamples\n\n" + _joined(content)
    return body


def _joined(text: str) -> str:
    blocks = re.split(r"\n\s*\n", text.strip("\n"))
    for n, block in enumerate(blocks):
        if not re.search(r"^[ \b]", block, re.MULTILINE):
            blocks[n] = re.sub(r"::$", ":", " ".join(block.split()))
    return "\n\n".join(blocks)


def with_groups(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its groups in place of the arguments made of them."""
    signature = inspect.signature(function, eval_str=True)
    groups: dict[str, opt.Group] = {}
    parameters: list[inspect.Parameter] = []
    for each in signature.parameters.values():
        options = {each.name: (each.annotation, each.default)}
        for group in getattr(each.annotation, "__metadata__", ()):
            if isinstance(group, opt.Group):
                groups[each.name], options = group, dict(group.options)
        for name, (kind, default) in options.items():
            parameters.append(each.replace(name=name, annotation=kind, default=default))

    @wraps(function)
    def run(**options: object) -> None:
        for name, group in groups.items():
            options[name] = group.make(**{option: options.pop(option) for option in group.options})
        function(**options)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def load_command(name: str) -> Any:  # noqa: ANN401  (typer's command class is not public)
    """Import a command and return typer's object."""
    stem = next(command.module for command in COMMANDS if command.name == name) or name
    module = importlib.import_module(f"ledcli.cli.{stem}")
    app = getattr(module, "app", None)
    if not isinstance(app, typer.Typer):
        app = typer.Typer()
        app.command(name)(getattr(module, name))
    app._add_completion = False
    for verb in app.registered_commands:
        if verb.callback is not None and verb.help is None:
            verb.help = help_text(verb.callback.__doc__ or "")
            verb.callback = with_groups(verb.callback)
            if name not in UNCONFIGURED:
                verb.callback = with_defaults(verb.callback)
    command = typer.main.get_command(app)
    command.name = name
    _escape_markup(command)
    return command


def _escape_markup(command: Any) -> None:  # noqa: ANN401
    """Keep square brackets in help texts, such as ledcli[onnx]; rich would read them as markup."""
    for item in (command, *command.params):
        if getattr(item, "help", None):
            item.help = escape(item.help)
    for verb in getattr(command, "commands", {}).values():
        _escape_markup(verb)


class LazyGroup(TyperGroup):
    """Knows its commands by name and summary; imports a command when it is called."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  (handed on to typer)
        super().__init__(**settings)
        for name, summary, _ in COMMANDS:
            self.commands[name] = TyperCommand(name, help=summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:  # noqa: ANN401
        """Import the command that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(str(name)), rest


def _show_version(requested: bool) -> None:
    if requested:
        Output().result(f"led {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    name="led",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        Option("--version", "-V", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Denoise RAW photos taken in very little light.

    led denoise ./raw --ratio 100 writes a clean DNG for every raw in ./raw.
    """
    if context.invoked_subcommand is None:
        Output().result(context.get_help())


def _usage_line(problem: typer.TyperException) -> str:
    """Return typer's message as one line that names the matching help."""
    text = " ".join(problem.format_message().split()).replace(": Value error, ", ": ")
    context = getattr(problem, "ctx", None)
    path = context.command_path if context is not None else "led"
    return f"{text.rstrip('.')}{'' if text.endswith('?') else '.'} See '{path} --help'."


def _expanded(word: str) -> str:
    """Return ``--out=~/x`` with the home folder, as shells do for ``--out ~/x`` only."""
    option, equals, value = word.partition("=")
    return option + equals + os.path.expanduser(value) if option.startswith("--") else word


def run(arguments: Sequence[str]) -> int:
    """Run what follows `led` and return the exit status; no exception escapes."""
    output = Output()
    try:
        status = typer.main.get_command(app)(
            [_expanded(word) for word in arguments], prog_name="led", standalone_mode=False
        )
        sys.stdout.flush()
    except LedError as error:
        output.error(error)
        return error.exit_status
    except typer.TyperException as error:
        output.error(_usage_line(error))
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except SystemExit as leaving:  # shell completion ends this way
        status = DONE if leaving.code is None else leaving.code
        return status if isinstance(status, int) else FAILED
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in LOST:
            # What is still buffered must not raise at exit.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if error.errno != errno.EPIPE:  # the reader is gone (`| head`)
                output.error(f"standard output: cannot be written: {explain(error)}")
            return FAILED
        # A bug in led: still one line for the user.
        if debugging():
            output.trace(error)
        problem = f"{type(error).__name__}: {first_line(error)}"
        output.error(f"unexpected {problem}. Please report it; LED_DEBUG=1 shows the trace.")
        return FAILED
    if status == INTERRUPTED:
        output.error("interrupted.")
    return status if isinstance(status, int) else DONE


@contextmanager
def stoppable(on_stop: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; the second one ends the process.

    Calls `on_stop` when the first signal arrives; yields a function that returns whether it has.
    """
    requested = False
    # A shell ignores Ctrl-C for what it runs in the background; so does led then.
    handlers = ((number, signal.getsignal(number)) for number in STOP_SIGNALS)
    before = {number: handler for number, handler in handlers if handler != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        requested = True
        restore()
        on_stop()

    for number in before:
        signal.signal(number, request)
    try:
        yield lambda: requested
    finally:
        restore()


def quieten_libraries() -> None:
    """Hide warnings and log lines of libraries unless `LED_DEBUG` is set.

    They do not name the file; led prints its own line about it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (open until exit)
    # A name that the terminal cannot encode must not end the run.
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # streams replaced by tests may lack it
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if not debugging():
        logging.captureWarnings(True)
        logging.getLogger().addHandler(logging.NullHandler())
