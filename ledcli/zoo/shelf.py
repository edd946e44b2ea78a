"""The models at hand: the bundled ones and those installed on this machine, by name. No torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import platformdirs

import ledcli
from ledcli.errors import ModelError
from ledcli.zoo.modelfile import read_spec

REGISTRY = "registry.json"
"""In the folder of bundled models: which names stand for which file and CSA set."""

SUFFIX = ".safetensors"


class FoundModel(NamedTuple):
    """A model file and the CSA set to use of it; `branch` is empty for a plain network."""

    path: Path
    branch: str


class ListedModel(NamedTuple):
    """A name that can be given to `--model`, and what it stands for."""

    name: str
    path: Path
    branch: str
    bundled: bool
    default: bool


class _Registry(NamedTuple):
    default: str
    names: dict[str, tuple[Path, str]]  # name: file, CSA set


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


def installed_dir() -> Path:
    """Folder of the models installed on this machine; `LED_HOME` names another home for it."""
    home = os.environ.get("LED_HOME") or platformdirs.user_data_dir("led", appauthor=False)
    return Path(home).expanduser() / "models"


def find_model(name_or_path: str | Path | None = None) -> FoundModel:
    """Find the model that the user named.

    Parameters
    ----------
    name_or_path
        A path (it ends in `.safetensors` or holds a separator), or a name as `list_models` gives
        them, in upper or lower case; an installed model goes before a bundled one of its name.
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
        name_or_path = _registry().default
    text = os.fspath(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(SUFFIX) or re.search(r"[/\\]", text):
        path = Path(text).expanduser()
        branches = read_spec(path).branches
        return FoundModel(path, branches[0] if branches else "")
    for name, path in _installed():
        if name.lower() == text.lower():
            branches = read_spec(path).branches
            return FoundModel(path, branches[0] if branches else "")
    names = _registry().names
    if text.lower() not in names:
        known = ", ".join([*names, *(name for name, _ in _installed())])
        raise ModelError(
            f"no model is called '{text}'. There are: {known}; or give a path to a {SUFFIX} file."
        )
    path, branch = names[text.lower()]
    if not path.is_file():
        raise ModelError(f"{path}: this bundled model is missing. Install led again.")
    branches = read_spec(path).branches
    if branch not in (branches or ("",)):
        raise ModelError(
            f"{path}: has no CSA set '{branch}', which {REGISTRY} names. Install led again."
        )
    return FoundModel(path, branch)


def list_models() -> list[ListedModel]:
    """All names that `find_model` knows: the bundled ones in their order, then the installed."""
    registry = _registry()
    installed = list(_installed())
    hidden = {name.lower() for name, _ in installed}
    models = [
        ListedModel(name, path, branch, bundled=True, default=name == registry.default)
        for name, (path, branch) in registry.names.items()
        if name not in hidden
    ]
    for name, path in installed:
        models.append(ListedModel(name, path, "", bundled=False, default=False))
    return models


def _installed() -> Iterator[tuple[str, Path]]:
    folder = installed_dir()
    if folder.is_dir():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if not path.name.startswith("."):  # macOS leaves "._name" beside a copied file
                yield path.stem, path


def _registry() -> _Registry:
    path = bundled_dir() / REGISTRY
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {}
        for model in content["models"]:
            file, own = model["file"], model["names"]
            if Path(file).name != file:
                raise ValueError(f"'{file}' is not the name of a file beside it")
            for name in own:
                names[name.lower()] = (path.with_name(file), _branch(model, name))
        default = content["default"].lower()
        if default not in names:
            raise ValueError(f"the default '{default}' is none of its names")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be understood ({error}). Install led again.") from error
    return _Registry(default, names)


def _branch(model: dict[str, object], name: str) -> str:
    """CSA set that `name` stands for: of the same name, unless `branches` says otherwise."""
    branches = model.get("branches", {})
    if not isinstance(branches, dict):
        raise ValueError("branches must map names to CSA sets")
    return str(branches.get(name, name))
