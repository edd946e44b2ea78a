"""The methods of fine-tuning, by name. A new method is a new file here and one line below."""

from collections.abc import Mapping
from typing import Any

from ledcli.errors import UsageError
from ledcli.training.methods.adl import AdlMethod
from ledcli.training.methods.base import FinetuneMethod, FinetuneRecipe
from ledcli.training.methods.exposure import ExposureMethod
from ledcli.training.methods.led import LedMethod
from ledcli.training.methods.sid import SidMethod

METHODS: dict[str, type[FinetuneMethod]] = {
    method.name: method for method in (LedMethod, AdlMethod, ExposureMethod, SidMethod)
}


def find_method(name: str) -> type[FinetuneMethod]:
    """Return a method by its name; raises UsageError."""
    if name not in METHODS:
        raise UsageError(f"no method '{name}': choose {', '.join(METHODS)}")
    return METHODS[name]


def recipe_of(method: type[FinetuneMethod], options: Mapping[str, Any]) -> FinetuneRecipe:
    """Make a method's recipe of options by the names of its fields; None leaves one to the method.

    Raises UsageError if an option belongs to another method, or has a value that is not known.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for option in given:
        owners = [n for n, m in METHODS.items() if option in m.recipe_type.__dataclass_fields__]
        if not owners:
            known = ", ".join(method.recipe_type.__dataclass_fields__)
            raise UsageError(f"no option '{option}' of --method {method.name}: choose {known}")
        if method.name not in owners:
            raise UsageError(
                f"--{option.replace('_', '-')} is for --method {' or '.join(owners)}: leave it out"
            )
    return method.recipe_type(**given)
