"""Presets: names, numbers, ranges and the words of every refusal."""

import inspect

import pytest

from hf_vasso import METHODS, Method, get_method
from hf_vasso.methods.asam import AdaptiveBall
from hf_vasso.methods.vasso import MovingAverage


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("none", {"rho": 0.0}),
        ("sam", {"rho": 0.05}),
        ("asam", {"rho": 0.5, "eta": 0.01}),
        ("vasso", {"rho": 0.05, "theta": 0.4}),
        ("fsam", {"rho": 0.05, "sigma": 1.0, "lmbda": 0.9}),
        ("vasso-asam", {"rho": 0.5, "theta": 0.4, "eta": 0.01}),
    ],
)
def test_default_numbers(name, numbers):
    assert get_method(name).numbers == numbers
    assert get_method(name).name == name


def test_the_table_above_covers_every_preset():
    marks = test_default_numbers.pytestmark[0]
    assert {name for name, _ in marks.args[1]} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_method_card_says_what_it_does_and_costs(name):
    card = inspect.getdoc(METHODS[name]) or ""
    assert "Cost:" in card
    for number in inspect.signature(METHODS[name]).parameters:
        assert f"{number}:" in card


@pytest.mark.parametrize("name", METHODS)
def test_every_number_of_a_preset_changes_the_method(name):
    for number, parameter in inspect.signature(METHODS[name]).parameters.items():
        changed = get_method(name, **{number: parameter.default / 2})
        assert changed.numbers[number] == parameter.default / 2
        assert changed != get_method(name)


@pytest.mark.parametrize(
    ("name", "numbers", "words"),
    [
        ("vaso", {}, "unknown method 'vaso', did you mean 'vasso'? Known: none, sam, asam, vasso, fsam, vasso-asam"),
        ("sam", {"theta": 0.5}, "method 'sam' does not use theta, got theta=0.5: it uses rho"),
        ("none", {"rho": 0.1}, "method 'none' does not use rho, got rho=0.1: it uses no numbers"),
        ("vasso", {"theta": 1.5}, "theta weighs the new gradient and must be in (0, 1], got 1.5"),
        ("vasso", {"theta": 0}, "theta weighs the new gradient and must be in (0, 1], got 0"),
        ("sam", {"rho": -0.1}, "rho is the radius of the perturbation and must be at least 0 and finite, got -0.1"),
        (
            "sam",
            {"rho": float("nan")},
            "rho is the radius of the perturbation and must be at least 0 and finite, got nan",
        ),
        ("sam", {"rho": "big"}, "rho is the radius of the perturbation and must be at least 0 and finite, got 'big'"),
        ("asam", {"eta": -1}, "eta is added to |w| and must be at least 0 and finite, got -1"),
        ("fsam", {"lmbda": 1.1}, "lmbda weighs the old average and must be in [0, 1], got 1.1"),
        (
            "fsam",
            {"sigma": float("inf")},
            "sigma is the share of the average that is taken away and must be at least 0 and finite, got inf",
        ),
    ],
)
def test_refusals(name, numbers, words):
    with pytest.raises(ValueError) as refusal:
        get_method(name, **numbers)
    assert str(refusal.value) == words


def test_a_method_put_together_by_hand_prints_readably():
    method = Method(direction=MovingAverage(0.2), geometry=AdaptiveBall(0.01), rho=0.3)
    assert repr(method) == (
        "Method(direction=MovingAverage(theta=0.2), geometry=AdaptiveBall(eta=0.01), schedule=EveryStep(), "
        "descent=None, rho=0.3, name='custom')"
    )
    assert method.numbers == {"rho": 0.3, "theta": 0.2, "eta": 0.01}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"direction": "vasso"}, "direction must be a Direction with its numbers, such as MovingAverage(theta=0.4)"),
        ({"direction": MovingAverage}, "for a direction, got <class 'hf_vasso.methods.vasso.MovingAverage'>"),
        ({"geometry": MovingAverage(0.4)}, "geometry must be a Geometry with its numbers"),
    ],
)
def test_parts_of_the_wrong_kind_are_refused(parts, words):
    with pytest.raises(ValueError) as refusal:
        Method(**parts)
    assert words in str(refusal.value)


def test_the_combination_is_its_two_halves():
    combined = get_method("vasso-asam", theta=0.3, eta=0.02, rho=0.1)
    assert (combined.direction, combined.geometry) == (MovingAverage(0.3), AdaptiveBall(0.02))
