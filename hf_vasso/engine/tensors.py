"""Lists of tensors that may be shards: the only file that knows `DTensor`."""

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

__all__ = ["add_scaled_", "dot", "full", "is_sharded", "local", "norm", "place_like", "widen"]

_LONGEST_SUM = 2**20


def is_sharded(tensor: Tensor) -> bool:
    """Whether only a part of a tensor lies on this rank."""
    return isinstance(tensor, DTensor)


def local(tensors: list[Tensor]) -> list[Tensor]:
    """The part of each tensor that lies on this rank, sharing its memory."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def widen(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors themselves where they are fp32 or wider, else fp32 copies."""
    return [tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor for tensor in tensors]


def add_scaled_(targets: list[Tensor], tensors: list[Tensor], scale: Tensor) -> None:
    """targets += scale * tensors, in place, with a scale that lies on their device."""
    if scale.device.type == "cpu":
        torch._foreach_add_(targets, tensors, alpha=scale.item())
    else:  # reading the scale would wait for the device; a product costs a copy for a moment
        torch._foreach_add_(targets, torch._foreach_mul(tensors, scale))


def norm(tensors: list[Tensor], placed_like: list[Tensor]) -> Tensor:
    """
    The l2 norm over all tensors and all their shards.

    Args:
        tensors: Local shards, in the order of `placed_like`.
        placed_like: The parameters, which say how each tensor is sharded.

    Returns:
        A tensor without dimensions, equal on all ranks.
    """
    whole, sharded = _by_placement(tensors, placed_like)
    if not sharded:
        return _norm_of_whole(whole)
    norms = [_whole(torch.nn.utils.get_total_norm(sharded))]  # one collective for all shards of a mesh
    if whole:
        norms.append(_norm_of_whole(whole))
    return torch.linalg.vector_norm(torch.stack(norms))


def dot(left: list[Tensor], right: list[Tensor], placed_like: list[Tensor]) -> Tensor:
    """The inner product over all tensors and all their shards; arguments and result as for `norm`."""
    whole, sharded = _by_placement(list(torch._foreach_mul(left, right)), placed_like)
    sums = [torch.stack([product.sum() for product in whole]).sum()] if whole else []
    if sharded:
        sums.append(_whole(torch.stack([product.sum() for product in sharded]).sum()))
    return torch.stack(sums).sum()


def full(tensor: Tensor, placed_like: Tensor) -> Tensor:
    """A whole copy on the CPU of a tensor that is sharded like a parameter: a collective where it is."""
    if isinstance(placed_like, DTensor):
        tensor = _as_shard(tensor, placed_like).full_tensor()
    return tensor.detach().to("cpu", copy=True)


def place_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A copy of this rank's part of a whole tensor, on the device and in the placement of a parameter."""
    tensor = tensor.to(parameter.device, copy=True)
    if isinstance(parameter, DTensor):
        return distribute_tensor(tensor, parameter.device_mesh, parameter.placements).to_local()
    return tensor


def _norm_of_whole(tensors: list[Tensor]) -> Tensor:
    if tensors and tensors[0].device.type == "cpu":
        # torch's norm uses one core here, and adding up 10 million squares in fp32 it is off by 5e-4. BLAS is off by
        # up to 2e-4, by the kind of CPU, and in pieces by 4e-6, at the same speed.
        pieces = [piece for tensor in tensors for piece in tensor.flatten().split(_LONGEST_SUM)]
        return torch.stack([torch.dot(piece, piece) for piece in pieces]).sum().sqrt()
    return torch.nn.utils.get_total_norm(tensors)


def _by_placement(tensors: list[Tensor], placed_like: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    whole, sharded = [], []
    for tensor, parameter in zip(tensors, placed_like, strict=True):
        if isinstance(parameter, DTensor):
            sharded.append(_as_shard(tensor, parameter))
        else:
            whole.append(tensor)
    return whole, sharded


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _as_shard(tensor: Tensor, parameter: DTensor) -> DTensor:
    return DTensor.from_local(
        tensor, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )
