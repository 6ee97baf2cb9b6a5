"""Presets: names, numbers, ranges and the words of every refusal."""

import inspect

import pytest

from hf_vasso import METHODS, Method, get_method
from hf_vasso.methods.aesam import WhereSharp
from hf_vasso.methods.asam import AdaptiveBall
from hf_vasso.methods.base import count_of_share
from hf_vasso.methods.esam import Sharpest
from hf_vasso.methods.gsam import MinusOrthogonal
from hf_vasso.methods.listing import main
from hf_vasso.methods.looksam import PlusKeptOrthogonal
from hf_vasso.methods.mesa import AverageTeacher
from hf_vasso.methods.msam import AgainstMomentum, OnlyPerturbed
from hf_vasso.methods.none import Never
from hf_vasso.methods.saf import PastLogits
from hf_vasso.methods.sagm import MeanOfBoth, ShiftedBall
from hf_vasso.methods.vasso import MovingAverage
from hf_vasso.methods.vasso_re import ReuseAtRandom, ReuseBetween

TWO_RULES = "k and p are two rules for when to ascend, got k=7 and p=0.5: give one of them"
SHARE = "ascent_fraction=0.5 makes the pass at w with a share of the examples, and "
EVERY = "{} is the number of steps from one ascent to the next and must be a whole number, at least 1, got "


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("none", {}),
        ("sam", {"rho": 0.01}),
        ("asam", {"rho": 0.03, "eta": 0.01}),
        ("vasso", {"rho": 0.01, "theta": 0.4}),
        ("fsam", {"rho": 0.01, "sigma": 1.0, "lmbda": 0.9}),
        ("sagm", {"rho": 0.01, "alpha": 0.001}),
        ("gsam", {"rho": 0.01, "rho_min": 0.002, "alpha": 0.4}),
        ("looksam", {"rho": 0.01, "alpha": 0.1, "k": 5}),
        ("aesam", {"rho": 0.01, "delta": 0.9, "lambda1": -1.0, "lambda2": 1.0}),
        ("ss-sam", {"rho": 0.01, "p": 0.5}),
        ("esam", {"rho": 0.01, "beta": 0.6, "gamma": 0.5}),
        ("msam", {"rho": 0.1}),
        ("saf", {"weight": 0.3, "tau": 5.0, "start": 1, "lag": 1}),
        ("mesa", {"weight": 0.8, "tau": 5.0, "start": 1.0}),
        ("vasso-re", {"rho": 0.01, "theta": 0.4, "k": 2}),
        ("vasso-free", {"rho": 0.01, "theta": 0.4}),
        ("vasso-asam", {"rho": 0.03, "theta": 0.4, "eta": 0.01}),
        ("vasso-aesam", {"rho": 0.01, "theta": 0.4, "delta": 0.9, "lambda1": -1.0, "lambda2": 1.0}),
        ("vasso-esam", {"rho": 0.01, "theta": 0.4, "beta": 0.6, "gamma": 0.5}),
        ("vasso-looksam", {"rho": 0.01, "theta": 0.4, "alpha": 0.1, "k": 5}),
        ("vasso-quarter", {"rho": 0.01, "theta": 0.4, "ascent_fraction": 0.25}),
    ],
)
def test_default_numbers(name, numbers):
    assert get_method(name).numbers == numbers
    assert get_method(name).name == name


def test_a_method_made_by_hand_has_the_rho_of_sam():
    assert Method().rho == get_method("sam").rho


def test_the_table_above_covers_every_preset():
    marks = test_default_numbers.pytestmark[0]
    assert {name for name, _ in marks.args[1]} == set(METHODS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gsam", ["2.0 for both bounds of rho", "adaptive=True", "alpha 0.6 and rho from 0.1 to 0.6"]),
        ("fsam", ["It is Friendly SAM", "Fisher SAM", "EMNLP 2022, arXiv 2210.05497"]),
        ("vasso", ["NeurIPS 2023", "arXiv 2309.15639", "arXiv 2509.02433"]),
    ],
)
def test_cards_tell_namesakes_and_sources_apart(name, words):
    card = " ".join((inspect.getdoc(METHODS[name]) or "").split())
    assert [word for word in words if word not in card] == []


def test_vasso_cites_both_of_its_papers():
    paper = get_method("vasso").paper
    assert paper is not None and "arXiv:2509.02433" in paper.bibtex and "arxiv.org/abs/2309.15639" in paper.bibtex


def test_what_holds_for_all_methods_is_listed(capsys):
    assert main([]) == 0
    assert "A step perturbs the parameters in the optimizer's parameter groups" in capsys.readouterr().out


