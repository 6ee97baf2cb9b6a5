"""The engine on two gloo processes: with FSDP2 against one with whole tensors, and with ascents of each rank's own."""

import os
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from hf_vasso import SharpnessAwareStep, get_method
from tests.engine.loops import STEPWISE, LossPasses, examples, mean_square, two_layers, weights

STEPS = 4
RANKS = 2


class ShardedPasses(LossPasses):
    """Two micro-batches per step, gradients reduced in the last one; weights resharded before a forward pass."""

    def __init__(self, model: FSDPModule) -> None:
        assert isinstance(model, nn.Module)
        super().__init__(mean_square(model), micro_batches=2)
        self.model = model

    def backward(self, batch, sync):
        self.model.set_requires_gradient_sync(sync)
        return super().backward(batch, sync)


class ReplicatedPasses(LossPasses):
    """Two micro-batches per step, gradients averaged over both ranks when that is asked for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(mean_square(model), micro_batches=2)
        self.model = model

    def backward(self, batch, sync):
        loss = super().backward(batch, sync)
        for parameter in self.model.parameters() if sync else ():
            dist.all_reduce(parameter.grad)
            parameter.grad /= RANKS
        return loss


def own_examples(step, rank):
    """The two micro-batches of a rank."""
    inputs, targets = examples(step)
    return [(inputs[i::4], targets[i::4]) for i in (rank, rank + 2)]


def train_with_local_ascents(rank):
    """Weights after some steps of VASSO whose average is that of the rank."""
    model = two_layers()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    vasso, passes = get_method("vasso", rho=0.2), ReplicatedPasses(model)
    engine = SharpnessAwareStep(
        vasso, model.named_parameters(), optimizer, total_steps=STEPS, ascent_sync=False, rho_warmup_steps=0
    )
    for step in range(STEPS):
        engine.step(own_examples(step, rank), passes)
        optimizer.step()
    assert passes.syncs == [False, False, False, True] * STEPS
    return weights(model)


def train(name, model, batches_of, passes, saved=None):
    """Weights, norms and state after some steps, the second half by an engine that loaded the first half's state."""
    method = get_method(name) if name == "none" else get_method(name, rho=0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    engine = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=STEPS, rho_warmup_steps=0)
    measured = []
    for step in range(STEPS):
        if step == STEPS // 2:
            state = engine.state_dict()
            engine = SharpnessAwareStep(
                method, model.named_parameters(), optimizer, total_steps=STEPS, rho_warmup_steps=0
            )
            engine.load_state_dict(state)
        result = engine.step(batches_of(step), passes, measure=True)
        measured += [number.item() for number in (result.perturbation_norm, result.cosine) if number is not None]
        optimizer.step()
    whole = [p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()]
    return torch.cat([p.detach().flatten() for p in whole]), torch.tensor(measured), state


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    found = {}
    for name in STEPWISE:
        model = two_layers()
        for layer in (model[0], model[2]):
            fully_shard(layer)
        fully_shard(model)

        found[name] = train(name, model, partial(own_examples, rank=rank), ShardedPasses(model))
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    with pytest.raises(ValueError, match="ascent_sync=False .* the parameters are sharded: leave it out"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        SharpnessAwareStep(get_method("sam"), model.named_parameters(), optimizer, total_steps=1, ascent_sync=False)
    found["local ascents"] = train_with_local_ascents(rank)
    torch.save(found, f"{folder}/rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads can abort an orderly exit


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("sharded"))
    torch.multiprocessing.spawn(work, args=(folder,), nprocs=RANKS)
    return [torch.load(f"{folder}/rank{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.distributed
@pytest.mark.parametrize("name", [name for name in STEPWISE if get_method(name).selection is None])
def test_two_sharded_processes_equal_one_whole(ranks, name):
    model = two_layers()
    expected, measured, state = train(name, model, lambda step: [examples(step)], LossPasses(mean_square(model)))
    assert torch.equal(expected, weights(model))
    for found, found_measured, found_state in (ranks[0][name], ranks[1][name]):
        assert (found - expected).abs().max() < 1e-12  # the order of sums
        assert (found_measured - measured).abs().max() < 1e-6 if len(measured) else True
        kept = found_state["parts"]["direction"]["tensors"]
        assert kept.keys() == state["parts"]["direction"]["tensors"].keys()
        for key, tensor in kept.items():
            assert (tensor - state["parts"]["direction"]["tensors"][key]).abs().max() < 1e-12
    assert torch.equal(ranks[0][name][0], ranks[1][name][0])


@pytest.mark.distributed
def test_ascents_of_each_rank_equal_a_loop(ranks):
    model = two_layers()
    loss, parameters = mean_square(model), list(model.parameters())
    averages, momentum = [None] * RANKS, torch.zeros_like(weights(model))

    def gradient(step, rank, at):
        torch.nn.utils.vector_to_parameters(at, parameters)
        value = sum(loss(batch) for batch in own_examples(step, rank)) / 2
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)])

    w = weights(model)
    for step in range(STEPS):
        descents = []
        for rank in range(RANKS):
            g = gradient(step, rank, w)
            averages[rank] = g if averages[rank] is None else 0.6 * averages[rank] + 0.4 * g
            descents.append(gradient(step, rank, w + 0.2 * averages[rank] / averages[rank].norm()))
        momentum = 0.9 * momentum + sum(descents) / RANKS
        w = w - 0.05 * momentum
    for found in ranks:
        assert (found["local ascents"] - w).abs().max() < 1e-12
    assert (ranks[0]["vasso"][0] - w).abs().max() > 1e-6
