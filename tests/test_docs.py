"""The documentation is true: its examples run, and the commands and files it names exist."""

import re
from pathlib import Path

import pytest

import ledcli
from ledcli.cli.app import COMMANDS, DONE, load_command, run
from ledcli.training.finetune import FinetuneResult, Status
from ledcli.training.methods.led import LedMethod
from ledcli.training.settings import FinetuneSettings
from tests.pairs.scenes import pair_of, picture
from tests.shoot import make_raw

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture
def shoot(tmp_path, monkeypatch):
    """Make the folders that the examples name; what an example writes stays in `tmp_path`."""
    for folder in ("raw", "shots"):
        (tmp_path / folder).mkdir()
    make_raw(tmp_path / "raw" / "IMG_1.dng")
    pair_of(tmp_path / "shots", picture(1), iso=400)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def finetuned(monkeypatch):
    """Skip the training: `ledcli.finetune` checks its options only."""
    asked = []

    def finetune(pairs, **options):
        asked.append((pairs, FinetuneSettings(**options)))
        return FinetuneResult(Status.NOT_BETTER, "testcam", LedMethod, [])

    monkeypatch.setattr(ledcli, "finetune", finetune, raising=False)
    return asked


def test_the_python_examples_run_one_after_the_other(shoot, finetuned, capsys):
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "python-api.md").read_text(), re.DOTALL)
    names = {}
    for example in examples:
        exec(compile(example, "docs/python-api.md", "exec"), names)
    [photo] = names["results"]
    assert photo.status == "done"
    assert photo.outputs == [Path("denoised/IMG_1.dng")]
    assert names["clean"].shape == names["planes"].shape
    assert [pair for pair, _ in finetuned] == ["pairs.txt"]
    assert [group.model for group in names["evaluation"].means()] == ["noisy", "led-bayer/generic"]
    assert "noisy" in capsys.readouterr().out


def test_the_python_api_writes_what_the_command_writes(shoot):
    assert run(["denoise", "raw", "--ratio", "100", "--out", "command", "--quiet"]) == DONE
    ledcli.denoise("raw", out="api", ratio=100)
    command, api = (Path(folder, "IMG_1.dng").read_bytes() for folder in ("command", "api"))
    assert without_times(command) == without_times(api)
    [planned] = ledcli.denoise("raw", dry_run=True)
    assert planned.status == "planned"
    assert planned.outputs == [Path("denoised/IMG_1.dng")] and not Path("denoised").exists()


def without_times(dng: bytes) -> bytes:
    """Blank the times of the XMP record."""
    return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"", dng)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in DOCS.glob("*.md"))])
def test_every_command_and_option_in_a_page_exists(page):
    text = (ROOT / page).read_text()
    commands = {command.name: load_command(command.name) for command in COMMANDS}
    for name, rest in re.findall(r"(?:^    |`)led ([a-z]+)([^`#\n]*)", text, re.MULTILINE):
        assert name in commands, f"{page}: led {name}"
        command = commands[name]
        verbs = getattr(command, "commands", {})
        verb = rest.split()[0].strip(",|") if rest.split() else ""
        command = verbs.get(verb, command)
        known = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", rest):
            assert option in known | {"--help"}, f"{page}: led {name} {rest}"


def test_readme_lists_every_command():
    text = (ROOT / "README.md").read_text()
    table = text.partition("## Commands")[2].partition("\n## ")[0]
    for command in COMMANDS:
        [row] = re.findall(rf"^\| `led {command.name}\b.*$", table, re.MULTILINE)
        for verb in getattr(load_command(command.name), "commands", {}):
            assert verb in row


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_is_named_for_contributors_exists(page):
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:[\w.-]+/)*[\w-]+(?:/|\.(?:py|toml|json|md|txt|html)))(?:`|:)", text)
    assert len(named) > 10
    for name in named:
        new = "NAME" in name or name in NEW_FILES
        assert new or (ROOT / name).exists() or (ROOT / "ledcli" / name).exists(), name


NEW_FILES = {"ledcli/batch/cluster.py"}
"""Named as the place of something that does not exist yet."""


@pytest.mark.parametrize("page", sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")]), ids=str)
def test_every_local_link_leads_to_a_file(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in link:
            generated = page.parent == DOCS and link in ("commands.md", "contributing.md")
            assert generated or (page.parent / link).exists(), link
