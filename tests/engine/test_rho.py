"""The warm-up of rho that a training has unless told otherwise."""

import pytest
import torch

from hf_vasso import SharpnessAwareStep, get_method
from tests.engine.loops import LossPasses, examples, mean_square, two_layers


@pytest.fixture(autouse=True)
def no_warm_up_of_rho_by_default() -> None:
    """Here it is what is tested."""


def norms(total_steps, **engine):
    """Norms of the perturbations of the first five steps, in units of rho."""
    model = two_layers()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    sam = get_method("sam", rho=0.2)
    step = SharpnessAwareStep(sam, model.named_parameters(), optimizer, total_steps=total_steps, **engine)
    passes = LossPasses(mean_square(model))
    return [step.step([examples(n)], passes, measure=True).perturbation_norm.item() / 0.2 for n in range(5)]


@pytest.mark.parametrize(
    ("total_steps", "shares"),
    [
        (30, [0, 1 / 3, 2 / 3, 1, 1]),
        (21, [0, 1 / 3, 2 / 3, 1, 1]),
        (20, [0, 1 / 2, 1, 1, 1]),
        (5, [0, 1, 1, 1, 1]),
        (0, [1, 1, 1, 1, 1]),
    ],
)
def test_rho_grows_over_a_tenth_of_the_steps_where_their_number_is_known(total_steps, shares):
    assert norms(total_steps) == pytest.approx(shares, abs=1e-9)
    assert norms(total_steps, rho_warmup_steps=None) == pytest.approx(shares, abs=1e-9)


def test_what_is_given_holds():
    assert norms(30, rho_warmup_steps=0) == pytest.approx([1] * 5)
    assert norms(30, rho_warmup_steps=2) == pytest.approx([0, 1 / 2, 1, 1, 1], abs=1e-9)


def test_a_schedule_of_rho_begins_where_the_warm_up_ends():
    assert norms(20, rho_scheduler_type="linear") == pytest.approx([0, 1 / 2, 1, 17 / 18, 16 / 18], abs=1e-9)
