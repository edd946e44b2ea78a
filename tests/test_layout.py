"""The shape of the package: which folder may import which, and no private dialect."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ledcli"
LEVELS = (
    "errors sensor noise nets metadata raw output zoo inference batch pairs training evaluation "
    "api cli"
).split()
"""From the bottom up: a folder imports from those before it only."""
DIALECT = (
    r"is a result of led's",
    r"from four sides",
    r"[Ll]ooks that the network takes",
    r"What the ratio brings past white",
    r"all that is drawn",
    r"another led is at work",
    r"this disk knows no locks",
    r"did not come to an end",
    r"is no file: passed over",
    r"Tell whether a file that had this stamp",
    r"looked at before they are kept",
    r"evening's work",
    r"what every second pixel differs by",
    r"\blanes?\b",
    r"\bsides\b",
    r"\bdraws\b",
    r"\bturning\b",
    r"\bheld\b",
    r"\bspecks?\b",
    r"\btodos?\b",
    r"\bshelf\b",
    r"\bremembered\b",
    r"\bwording\b",
    r"\b_?(MOST|LEAST|LARGEST|FEWEST)_",
)
"""Words and sentences that were replaced by standard terms; `allowed` names honest uses."""


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(name: str, path: Path) -> set[str]:
    """Return the modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    # `from ledcli import __version__` and the lazy exports of the package itself are no module.
    return {each for each in found if each in MODULES and each not in (name, "ledcli")}


GRAPH = {name: imports_of(name, path) for name, path in MODULES.items() if name != "ledcli"}


def level(name: str) -> int:
    part = name.split(".")[1]
    return LEVELS.index("cli" if part == "__main__" else part)


def test_imports_only_go_down():
    wrong = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if level(other) > level(name)
    ]
    assert not wrong


def test_there_is_no_import_circle():
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in GRAPH.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in GRAPH:
        visit(name, ())


def test_the_package_stays_small():
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in MODULES.values()}
    assert len(lines) <= 125
    assert sum(lines.values()) <= 23_500
    small = [path.name for path, n in lines.items() if n < 25 and path.name != "__init__.py"]
    assert small == ["__main__.py"]
    median = sorted(lines.values())[len(lines) // 2]
    assert 120 <= median <= 220


def texts() -> list[Path]:
    """Return code and documents that people read."""
    folders = (PACKAGE, ROOT / "docs", ROOT / "contrib")
    code = [p for f in folders if f.is_dir() for p in f.rglob("*") if p.suffix in (".py", ".md")]
    return [*code, *ROOT.glob("*.md"), *(ROOT / "models").glob("led-*.md")]


@pytest.mark.parametrize("words", DIALECT)
def test_the_old_dialect_is_gone(words):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(words, line)
    ]
    assert not found
