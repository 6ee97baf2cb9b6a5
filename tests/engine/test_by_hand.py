"""
One parameter in the plane, with numbers worked by hand.

The loss of a batch c is ||w - c||^2 / 2, so its gradient at w is w - c and at w + eps it is w - c + eps.
"""

import pytest
import torch
from torch import nn

from hf_vasso import Method, SharpnessAwareStep, get_method
from hf_vasso.methods.base import EveryKth
from hf_vasso.methods.gsam import MinusOrthogonal
from hf_vasso.methods.looksam import PlusKeptOrthogonal
from hf_vasso.methods.vasso import MovingAverage
from tests.engine.loops import LossPasses

W = (3.0, 4.0)


def gradients(method, clean_gradients, name="weight", total_steps=9):
    """What the base optimizer gets, for a series of clean gradients at an unmoving w."""
    w = nn.Parameter(torch.tensor(W, dtype=torch.float64))
    engine = SharpnessAwareStep(method, [(name, w)], torch.optim.SGD([w], lr=1.0), total_steps=total_steps)
    passes = LossPasses(lambda c: (w - c).square().sum() / 2)
    found = []
    for g in clean_gradients:
        engine.step([torch.tensor(W) - torch.tensor(g)], passes)
        found.append(tuple(w.grad.tolist()))
        assert tuple(w.tolist()) == W
    return found


def close(numbers):
    return pytest.approx(numbers, abs=1e-11)  # the guard 1e-12 in the norm shows at this size


def test_none_gets_the_clean_gradient():
    assert gradients(get_method("none"), [(3.0, 4.0)]) == [(3.0, 4.0)]


def test_sam_adds_rho_along_the_gradient():
    # g = (3, 4), ||g|| = 5, eps = 0.5 g / 5 = (0.3, 0.4)
    assert gradients(get_method("sam", rho=0.5), [(3.0, 4.0)]) == [close((3.3, 4.4))]


def test_vasso_follows_the_average():
    # d_0 = g_0 = (3, 4); d_1 = 0.75 (3, 4) + 0.25 (-5, 0) = (1, 3); ||d_1|| = sqrt(10), eps = 0.5 d_1 / sqrt(10)
    eps = (0.5 / 10**0.5, 1.5 / 10**0.5)
    found = gradients(get_method("vasso", rho=0.5, theta=0.25), [(3.0, 4.0), (-5.0, 0.0)])
    assert found == [close((3.3, 4.4)), close((-5 + eps[0], eps[1]))]


def test_asam_stretches_weights_by_their_size():
    # T = |w| + 1 = (4, 5), g = (3, 0): T g = (12, 0), T^2 g = (48, 0), eps = 0.5 (48, 0) / 12 = (2, 0)
    assert gradients(get_method("asam", rho=0.5, eta=1.0), [(3.0, 0.0)]) == [close((5.0, 0.0))]
    # T = |w| = (3, 4), g = (4, 3): T g = (12, 12), T^2 g = (36, 48), eps = sqrt(2) (36, 48) / (12 sqrt(2)) = (3, 4)
    assert gradients(get_method("asam", rho=2**0.5, eta=0.0), [(4.0, 3.0)]) == [close((7.0, 7.0))]


def test_asam_leaves_biases_on_the_ball():
    assert gradients(get_method("asam", rho=0.5), [(3.0, 4.0)], name="bias") == [close((3.3, 4.4))]


def test_fsam_takes_the_old_average_away():
    # The first step goes along g_0 = (3, 4), which starts m. The second along g_1 - m = (6, 8), after which
    # m = 0.5 (3, 4) + 0.5 (9, 12) = (6, 8). The third along g_2 - m = (6, 0) - (6, 8) = (0, -8).
    found = gradients(get_method("fsam", rho=0.5, lmbda=0.5), [(3.0, 4.0), (9.0, 12.0), (6.0, 0.0)])
    assert found == [close((3.3, 4.4)), close((9.3, 12.4)), close((6.0, -0.5))]


