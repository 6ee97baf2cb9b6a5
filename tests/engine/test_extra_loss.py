"""What is added to the loss, at the engine: what it keeps, and from what it cannot go on."""

import pytest
import torch

from hf_vasso import SharpnessAwareStep, get_method
from tests.engine.loops import EPOCH, LossPasses, examples, mean_square, two_layers, weights


def make(method, model, **engine):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = EPOCH | {"total_steps": 10} | engine
    return SharpnessAwareStep(method, model.named_parameters(), optimizer, **options), optimizer


def train(engine, optimizer, model, steps):
    for number in steps:
        engine.step([examples(number, next(model.parameters()).dtype)], LossPasses(mean_square(model)))
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_average_of_weights_in_few_bits_is_kept_in_more(dtype):
    """With the authors' decay: one of 16 bits would stay where it began."""
    model = two_layers(dtype)
    engine, optimizer = make(get_method("mesa", decay=0.9998), model)
    start = expected = weights(model).double()
    for number in range(6):
        expected = 0.9998 * expected + 0.0002 * weights(model).double()
        train(engine, optimizer, model, [number])
    kept = engine.state_dict()["parts"]["extra_loss"]["tensors"].values()
    found = torch.cat([tensor.flatten() for tensor in kept])
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-6 < 1e-5 < (found - start).abs().max()


SAVED_FOR = "the logits that saf saved are for lag 1 and 8 examples, and this training has lag {} and {} examples: "


@pytest.mark.parametrize(
    ("lag", "num_examples"), [(2, 8), (1, 7), (1, 9)], ids=["another_lag", "fewer_examples", "more_examples"]
)
def test_saf_goes_on_with_the_lag_and_the_examples_of_before(lag, num_examples):
    model = two_layers()
    engine, optimizer = make(get_method("saf"), model)
    train(engine, optimizer, model, range(3))
    other, _ = make(get_method("saf", lag=lag, start=2), model, num_examples=num_examples)
    with pytest.raises(ValueError, match=SAVED_FOR.format(lag, num_examples) + "resume with those of before, or star"):
        other.load_state_dict(engine.state_dict())


def test_a_state_that_was_loaded_stays_as_it_was():
    model = two_layers()
    engine, optimizer = make(get_method("saf"), model)
    train(engine, optimizer, model, range(3))
    state = engine.state_dict()
    other, optimizer = make(get_method("saf"), model)
    other.load_state_dict(state)
    before = state["parts"]["extra_loss"]["others"]["logits"].clone()
    train(other, optimizer, model, [3])
    assert torch.equal(state["parts"]["extra_loss"]["others"]["logits"], before)
    assert not torch.equal(other.state_dict()["parts"]["extra_loss"]["others"]["logits"], before)


def test_saf_must_know_the_number_of_examples():
    with pytest.raises(ValueError, match="saf keeps the logits of each example, got num_examples=0: give it"):
        make(get_method("saf"), two_layers(), num_examples=0)
