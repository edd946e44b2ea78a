"""The models at hand: the bundled ones and those installed on this machine, by name. No torch."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import platformdirs

import ledcli
from ledcli.errors import ModelError, OutputError
from ledcli.zoo.model_file import ModelSpec, read_spec, save_model
from ledcli.zoo.onnx_file import ONNX_SUFFIX
from ledcli.zoo.spec import LONGEST_NAME, NAME_RULE, is_name, short

if TYPE_CHECKING:
    import torch


REGISTRY = "registry.json"
"""In the folder of bundled models: which names stand for which file and CSA set."""


class FoundModel(NamedTuple):
    """A model file and the CSA set to use of it; `csa_set` is empty for a plain network."""

    path: Path
    csa_set: str


class Registry(NamedTuple):
    """The names of bundled models, in lower case, each with its file and CSA set.

    `defaults` has a name for each kind of sensor that there is a model for; `default` is Bayer's.
    """

    default: str
    names: dict[str, tuple[Path, str]]
    defaults: dict[str, str]


def bundled_dir() -> Path:
    """Folder of the models that come with `led`.

    In a wheel it lies inside the package; in a checkout and an editable install beside it.

    Raises
    ------
    ModelError
        When it is in neither place.
    """
    package = Path(ledcli.__file__).resolve().parent
    for folder in (package / "models", package.parent / "models"):
        if (folder / REGISTRY).is_file():
            return folder
    raise ModelError(
        f"the bundled models are missing: no models/{REGISTRY} in or beside {package}. "
        "Install led again."
    )


def read_registry() -> Registry:
    """Read the registry.

    Raises
    ------
    ModelError
        When it is missing or damaged.
    """
    path = bundled_dir() / REGISTRY
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {}
        defaults: dict[str, str] = {}
        for model in content["models"]:
            file, own = model["file"], model["names"]
            if Path(file).name != file:
                raise ValueError(f"'{file}' is not the name of a file beside it")
            for name in own:
                names[name.lower()] = (path.with_name(file), _csa_set(model, name))
            # Of another kind of sensor the first name stands for it.
            if "cfa" in model:
                defaults.setdefault(str(model["cfa"]), own[0].lower())
        default = content["default"].lower()
        if default not in names:
            raise ValueError(f"the default '{default}' is none of its names")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be understood ({error}). Install led again.") from error
    return Registry(default, names, {"bayer": default} | defaults)


def find_bundled(name: str | None = None) -> FoundModel:
    """Find the bundled model of a name in the registry, or the default.

    Raises
    ------
    ModelError
        When the file is missing or lacks the CSA set.
    """
    registry = read_registry()
    path, csa_set = registry.names[name or registry.default]
    if not path.is_file():
        raise ModelError(f"{path}: this bundled model is missing. Install led again.")
    csa_sets = read_spec(path).csa_sets
    if csa_set not in (csa_sets or ("",)):
        raise ModelError(
            f"{path}: has no CSA set '{csa_set}', which {REGISTRY} names. Install led again."
        )
    return FoundModel(path, csa_set)


def _csa_set(model: dict[str, object], name: str) -> str:
    """CSA set that `name` stands for: of the same name, unless `csa_sets` says otherwise."""
    csa_sets = model.get("csa_sets", {})
    if not isinstance(csa_sets, dict):
        raise ValueError("csa_sets must map names to CSA sets")
    return str(csa_sets.get(name, name))


__all__ = [
    "FoundModel", "ListedModel", "bundled_dir", "check_name", "find_bundled", "find_model",
    "free_name", "install_model", "installed_dir", "installed_models", "list_models",
    "listed_name", "remove_model",
]  # fmt: skip

SUFFIX = ".safetensors"
CHECKPOINT = ".checkpoint"
"""What `led finetune` leaves beside the models, under the name to be, until the tuning is done."""


class ListedModel(NamedTuple):
    """A name that can be given to `--model`, and what it stands for."""

    name: str
    path: Path
    csa_set: str
    bundled: bool
    default: bool


def installed_dir() -> Path:
    """Folder of the models installed on this machine; `LED_HOME` names another home for it."""
    home = os.environ.get("LED_HOME") or platformdirs.user_data_dir("led", appauthor=False)
    return Path(home).expanduser() / "models"


def make_installed_dir() -> Path:
    """Make the folder of installed models where it is not there; raises OutputError."""
    folder = installed_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror}): name another folder with LED_HOME"
        ) from error
    return folder


def find_model(name_or_path: str | Path | None = None) -> FoundModel:
    """Find the model that the user named.

    Parameters
    ----------
    name_or_path
        A path (it ends in `.safetensors` or `.onnx`, or holds a separator), or a name as
        `list_models` gives them, in upper or lower case; an installed model goes before a bundled
        one of its name.
        None is the bundled default.

    Returns
    -------
    FoundModel
        The file and the CSA set. A path stands for the file's first set.

    Raises
    ------
    ModelError
        When the name is unknown, the file is missing, or it lacks the CSA set.
    """
    if name_or_path is None:
        name_or_path = read_registry().default
    text = os.fspath(name_or_path)
    file = text.endswith((SUFFIX, ONNX_SUFFIX)) or re.search(r"[/\\]", text)
    if file or isinstance(name_or_path, Path):
        path = Path(text).expanduser()
        csa_sets = read_spec(path).csa_sets
        return FoundModel(path, csa_sets[0] if csa_sets else "")
    for name, path in installed_models():
        if name.lower() == text.lower():
            csa_sets = read_spec(path).csa_sets
            return FoundModel(path, csa_sets[0] if csa_sets else "")
    names = read_registry().names
    if text.lower() not in names:
        known = ", ".join([*names, *(name for name, _ in installed_models())])
        raise ModelError(
            f"no model is called '{text}'. There are: {known}; or give a path to a {SUFFIX} file."
        )
    return find_bundled(text.lower())


def list_models() -> list[ListedModel]:
    """All names that `find_model` knows: the bundled ones in their order, then the installed."""
    registry = read_registry()
    installed = list(installed_models())
    hidden = {name.lower() for name, _ in installed}
    models = [
        ListedModel(name, path, csa_set, bundled=True, default=name == registry.default)
        for name, (path, csa_set) in registry.names.items()
        if name not in hidden
    ]
    for name, path in installed:
        models.append(ListedModel(name, path, "", bundled=False, default=False))
    return models


def listed_name(found: FoundModel) -> str:
    """Return the name that `list_models` has for a model; for a file elsewhere, that of the file.

    Parameters
    ----------
    found
        From `find_model`.
    """
    file = found.path.resolve()
    for model in list_models():
        if model.path.resolve() == file and model.csa_set in ("", found.csa_set):
            return model.name
    return found.path.name


def installed_models() -> Iterator[tuple[str, Path]]:
    """Names and files of the models installed on this machine, damaged ones included."""
    folder = installed_dir()
    if folder.is_dir():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if not path.name.startswith("."):  # macOS leaves "._name" beside a copied file
                yield path.stem, path


def check_name(name: str) -> None:
    """Refuse a name under which no model can be installed, before the work that makes the model.

    Raises
    ------
    ModelError
        When it is not made of the letters that names are made of, or is taken, by an installed
        model or a bundled one.
    """
    if not is_name(name) or name.endswith(SUFFIX):
        raise ModelError(
            f"{short(name)} cannot name a model: names are made of {NAME_RULE}, begin with a "
            f"letter or digit, have {LONGEST_NAME} characters at most and no {SUFFIX}"
        )
    if name in read_registry().names:
        raise ModelError(f"'{name}' is a bundled model: choose another name")
    if name in _installed_names():
        raise ModelError(
            f"a model '{name}' is installed already: choose another name, "
            f"or remove it with 'led models rm {name}'"
        )


def free_name(name: str) -> str:
    """Return `name`, or where it is taken the first of `name-2`, `name-3`, ... that is not.

    Raises
    ------
    ModelError
        When it cannot name a model.
    """
    taken = {*_installed_names(), *read_registry().names}
    free, number = name, 1
    while free in taken:
        number += 1
        end = f"-{number}"
        free = name[: LONGEST_NAME - len(end)] + end
    check_name(free)
    return free


def install_model(name: str, spec: ModelSpec, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Put a model on the shelf, whole or not at all.

    Parameters
    ----------
    name
        What it is called from now on, in its description too. It must be free: of two runs that
        install under one name at once, one succeeds.
    spec, tensors
        As for `save_model`.

    Returns
    -------
    Path
        Its file.

    Raises
    ------
    ModelError
        When the name is taken or cannot be one, or the tensors are not those of the description.
    OutputError
        When the file cannot be written.
    """
    check_name(name)
    path = make_installed_dir() / f"{name}{SUFFIX}"
    try:
        save_model(path, dataclasses.replace(spec, name=name), tensors, overwrite=False)
    except FileExistsError:
        raise ModelError(
            f"a model '{name}' has been installed meanwhile: choose another name"
        ) from None
    return path


def remove_model(name: str) -> tuple[Path, ...]:
    """Take an installed model off the shelf: delete its file, damaged or not.

    The checkpoint of a stopped tuning of that name goes too, also where it is all there is.

    Returns
    -------
    tuple of Path
        The files that were.

    Raises
    ------
    ModelError
        When no installed model has that name; bundled ones stay.
    OutputError
        When a file cannot be deleted.
    """
    checkpoints = {path.stem: path for path in sorted(installed_dir().glob(f"*{CHECKPOINT}"))}
    models = dict(installed_models())
    names = list({**models, **checkpoints})
    same = [n for n in names if n == name] or [n for n in names if n.lower() == name.lower()]
    if len(same) != 1:
        if name.lower() in read_registry().names:
            raise ModelError(f"'{name}' comes with led: bundled models are not removed")
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
    # Some file systems do not tell upper from lower case.
    return {name.lower() for name, _ in installed_models()}
