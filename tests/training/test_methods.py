"""The table of fine-tuning methods, and recipes made of the user's options."""

from dataclasses import fields

import pytest

from ledcli.errors import UsageError
from ledcli.training.methods import METHODS, find_method, recipe_of


@pytest.mark.parametrize("name", METHODS)
def test_a_method_states_what_others_need_to_know(name):
    method = find_method(name)
    assert method.name == name and method.baseline
    assert set(method.cfas) <= {"bayer", "xtrans"}
    options = {field.name for field in fields(method.recipe_type)}
    assert {"iterations", "batch", "side", "seed"} <= options


def test_an_unknown_method_is_named_with_those_there_are():
    with pytest.raises(UsageError, match="'wavelets': choose led, adl, exposure, sid"):
        find_method("wavelets")


def test_an_option_that_is_not_given_is_left_to_the_method():
    recipe = recipe_of(METHODS["sid"], {"iterations": None, "batch": 4, "schedule": None})
    assert (recipe.iterations, recipe.batch) == (2000, 4)


def test_an_option_of_another_method_is_refused():
    with pytest.raises(UsageError, match="--schedule is for --method led"):
        recipe_of(METHODS["adl"], {"schedule": "led"})