def test_fsam_average_as_the_authors_code_has_it():
    # nblt/F-SAM: after (1, 2, 3) and (2, 0, 1) with lambda 0.9 the average is (1.1, 1.8, 2.8)
    w = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    engine = SharpnessAwareStep(get_method("fsam"), [("weight", w)], torch.optim.SGD([w], lr=1.0), total_steps=2)
    for g in ([1.0, 2.0, 3.0], [2.0, 0.0, 1.0]):
        gradient = torch.tensor(g, dtype=torch.float64)
        engine.step([gradient], LossPasses(lambda batch: (w * batch).sum()))
    assert engine.state_dict()["parts"]["direction"]["tensors"]["weight"].tolist() == close([1.1, 1.8, 2.8])


def test_vasso_asam_is_the_average_on_the_stretched_ball():
    # d_1 = 0.5 (3, 0) + 0.5 (1, 0) = (2, 0); T = (4, 5): T d = (8, 0), T^2 d = (32, 0), eps = 0.5 (32, 0) / 8 = (2, 0)
    method = get_method("vasso-asam", rho=0.5, theta=0.5, eta=1.0)
    assert gradients(method, [(3.0, 0.0), (1.0, 0.0)]) == [close((5.0, 0.0)), close((3.0, 0.0))]


def test_sagm_takes_the_mean_and_enters_the_ball_from_below():
    # g = (3, 4): eps = (0.5 / 5 - 0.02) g = (0.24, 0.32), g_p = (3.24, 4.32), the mean is g + eps / 2
    assert gradients(get_method("sagm", rho=0.5, alpha=0.02), [(3.0, 4.0)]) == [close((3.12, 4.16))]


def test_gsam_takes_the_orthogonal_part_of_the_clean_gradient_away():
    # With every gradient along one line there is nothing orthogonal: g_p = (3.3, 4.4).
    assert gradients(get_method("gsam", rho=0.5, alpha=0.4), [(3.0, 4.0)]) == [close((3.3, 4.4))]
    # VASSO's direction makes it so: d_0 = (3, 0), d_1 = 0.5 (3, 0) + 0.5 (0, 3) = (1.5, 1.5), and with rho = sqrt(2)
    # eps = (1, 1), g = (0, 3), g_p = (1, 4). g . g_p / ||g_p||^2 = 12 / 17, g_perp = (-12 / 17, 3 - 48 / 17).
    method = Method(direction=MovingAverage(0.5), descent=MinusOrthogonal(0.4), rho=2**0.5)
    assert gradients(method, [(3.0, 0.0), (0.0, 3.0)])[1] == close((1 + 0.4 * 12 / 17, 4 - 0.4 * 3 / 17))


@pytest.mark.parametrize(("learning_rate", "rho"), [(1.0, 0.5), (0.5, 0.3), (0.0, 0.1)])
def test_rho_of_gsam_runs_with_the_learning_rate(learning_rate, rho):
    # rho_min is a fifth of 0.5, and the peak of the learning rate is 1.
    w = nn.Parameter(torch.tensor(W, dtype=torch.float64))
    optimizer = torch.optim.SGD([w], lr=1.0)
    optimizer.param_groups[0]["lr"] = learning_rate
    engine = SharpnessAwareStep(get_method("gsam", rho=0.5), [("weight", w)], optimizer, total_steps=9)
    result = engine.step([torch.zeros(2)], LossPasses(lambda c: (w - c).square().sum() / 2), measure=True)
    assert result.perturbation_norm.item() == close(rho)


def test_looksam_adds_the_kept_part_in_between():
    # d_2 = 0.5 (3, 0) + 0.5 (0, 3): as for GSAM g = (0, 3), g_p = (1, 4), and g_p - (12 / 9) g = (1, 0) is kept. In
    # between g = (0, -2) becomes (0, -2) + 0.5 * 2 * (1, 0); the average of that step is never followed.
    method = Method(direction=MovingAverage(0.5), schedule=EveryKth(2), descent=PlusKeptOrthogonal(0.5), rho=2**0.5)
    found = gradients(method, [(3.0, 0.0), (3.0, 0.0), (0.0, 3.0), (0.0, -2.0)])
    assert found[2:] == [close((1.0, 4.0)), close((1.0, -2.0))]


