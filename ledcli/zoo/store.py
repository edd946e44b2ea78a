"""The models at hand, by name: those bundled with led and those installed here. No torch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import platformdirs

import ledcli
from ledcli.errors import (
    LedError,
    ModelError,
    NoModelError,
    OutputError,
    TrainingError,
    UsageError,
)
from ledcli.output.atomic import acquire_lock, make_folder
from ledcli.zoo.model_file import ONNX_SUFFIX, read_spec, save_model
from ledcli.zoo.spec import MAX_NAME_LENGTH, NAME_RULE, ModelSpec, is_name, short

if TYPE_CHECKING:
    import torch

REGISTRY = "registry.json"
"""In the folder of bundled models: which names stand for which file and CSA set."""
FAST = "fast"
"""Quality of the small networks, in the registry and in the training record of a model."""
SUFFIX = ".safetensors"
CHECKPOINT = ".checkpoint"
"""What an unfinished `led finetune` leaves beside the installed models."""


@dataclass(frozen=True)
class ChosenModel:
    """The model chosen for a photo, or the one that a name stands for."""

    path: Path
    csa_set: str = ""
    """The CSA set to use; empty for a plain network."""
    name: str = ""
    """As `led models list` shows it; for a file elsewhere, the file's name."""
    sha256: str = ""
    """Hash of the file; only `NamedModel` and `BestModel` fill it in."""
    reason: str = "named"
    """Why this model, for people."""
    tuned: bool = False
    """Whether it is an installed model tuned to the photo's camera."""
    warnings: tuple[str, ...] = ()
    """One for each damaged installed model that was skipped."""

    def record(self) -> dict[str, str]:
        """Return what `--json` and the note inside an output say about the model."""
        return {
            "model": self.name,
            "model_file": self.path.name,
            "csa_set": self.csa_set,
            "sha256": self.sha256,
            "choice": self.reason,
        }


class Registry(NamedTuple):
    """The names of bundled models, in lower case."""

    names: dict[str, tuple[Path, str]]
    """Each with its file and CSA set."""
    defaults: dict[str, str]
    """The name of the default for each kind of sensor with a bundled model."""
    fast: dict[str, str]
    """The name of the default fast model for each kind of sensor that has one."""


class ListedModel(NamedTuple):
    """A name that `--model` accepts and what it stands for."""

    name: str
    path: Path
    csa_set: str
    bundled: bool
    default: bool


def bundled_dir() -> Path:
    """Folder of the bundled models, in the package or beside it; raises ModelError."""
    package = Path(ledcli.__file__).resolve().parent
    for folder in (package / "models", package.parent / "models"):
        if (folder / REGISTRY).is_file():
            return folder
    raise ModelError(
        f"the bundled models are missing: no models/{REGISTRY} in or beside {package}. "
        "Install led again."
    )


def read_registry() -> Registry:
    """Read the registry of bundled models; raises ModelError if it is missing or damaged."""
    path = bundled_dir() / REGISTRY
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names: dict[str, tuple[Path, str]] = {}
        defaults: dict[str, str] = {}
        fast: dict[str, str] = {}
        for model in content["models"]:
            file, own, sets = model["file"], model["names"], model.get("csa_sets", {})
            if Path(file).name != file:
                raise ValueError(f"'{file}' is not a plain file name")
            for name in own:
                # A name stands for the CSA set of the same name unless csa_sets says otherwise.
                names[name.lower()] = (path.with_name(file), str(sets.get(name, name)))
            if model.get("quality") == FAST:
                fast.setdefault(str(model.get("cfa", "bayer")), own[0].lower())
            elif "cfa" in model:
                defaults.setdefault(str(model["cfa"]), own[0].lower())
        default = content["default"].lower()
        if default not in names:
            raise ValueError(f"the default '{default}' is not one of its names")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be understood ({error}). Install led again.") from error
    return Registry(names, {"bayer": default} | defaults, fast)