@pytest.mark.parametrize("name", METHODS)
def test_method_card_says_what_it_does_and_costs(name):
    card = inspect.getdoc(METHODS[name]) or ""
    assert "Cost:" in card
    for number in inspect.signature(METHODS[name]).parameters:
        assert f"{number}:" in card


@pytest.mark.parametrize("name", METHODS)
def test_every_number_of_a_preset_changes_the_method(name):
    for number, parameter in inspect.signature(METHODS[name]).parameters.items():
        other = {"rho_min": 0.005, "p": 0.25, "k": 3, "decay": 0.9}.get(number, (parameter.default or 0) / 2)
        if name == "saf" and number in ("start", "lag"):
            continue  # they bound each other
        changed = get_method(name, **{number: other})
        assert changed.numbers[number] == other
        assert changed != get_method(name)


@pytest.mark.parametrize(
    ("name", "numbers", "words"),
    [
        ("vaso", {}, "unknown method 'vaso', did you mean 'vasso'? Known: " + ", ".join(METHODS)),
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
        ("gsam", {"rho_min": 0.1}, "rho_min is the lower bound of rho and must be in [0, 0.01], got 0.1"),
        (
            "looksam",
            {"k": 0},
            EVERY.format("k") + "0",
        ),
        (
            "looksam",
            {"k": 2.5},
            EVERY.format("k") + "2.5",
        ),
        ("looksam", {"k": 2, "ascent_every": 3}, "k and ascent_every are the same, got 2 and 3: give it once"),
        ("aesam", {"lambda1": float("inf")}, "lambda1 is a number of standard deviations and must be finite, got inf"),
        (
            "aesam",
            {"ascent_every": 2},
            "method 'aesam' decides in its own way when to ascend, got ascent_every=2: leave it out",
        ),
        (
            "sam",
            {"ascent_every": 0},
            EVERY.format("ascent_every") + "0",
        ),
        (
            "sam",
            {"ascent_fraction": 0.0},
            "ascent_fraction is the share of the examples in the pass at w and must be in (0, 1], got 0.0",
        ),
        (
            "sagm",
            {"ascent_fraction": 0.5},
            SHARE + "MeanOfBoth needs the gradient at w of all of them: leave one of the two out",
        ),
        (
            "aesam",
            {"ascent_fraction": 0.5},
            SHARE + "WhereSharp needs the norm over all of them: leave one of the two out",
        ),
        (
            "msam",
            {"ascent_fraction": 0.5},
            SHARE + "OnlyPerturbed makes a single pass: leave ascent_fraction out",
        ),
        (
            "none",
            {"ascent_fraction": 0.5},
            SHARE + "Never makes a single pass: leave ascent_fraction out",
        ),
        (
            "saf",
            {"lag": 2},
            "start is the epoch from which logits of lag 2 count and must be a whole number, at least 2, got 1",
        ),
        (
            "vasso-re",
            {"k": 7, "p": 0.5},
            "k and p are two rules for when to ascend, got k=7 and p=0.5: give one of them",
        ),
        ("sam", {"name": "vasso"}, "method 'sam' does not use name, got name='vasso': it uses rho"),
        ("mesa", {"tau": 0.0}, "tau is a temperature and must be above 0 and finite, got 0.0"),
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
        "descent=None, rho=0.3, rho_min=None, ascent_fraction=1.0, selection=None, extra_loss=None, name='custom')"
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


def test_equal_names_of_two_parts_are_told_apart():
    method = Method(geometry=ShiftedBall(0.001), descent=MinusOrthogonal(0.4), rho=0.1)
    assert method.numbers == {"rho": 0.1, "alpha": 0.001, "descent_alpha": 0.4}


@pytest.mark.parametrize(
    ("share", "total", "count"),
    [(1e-10, 4, 1), (0.07, 100, 7), (0.55, 100, 55), (0.28, 25, 7), (0.5, 3, 2), (0.01, 4, 1), (1.0, 7, 7)],
)
def test_a_share_is_rounded_up_from_what_it_is_on_paper(share, total, count):
    assert count_of_share(share, total) == count


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            {"schedule": Never(), "descent": MeanOfBoth()},
            "MeanOfBoth combines the gradients of two passes",
        ),
        ({"extra_loss": PastLogits(0.3, 5.0, 1, 1)}, "PastLogits adds to the loss of a single pass, and EveryStep"),
        (
            {"selection": Sharpest(0.5), "descent": MeanOfBoth()},
            "MeanOfBoth would mix gradients of different",
        ),
        ({"selection": Sharpest(0.5), "ascent_fraction": 0.5}, "ascent_fraction=0.5 leaves some out"),
        ({"selection": Sharpest(0.5), "schedule": Never()}, "Never does not make both passes"),
        (
            {"direction": MovingAverage(0.4), "schedule": OnlyPerturbed()},
            "MovingAverage is fed by gradients at w, and OnlyPerturbed makes none",
        ),
        (
            {"direction": MovingAverage(0.4), "schedule": ReuseBetween(2), "descent": PlusKeptOrthogonal(0.1)},
            "PlusKeptOrthogonal has its use at steps with the pass at w alone, and ReuseBetween makes none",
        ),
        (
            {"selection": Sharpest(0.5), "direction": MovingAverage(0.4), "schedule": ReuseBetween(2)},
            "ReuseBetween does not make both passes",
        ),
        (
            {"schedule": Never(), "direction": MovingAverage(0.4)},
            r"Never perturbs at no step, and direction=MovingAverage\(theta=0.4\) says how to: leave it out, or take",
        ),
        (
            {"schedule": Never(), "direction": AgainstMomentum()},
            r"and direction=AgainstMomentum\(\) says how to: leave it out, or take another schedule",
        ),
        (
            {"schedule": Never(), "geometry": AdaptiveBall(0.01)},
            r"Never perturbs at no step, and geometry=AdaptiveBall\(eta=0.01\) says how to: leave it out, or take",
        ),
        (
            {"schedule": Never(), "rho": 0.1, "rho_min": 0.0},
            "Never perturbs at no step, and rho_min=0.0 says how to: leave it out, or take another schedule",
        ),
        (
            {"schedule": Never(), "extra_loss": AverageTeacher(0.8, 5.0, 1.0, None), "direction": MovingAverage(0.4)},
            r"Never perturbs at no step, and direction=MovingAverage\(theta=0.4\) says how to",
        ),
        (
            {"descent": PlusKeptOrthogonal(0.1)},
            "PlusKeptOrthogonal has its use at steps with the pass at w alone, and EveryStep makes none",
        ),
    ],
)
def test_parts_that_make_no_sense_together(parts, words):
    with pytest.raises(ValueError, match=words):
        Method(**parts)


