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


@pytest.mark.parametrize(
    ("method", "option", "message"),
    [
        ("exposure", {"l1": -1}, "l1 must be 0 or more, not -1"),
        ("exposure", {"l1": float("nan")}, "l1 must be 0 or more"),
        ("sid", {"learning_rate": "fast"}, "learning_rate takes a number"),
        ("adl", {"best": 0}, "best must be 1 or more"),
        ("adl", {"modulated_from": -3}, "modulated_from must be 0 or more"),
        ("adl", {"target_until": 0.7, "sources_until": 0.7}, "target_until must be below"),
        ("adl", {"target_until": 0.8}, "target_until must be below sources_until"),
        ("adl", {"sources_until": 2}, "at most 1, not 0.3 and 2"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(method, option, message):
    with pytest.raises(UsageError, match=message):
        recipe_of(METHODS[method], option)


def test_a_whole_number_is_taken_where_a_fraction_may_be():
    recipe = recipe_of(METHODS["exposure"], {"l1": 2})
    assert recipe.l1 == 2 and isinstance(recipe.l1, float)


def test_an_option_of_another_method_is_refused():
    with pytest.raises(UsageError, match="--schedule is for --method led"):
        recipe_of(METHODS["adl"], {"schedule": "led"})