def find_bundled(name: str | None = None) -> ChosenModel:
    """Find the bundled model of a name in the registry, or the default; raises ModelError."""
    registry = read_registry()
    name = name or registry.defaults["bayer"]
    path, csa_set = registry.names[name]
    if not path.is_file():
        raise ModelError(f"{path}: this bundled model is missing. Install led again.")
    if csa_set not in (read_spec(path).csa_sets or ("",)):
        raise ModelError(
            f"{path}: has no CSA set '{csa_set}', which {REGISTRY} names. Install led again."
        )
    return ChosenModel(path, csa_set, name)


def find_model(name_or_path: str | Path | None = None) -> ChosenModel:
    """Find the model that the user named.

    That is a path (it ends in `.safetensors` or `.onnx`, or contains a separator), or a name from
    `list_models` in upper or lower case. An installed model hides a bundled one of the same name.
    None is the bundled default. A file stands for its first CSA set. Raises ModelError when the
    name is unknown, the file is missing, or it lacks the CSA set.
    """
    if name_or_path is None:
        return find_bundled()
    text = os.fspath(name_or_path)
    is_file = text.endswith((SUFFIX, ONNX_SUFFIX)) or re.search(r"[/\\]", text)
    if is_file or isinstance(name_or_path, Path):
        path = Path(os.path.expanduser(text))
        csa_set = _first_set(path)
        same = (model for model in list_models() if model.path.resolve() == path.resolve())
        listed = (model.name for model in same if model.csa_set in ("", csa_set))
        return ChosenModel(path, csa_set, next(listed, path.name))
    for name, path in installed_models():
        if name.lower() == text.lower():
            return ChosenModel(path, _first_set(path), name)
    names = read_registry().names
    if text.lower() not in names:
        known = ", ".join([*names, *(name for name, _ in installed_models())])
        raise NoModelError(
            f"no model is called '{text}'. There are: {known}; or give a path to a {SUFFIX} file."
        )
    return find_bundled(text.lower())


def _first_set(path: Path) -> str:
    return next(iter(read_spec(path).csa_sets), "")


def list_models() -> list[ListedModel]:
    """List all names that `find_model` knows: the bundled ones in order, then the installed."""
    registry = read_registry()
    hidden = _installed_names()
    bundled = (
        ListedModel(name, path, csa_set, bundled=True, default=name == registry.defaults["bayer"])
        for name, (path, csa_set) in registry.names.items()
        if name not in hidden
    )
    return [*bundled, *(ListedModel(*model, "", False, False) for model in installed_models())]


def installed_dir() -> Path:
    """Folder of the models installed on this machine; `LED_HOME` moves it."""
    home = os.environ.get("LED_HOME") or platformdirs.user_data_dir("led", appauthor=False)
    return Path(os.path.expanduser(home)) / "models"


def cache_dir() -> Path:
    """Folder of what can be made again on this machine; `LED_HOME` moves it."""
    if home := os.environ.get("LED_HOME"):
        return Path(os.path.expanduser(home)) / "cache"
    return Path(platformdirs.user_cache_dir("led", appauthor=False))


def make_installed_dir() -> Path:
    """Create the folder of installed models if it is missing; raises OutputError."""
    folder = installed_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be created ({error.strerror}): name another folder with LED_HOME"
        ) from error
    return folder


def installed_models() -> Iterator[tuple[str, Path]]:
    """Names and files of the models installed on this machine, damaged ones included."""
    folder = installed_dir()
    if os.path.isdir(folder):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if not path.name.startswith("."):  # macOS leaves "._name" beside a copied file
                yield path.stem, path


def check_suffix(out: Path) -> None:
    """Raise UsageError if a model file is to be written under a name that `find_model` refuses."""
    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: a model file ends in {SUFFIX}: name it so with --out")


