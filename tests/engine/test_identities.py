"""A method at the edge of its numbers is its neighbour."""

from itertools import combinations

import pytest
import torch
from torch import nn

from hf_vasso import METHODS, get_method
from tests.engine.loops import train, two_layers

SAM = get_method("sam", rho=0.2)


def of_unit_weights() -> nn.Module:
    """|w| = 1 everywhere, where ASAM without eta has T = 1."""
    model = two_layers()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sign_()
    return model


@pytest.mark.parametrize(
    ("edge", "neighbour"),
    [
        (get_method("vasso", rho=0.2, theta=1.0), get_method("sam", rho=0.2)),
        (get_method("fsam", rho=0.2, sigma=0.0), get_method("sam", rho=0.2)),
        (get_method("vasso-asam", rho=0.2, theta=1.0), get_method("asam", rho=0.2)),
        (get_method("sam", rho=0.0), get_method("none")),
        (get_method("asam", rho=0.0), get_method("none")),
        (get_method("vasso", rho=0.0), get_method("none")),
        (get_method("fsam", rho=0.0), get_method("none")),
        (get_method("vasso-asam", rho=0.0), get_method("none")),
        (get_method("sagm", rho=0.0, alpha=0.0), get_method("none")),
        (get_method("gsam", rho=0.2, rho_min=0.2, alpha=0.0), get_method("sam", rho=0.2)),
        (get_method("looksam", rho=0.2, k=1), get_method("sam", rho=0.2)),
        (get_method("looksam", rho=0.0), get_method("none")),
        (get_method("sam", rho=0.2, ascent_every=1), get_method("sam", rho=0.2)),
        (get_method("aesam", rho=0.2, lambda1=-1e9, lambda2=-1e9), get_method("sam", rho=0.2)),
        (get_method("aesam", rho=0.0), get_method("none")),
        (get_method("ss-sam", rho=0.2, p=1.0), get_method("sam", rho=0.2)),
        (get_method("ss-sam", rho=0.2, p=0.0), get_method("none")),
        (get_method("esam", rho=0.2, beta=1.0, gamma=1.0), get_method("sam", rho=0.2)),
        (get_method("vasso-esam", rho=0.2, theta=1.0), get_method("esam", rho=0.2)),
        (get_method("vasso-esam", rho=0.2, beta=1.0, gamma=1.0), get_method("vasso", rho=0.2)),
        (get_method("msam", rho=0.0), get_method("none")),
        (get_method("saf", weight=0.0), get_method("none")),
        (get_method("mesa", weight=0.0), get_method("none")),
        (get_method("vasso-re", rho=0.2, k=1), get_method("vasso", rho=0.2)),
        (get_method("vasso-re", rho=0.2, p=1.0), get_method("vasso", rho=0.2)),
        (get_method("vasso-free", rho=0.0), get_method("none")),
        (get_method("vasso-looksam", rho=0.2, theta=1.0), get_method("looksam", rho=0.2)),
        (get_method("vasso-looksam", rho=0.2, k=1), get_method("vasso", rho=0.2)),
        (get_method("vasso-aesam", rho=0.2, theta=1.0), get_method("aesam", rho=0.2)),
        (get_method("vasso-quarter", rho=0.2, ascent_fraction=1.0), get_method("vasso", rho=0.2)),
    ],
    ids=lambda method: f"{method.name}-{method.numbers}",
)
def test_bit_for_bit(edge, neighbour):
    assert torch.equal(train(edge), train(neighbour))


def test_asam_without_eta_on_unit_weights_is_sam():
    # One step, since the weights leave the unit cube; SGD's step is large enough to show a difference.
    found = train(get_method("asam", rho=0.2, eta=0.0), steps=1, model=of_unit_weights(), lr=0.5)
    expected = train(get_method("sam", rho=0.2), steps=1, model=of_unit_weights(), lr=0.5)
    assert (found - expected).abs().max() < 1e-14  # the order of the products
    assert (found - train(get_method("none"), steps=1, model=of_unit_weights(), lr=0.5)).abs().max() > 1e-2


def test_sagm_without_alpha_is_the_mean_of_both_gradients():
    # One step of SGD without momentum from the same weights: half of the base's update and half of SAM's.
    found, base, sam = (
        train(method, steps=1) for method in (get_method("sagm", rho=0.2, alpha=0.0), get_method("none"), SAM)
    )
    assert (found - (base + sam) / 2).abs().max() < 1e-15


def test_every_two_presets_differ():
    trained = {name: train(get_method(name), steps=20) for name in METHODS}
    for one, other in combinations(trained, 2):
        assert (trained[one] - trained[other]).abs().max() > 1e-6, (one, other)
