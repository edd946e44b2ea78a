"""The models that come with `led`: the registry of their names. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import ledcli
from ledcli.errors import ModelError
from ledcli.zoo.modelfile import read_spec

REGISTRY = "registry.json"
"""In the folder of bundled models: which names stand for which file and CSA set."""


class FoundModel(NamedTuple):
    """A model file and the CSA set to use of it; `branch` is empty for a plain network."""

    path: Path
    branch: str


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
                names[name.lower()] = (path.with_name(file), _branch(model, name))
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
    path, branch = registry.names[name or registry.default]
    if not path.is_file():
        raise ModelError(f"{path}: this bundled model is missing. Install led again.")
    branches = read_spec(path).branches
    if branch not in (branches or ("",)):
        raise ModelError(
            f"{path}: has no CSA set '{branch}', which {REGISTRY} names. Install led again."
        )
    return FoundModel(path, branch)


def _branch(model: dict[str, object], name: str) -> str:
    """CSA set that `name` stands for: of the same name, unless `branches` says otherwise."""
    branches = model.get("branches", {})
    if not isinstance(branches, dict):
        raise ValueError("branches must map names to CSA sets")
    return str(branches.get(name, name))
