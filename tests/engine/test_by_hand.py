"""
One parameter in the plane, with numbers worked by hand.

The loss of a batch c is ||w - c||^2 / 2, so its gradient at w is w - c and at w + eps it is w - c + eps.
"""

import pytest
import torch
from torch import nn

from hf_vasso import SharpnessAwareStep, get_method
from tests.engine.loops import LossPasses

W = (3.0, 4.0)


def gradients(method, clean_gradients, name="weight"):
    """What the base optimizer gets, for a series of clean gradients at an unmoving w."""
    w = nn.Parameter(torch.tensor(W, dtype=torch.float64))
    engine = SharpnessAwareStep(method, [(name, w)], torch.optim.SGD([w], lr=1.0), total_steps=9)
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