def test_without_a_perturbation_no_radius_is_told():
    assert Method(schedule=Never()).numbers == {}


@pytest.mark.parametrize("schedule", [ReuseBetween(2), ReuseAtRandom(0.5), OnlyPerturbed()])
def test_an_adversary_of_before_needs_a_direction_that_keeps_one(schedule):
    words = "perturbs along an adversary of before, and BatchGradient keeps none: take a direction that remembers"
    with pytest.raises(ValueError, match=words):
        Method(schedule=schedule)


def test_ascents_of_other_frequency():
    assert get_method("sam", ascent_every=3).numbers == {"rho": 0.01, "k": 3}
    assert get_method("vasso-re", ascent_every=3) == get_method("vasso-re", k=3)
    assert get_method("looksam", ascent_every=3) == get_method("looksam", k=3)
    assert get_method("vasso", ascent_every=4).passes == "1 + 1/k"
    assert get_method("vasso", ascent_every=4, ascent_fraction=0.5).mean_passes == 1.125
    assert get_method("vasso", ascent_every=4, ascent_fraction=0.5).passes == "1 + 1/k * ascent_fraction"
    assert get_method("vasso-re", p=0.25).passes == "1 + p"


@pytest.mark.parametrize(
    "method",
    [
        *map(get_method, METHODS),
        get_method("vasso-re", p=0.25),
        get_method("looksam", k=3),
        get_method("esam", gamma=0.3, ascent_every=4),
        get_method("vasso", ascent_every=4, ascent_fraction=0.5),
        get_method("ss-sam", p=0.2, ascent_fraction=0.5),
        Method(schedule=WhereSharp(0.9, -1.0, 1.0), selection=Sharpest(0.3)),
    ],
    ids=lambda method: f"{method.name}: {method.passes}",
)
def test_the_words_for_the_passes_are_their_number(method):
    most = {"share": 1.0}  # which the training decides
    assert eval(method.passes, {"__builtins__": {}}, method.numbers | most) == pytest.approx(method.mean_passes)


def test_the_combination_is_its_two_halves():
    combined = get_method("vasso-asam", theta=0.3, eta=0.02, rho=0.1)
    assert (combined.direction, combined.geometry) == (MovingAverage(0.3), AdaptiveBall(0.02))