def test_aesam_ascends_where_the_gradient_is_large():
    # delta 0.5, T = 4. Step 0: ||g||^2 = 25 = mu, s = 0: 25 >= 25. Step 1: 1; mu = 13, s^2 = 72, c = 0.5: 1 < 17.2.
    # Step 2: 16; mu = 14.5, s^2 = 36 + 1.125, c = 0: 16 >= 14.5. Step 3: 9; mu = 11.75, s^2 = 18.5625 + 3.78125,
    # c = -0.5: 9 < 11.75 - 2.36 = 9.39.
    method = get_method("aesam", rho=0.5, delta=0.5)
    found = gradients(method, [(3.0, 4.0), (1.0, 0.0), (4.0, 0.0), (0.0, 3.0)], total_steps=4)
    assert found == [close((3.3, 4.4)), (1.0, 0.0), close((4.5, 0.0)), (0.0, 3.0)]


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_msam_goes_against_the_momentum(rho):
    w = nn.Parameter(torch.tensor(W, dtype=torch.float64))
    optimizer = torch.optim.SGD([w], lr=0.0, momentum=0.9)
    engine = SharpnessAwareStep(get_method("msam", rho=rho), [("weight", w)], optimizer, total_steps=2)
    passes = LossPasses(lambda c: (w - c).square().sum() / 2)
    for expected in ((3.0, 4.0), (3.0 - 0.6 * rho, 4.0 - 0.8 * rho)):  # v = (3, 4) after the first step
        engine.step([torch.zeros(2)], passes)
        assert tuple(w.grad.tolist()) == close(expected)
        optimizer.step()


@pytest.mark.parametrize("numbers", [{"k": 2}, {"p": 0.0}], ids=str)
def test_vasso_re_perturbs_along_the_average_of_before(numbers):
    # Step 0 ascends along (3, 4), whatever the coin says. Step 1 makes no pass at w: its gradient there, (-5, 0), does
    # not enter the average, and eps is (0.3, 0.4) again. So it is in step 2 without an ascent, else d = 0.75 (3, 4) +
    # 0.25 (-5, 0) = (1, 3).
    eps = (0.5 / 10**0.5, 1.5 / 10**0.5) if "k" in numbers else (0.3, 0.4)
    method = get_method("vasso-re", rho=0.5, theta=0.25, **numbers)
    found = gradients(method, [(3.0, 4.0), (-5.0, 0.0), (-5.0, 0.0)])
    assert found == [close((3.3, 4.4)), close((-4.7, 0.4)), close((-5 + eps[0], eps[1]))]


def test_vasso_free_is_fed_by_what_the_optimizer_gets():
    # Step 0 is not perturbed and gives d = (3, 4). Step 1: eps = (0.3, 0.4), g_p = (-4.7, 0.4), and
    # d = 0.5 (3, 4) + 0.5 (-4.7, 0.4) = (-0.85, 2.2), along which step 2 goes.
    norm = (0.85**2 + 2.2**2) ** 0.5
    found = gradients(get_method("vasso-free", rho=0.5, theta=0.5), [(3.0, 4.0), (-5.0, 0.0), (1.0, 0.0)])
    assert found == [(3.0, 4.0), close((-4.7, 0.4)), close((1 - 0.5 * 0.85 / norm, 0.5 * 2.2 / norm))]


def test_esam_takes_the_examples_whose_loss_rises_most():
    # Four examples with loss a w: the gradient at w is their mean, 1.5, so eps = rho = 0.5 and the loss rises by
    # 0.5 a. Half of them pay for the descent, those with 4 and 3, and the mean of their gradients is 3.5.
    w = nn.Parameter(torch.ones(1, dtype=torch.float64))
    method = get_method("esam", rho=0.5, beta=1.0, gamma=0.5)
    engine = SharpnessAwareStep(method, [("weight", w)], torch.optim.SGD([w], lr=1.0), total_steps=1)
    slopes = torch.tensor([4.0, -2.0, 3.0, 1.0])
    result = engine.step([(slopes,)], LossPasses(lambda batch: (batch[0] * w).mean()), measure=True)
    assert w.grad.item() == close(3.5)
    assert result.loss.item() == close(1.5)
    assert result.gap is None
    assert result.perturbation_norm.item() == close(0.5)
    assert (engine.passes, engine.forward_passes_alone) == (1.5, 1)


def test_esam_divides_by_the_probability_of_a_tensor():
    # One tensor is always drawn: eps = 0.5 / 0.25 along (3, 4) / 5 = (1.2, 1.6)
    assert gradients(get_method("esam", rho=0.5, beta=0.25, gamma=1.0), [(3.0, 4.0)]) == [close((4.2, 5.6))]