def check_name(name: str) -> None:
    """Refuse a name under which no model can be installed, before the work that makes the model.

    Raises ModelError when it has other characters than names may have, or is taken.
    """
    if not is_name(name) or name.endswith(SUFFIX):
        raise ModelError(
            f"{short(name)} cannot name a model: use {NAME_RULE}, begin with a letter or digit, "
            f"and keep to {MAX_NAME_LENGTH} characters without {SUFFIX}"
        )
    if name in read_registry().names:
        raise ModelError(f"'{name}' is a bundled model: choose another name")
    if name in _installed_names():
        raise ModelError(
            f"a model '{name}' is already installed: choose another name, "
            f"or remove it with 'led models rm {name}'"
        )


def free_name(name: str) -> str:
    """Return `name`, or the first free one of `name--2`, `name--3`, ...; raises ModelError.

    No camera's name has two dashes: ``nikon-z-6-2`` is that of the Z 6_2.
    """
    taken = {*_installed_names(), *read_registry().names}
    free, number = name, 1
    while free in taken:
        number += 1
        end = f"--{number}"
        free = name[: MAX_NAME_LENGTH - len(end)] + end
    check_name(free)
    return free


def alone_with(name: str) -> contextlib.AbstractContextManager[None]:
    """Let no other process tune a model of this name inside the block; raises TrainingError."""
    busy = f"another led finetune of '{name}' is running: wait until it ends, or give this one "
    return locked(cache_dir() / f"{name}.lock", TrainingError(f"{busy}another --name"))


@contextlib.contextmanager
def locked(path: Path, busy: LedError | None = None) -> Iterator[None]:
    """Lock a file inside the block; if another process has it, wait, or raise `busy`."""
    lock = None
    with contextlib.suppress(OSError, OutputError, NotImplementedError):  # no locks there
        make_folder(path.parent)
        lock = acquire_lock(path, wait=busy is None)
        if lock is None and busy is not None:
            raise busy
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def stopped_name(name: str) -> str | None:
    """Return the latest of `name`, `name--2`, ... of which there is a checkpoint of a tuning."""
    form = re.compile(rf"{re.escape(name)}(--\d+)?{re.escape(CHECKPOINT)}")
    found = [path for path in installed_dir().glob(f"*{CHECKPOINT}") if form.fullmatch(path.name)]
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else newest.name.removesuffix(CHECKPOINT)


def install_model(name: str, spec: ModelSpec, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Install a model, whole or not at all, and return its file.

    Its new name, which is written into its description too, must be free: of two runs that install
    under one name at once, one succeeds. Raises as `check_name` and `save_model`.
    """
    check_name(name)
    path = make_installed_dir() / f"{name}{SUFFIX}"
    try:
        save_model(path, dataclasses.replace(spec, name=name), tensors, overwrite=False)
    except FileExistsError:
        raise ModelError(
            f"another run has just installed a model '{name}': choose another name"
        ) from None
    return path


def remove_model(name: str) -> tuple[Path, ...]:
    """Delete an installed model, damaged or not, and the checkpoint of an unfinished tuning.

    Returns the deleted files. Raises ModelError when no installed model has that name, as bundled
    ones are never removed; OutputError when a file cannot be deleted.
    """
    checkpoints = {path.stem: path for path in sorted(installed_dir().glob(f"*{CHECKPOINT}"))}
    models = dict(installed_models())
    names = list({**models, **checkpoints})
    same = [n for n in names if n == name] or [n for n in names if n.lower() == name.lower()]
    if len(same) != 1:
        if name.lower() in read_registry().names:
            raise ModelError(f"'{name}' comes with led: bundled models cannot be removed")
        there = f"There are: {', '.join(names)}." if names else "There are none."
        raise ModelError(f"no installed model is called '{name}'. {there}")
    paths = tuple(files[same[0]] for files in (models, checkpoints) if same[0] in files)
    for path in paths:
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed ({error.strerror})") from error
    return paths


def _installed_names() -> set[str]:
    # Some file systems do not distinguish upper and lower case.
    return {name.lower() for name, _ in installed_models()}
