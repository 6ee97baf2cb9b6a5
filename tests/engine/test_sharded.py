"""The engine on shards: two gloo processes with FSDP2 against one process with whole tensors."""

import os

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


def train(name, model, batches_of, passes, saved=None):
    """Weights, norms and state after some steps, the second half by an engine that loaded the first half's state."""
    method = get_method(name) if name == "none" else get_method(name, rho=0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    engine = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=STEPS)
    measured = []
    for step in range(STEPS):
        if step == STEPS // 2:
            state = engine.state_dict()
            engine = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=STEPS)
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

        def own_micro_batches(step):
            inputs, targets = examples(step)
            return [(inputs[i::4], targets[i::4]) for i in (rank, rank + 2)]

        found[name] = train(name, model, own_micro_batches, ShardedPasses(model))
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
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
