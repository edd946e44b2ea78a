import json
import os
import subprocess
import sys
import types

import pytest
import typer

from ledcli import __version__
from ledcli.cli import app as cli
from ledcli.cli.console import Output, PlainProgress, left_text, printable, rate_text, time_text
from ledcli.errors import RawError, UsageError


@pytest.fixture
def stand_in(monkeypatch):
    """Put a function in the place of a command's module."""

    def put(function, name="denoise"):
        module = types.ModuleType(f"ledcli.cli.{name}")
        setattr(module, name, function)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


def modules_after(*arguments):
    """Which modules a fresh `led ARGUMENTS` imports, and its exit status."""
    code = (
        "import sys, json; from ledcli.cli.app import run; "
        "status = run(sys.argv[1:]); "
        "print(json.dumps([status, list(sys.modules)]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )
    return json.loads(done.stderr.splitlines()[-1])


# Help, and how soon it comes.


def test_led_alone_shows_help(capsys):
    assert cli.run([]) == 0
    out, err = capsys.readouterr()
    assert "Usage: led" in out
    assert err == ""
    for command in cli.COMMANDS:
        assert command.name in out


@pytest.mark.parametrize("command", [c.name for c in cli.COMMANDS])
def test_every_command_has_help_with_examples(command, capsys):
    assert cli.run([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"led {command}" in out
    if command not in ("models", "pairs", "config"):  # nouns: their verbs have the examples
        assert "Examples" in out
        assert "----" not in out


@pytest.mark.parametrize(
    "noun,verb",
    [
        ("models", "list"),
        ("models", "info"),
        ("models", "rm"),
        ("pairs", "scan"),
        ("pairs", "check"),
        ("config", "show"),
        ("config", "path"),
        ("config", "init"),
    ],
)
def test_verbs_have_help_with_examples(noun, verb, capsys):
    assert cli.run([noun, verb, "--help"]) == 0
    assert f"led {noun} {verb}" in capsys.readouterr().out.split("Examples")[1]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([c.name, "--help"] for c in cli.COMMANDS)],
)
def test_help_does_not_import_torch(arguments):
    status, modules = modules_after(*arguments)
    assert status == 0
    assert "torch" not in modules
    assert "numpy" not in modules


def test_info_of_a_raw_does_not_import_torch(tmp_path):
    from tests.shoot import make_raw

    make_raw(tmp_path / "a.dng", shape=(64, 96), iso=800, exposure_time=0.01)
    status, modules = modules_after("info", tmp_path / "a.dng")
    assert status == 0
    assert "torch" not in modules


def test_listing_models_does_not_import_torch_or_onnx():
    _, modules = modules_after("models", "list")
    assert not {"torch", "onnx", "requests"} & set(modules)


def test_only_the_called_command_is_imported():
    _, modules = modules_after("--help")
    assert not {f"ledcli.cli.{c.name}" for c in cli.COMMANDS} & set(modules)


def test_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"led {__version__}\n"


def test_help_text_keeps_examples_and_drops_other_sections():
    text = cli.help_text(
        """Clean raws.

        One
        paragraph.

        Parameters
        ----------
        x
            hidden

        Examples
        --------
        A folder::

            led denoise ./raw
            led denoise ./more
        """
    )
    assert text == (
        "Clean raws.\n\nOne paragraph.\n\nExamples\n\nA folder:\n\n"
        "    led denoise ./raw\n    led denoise ./more"
    )


def test_completion_offers_the_commands():
    done = subprocess.run(
        [sys.executable, "-m", "ledcli"],
        env={
            **os.environ,
            "_LED_COMPLETE": "complete_bash",
            "COMP_WORDS": "led d",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["denoise", "demo", "doctor"]


# Exit statuses, and one line for every error.


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["dnoise"], "Did you mean 'denoise'?"),
        (["--nope"], "No such option: --nope"),
        (["models", "lst"], "See 'led models --help'"),
        (["models", "list", "--jsn"], "--json"),
        (["models", "info"], "Missing argument 'MODEL'"),
        (["models", "info", "nosuch"], "no model is called 'nosuch'"),
        (["denoise", ".", "--quality", "x"], "'--quality': 'x' is not one of"),
    ],
)
def test_bad_usage_is_status_2_and_one_line(arguments, words, capsys):
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("led: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize("value", ["inf", "nan", "-1"])
def test_every_option_for_a_number_refuses_what_is_none_or_below_0(value):
    checked = []
    for command in cli.COMMANDS:
        loaded = cli.load_command(command.name)
        for verb in getattr(loaded, "commands", {command.name: loaded}).values():
            for option in verb.params:
                kind = getattr(option, "type_descriptor", None)
                if kind and kind.annotation is float and option.name != "l1":  # its recipe checks
                    with pytest.raises(typer.TyperException):
                        option.process_value(typer.Context(verb), value)
                    checked.append(option.name)
    assert {"strength", "minutes", "faults", "learning_rate"} <= set(checked)


def raising(error):
    def denoise() -> None:
        raise error

    return denoise


@pytest.mark.parametrize(
    "error,status,line",
    [
        (
            RawError("a.nef: is cut off. Copy it again."),
            1,
            "led: a.nef: is cut off. Copy it again.",
        ),
        (
            UsageError("--a goes not with --b. Drop one."),
            2,
            "led: --a goes not with --b. Drop one.",
        ),
        (RawError("[red]\n\x1b[31m.nef"), 1, r"led: [red]\n\x1b[31m.nef"),
        (KeyboardInterrupt(), 130, "led: interrupted."),
        (
            ZeroDivisionError("one\ntwo"),
            1,
            "led: unexpected ZeroDivisionError: one. "
            "Please report it; LED_DEBUG=1 shows the trace.",
        ),
    ],
)
def test_an_error_is_one_line_and_a_status(stand_in, capsys, error, status, line):
    stand_in(raising(error))
    assert cli.run(["denoise"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err == line + "\n"


@pytest.mark.parametrize("error", [RawError("bad"), ZeroDivisionError("bad")])
def test_led_debug_shows_the_trace_and_keeps_the_status(stand_in, capsys, monkeypatch, error):
    monkeypatch.setenv("LED_DEBUG", "1")
    stand_in(raising(error))
    assert cli.run(["denoise"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_command_chooses_its_status(stand_in):
    stand_in(raising(typer.Exit(cli.FAILED)))
    assert cli.run(["denoise"]) == 1
    stand_in(raising(SystemExit(3)))
    assert cli.run(["denoise"]) == 3


def test_a_reader_that_goes_away_is_no_error():
    code = (
        "from ledcli.cli.console import Output\nfor _ in range(50_000): Output().result('x' * 50)"
    )
    program = (
        "import sys, types\n"
        "module = types.ModuleType('ledcli.cli.demo')\n"
        f"def demo() -> None: exec({code!r})\n"
        "module.demo = demo\n"
        "sys.modules[module.__name__] = module\n"
        "from ledcli.cli.app import run\n"
        "sys.exit(run(['demo']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--version", "denoise --help", "models list --json"])
def test_results_on_a_full_disk_are_one_line(words, unbuffered):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ledcli", *words.split()],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("led: standard output: cannot be written: the disk is full")


# What is printed where.


def test_json_is_one_valid_object_a_line(capsys):
    output = Output(json=True)
    output.result({"path": "a\nb\udcff", "psnr": float("nan"), "range": (1, 2)}, "for people")
    output.table(["a", "b"], [(1, 2), (3, 4)])
    output.info("note")
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert records[0] == {"path": "a\nb\udcff", "psnr": None, "range": [1, 2]}
    assert records[1:] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert err == "note\n"


def test_numpy_values_become_json(capsys):
    import numpy as np

    Output(json=True).result({"x": np.float32(1.5), "y": np.arange(3)})
    assert json.loads(capsys.readouterr().out) == {"x": 1.5, "y": [0, 1, 2]}


def test_a_table_is_aligned_and_never_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    Output().table(["NAME", "SIZE"], [("x" * 60, 7), ("[b]", 100)], right=["SIZE"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 60 + "     7"
    assert lines[2] == "[b]" + " " * 59 + " 100"


def test_quiet_leaves_results_warnings_and_errors(capsys):
    output = Output(quiet=True)
    output.info("i")
    output.hint("h")
    with output.progress(2, "denoising") as bar:
        bar.advance()
    output.warn("w")
    output.error("e")
    output.result("r")
    out, err = capsys.readouterr()
    assert out == "r\n"
    assert err == "led: warning: w\nled: e\n"


def test_a_long_error_stays_one_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    Output().error("x " * 200)
    assert capsys.readouterr().err.count("\n") == 1


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = Output().stderr
    with console.capture() as capture:
        console.print("text", style="red")
    assert "\x1b[31m" not in capture.get()


@pytest.mark.parametrize(
    "name,shown",
    [
        ("IMG_1.NEF", "IMG_1.NEF"),
        ("Müller – 日本.dng", "Müller – 日本.dng"),
        ("a\nb", r"a\nb"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("a\u202egpj", r"a\u202egpj"),
        ("a\udcff", r"a\udcff"),
    ],
)
def test_names_cannot_drive_the_terminal(name, shown):
    assert printable(name) == shown


def test_plain_progress_is_a_line_every_few_seconds():
    said, now = [], [0.0]
    bar = PlainProgress(said.append, 100, "denoising", "photos", clock=lambda: now[0])
    for _ in range(20):
        now[0] += 1
        bar.advance(note="a.nef")
    assert said == [
        "denoising: 2 of 100, 1.0 photos/s, 1:38 left, a.nef",
        "denoising: 7 of 100, 1.0 photos/s, 1:33 left, a.nef",
        "denoising: 12 of 100, 1.0 photos/s, 1:28 left, a.nef",
        "denoising: 17 of 100, 1.0 photos/s, 1:23 left, a.nef",
    ]


def test_plain_progress_counts_time_from_when_the_amount_of_work_is_known():
    said, now = [], [0.0]
    bar = PlainProgress(said.append, None, "denoising", "MP", clock=lambda: now[0])
    now[0] = 10
    bar.resize(24)
    now[0] = 12
    bar.advance(4.56)
    assert said == ["denoising: 4.6 of 24, 2.3 MP/s, 0:09 left"]


def test_plain_progress_of_small_photos_has_more_digits():
    said, now = [], [0.0]
    bar = PlainProgress(said.append, 0.0409, "denoising", "MP", clock=lambda: now[0])
    now[0] = 10
    bar.advance(0.0206)
    assert said == ["denoising: 0.021 of 0.041, 7.4 MP/h, 0:10 left"]


def test_no_time_left_is_shown_for_work_whose_end_is_late():
    assert [left_text(seconds) for seconds in (None, 0, 0.4, -1, 61)] == [*[""] * 4, "1:01 left"]


def test_rates_and_times_are_readable():
    assert rate_text(0.1, "photos") == "6.0 photos/min"
    assert rate_text(0.001, "photos") == "3.6 photos/h"
    assert rate_text(2, "") == "2.0/s"
    assert time_text(59.6) == "1:00"
    assert time_text(3725) == "1:02:05"


def test_a_tilde_after_an_equals_sign_is_the_home_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "a.dng").touch()
    for word in ("--out=~/x", "--name=~{stem}{ext}"):
        assert cli.run(["denoise", str(tmp_path / "a.dng"), "--dry-run", word]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"-> {tmp_path / 'home' / 'x' / 'a.dng'}")
    assert second.endswith(f"-> {tmp_path / 'denoised' / '~a.dng'}")
