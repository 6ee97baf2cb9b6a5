"""A method at the edge of its numbers is its neighbour."""

import pytest
import torch
from torch import nn

from hf_vasso import get_method
from tests.engine.loops import train, two_layers


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


def test_identities_compare_methods_that_differ_from_the_base():
    plain = train(get_method("none"))
    for name in ("sam", "asam", "vasso", "fsam", "vasso-asam"):
        assert (train(get_method(name, rho=0.2)) - plain).abs().max() > 1e-3
    assert (train(get_method("vasso", rho=0.2)) - train(get_method("sam", rho=0.2))).abs().max() > 1e-3
