"""What cannot work, said when the trainer is built: fact, value, remedy."""

import logging
import os
from typing import Any

import torch
from accelerate import DistributedType
from transformers import Trainer
from transformers.utils import is_sagemaker_mp_enabled

from hf_vasso.engine.parameters import check_no_perturb

__all__ = ["refuse_unsupported", "refuse_weights_of_each_process"]

logger = logging.getLogger(__name__)

_STEPS_IN_BACKWARD = "updates the weights during the backward pass, so there is no gradient to perturb along"


def refuse_unsupported(trainer: Trainer, no_perturb: str | None) -> None:
    """
    Raise for a set-up in which two passes cannot be made right, and warn once of one that is risky.

    Args:
        trainer: A trainer after its own `__init__`.
        no_perturb: The pattern that must match some of its parameters.

    Raises:
        ValueError: With what was found and what to do instead.
    """
    model = trainer.model
    assert model is not None
    for reason in (_distribution_fault(trainer), _optimizer_fault(trainer), _sparse_fault(model)):
        if reason is not None:
            raise ValueError(f"sharpness-aware training cannot run here: {reason}")
    has_own_optimizer = trainer.optimizer is not None or type(trainer).create_optimizer is not Trainer.create_optimizer
    if no_perturb is not None and not has_own_optimizer:  # such a one may hold more than the model: the engine checks
        named = dict(model.named_parameters())
        check_no_perturb(no_perturb, list(named), [name for name, p in named.items() if p.requires_grad])
    _warn_of_narrow_weights(model)


def refuse_weights_of_each_process(trainer: Trainer) -> None:
    """
    Raise where a perturbation would differ from process to process: DDP averages the gradients of the model alone.

    Args:
        trainer: A trainer with its model and optimizer ready.

    Raises:
        ValueError: Several processes, and the optimizer holds what is no part of the model, such as a loss's weights.
    """
    assert trainer.model is not None
    processes, of_model = trainer.accelerator.num_processes, set(map(id, trainer.model.parameters()))
    optimizer: Any = trainer.optimizer
    held = [p for group in optimizer.param_groups for p in group["params"]]
    outside = sum(id(parameter) not in of_model for parameter in held)
    if processes > 1 and outside:
        raise ValueError(
            f"the optimizer holds {outside} parameter(s) that the model does not have, such as a loss's weights, and "
            f"nobody averages their gradients over {processes} processes, so that each would perturb the model in its "
            "own way: make them a part of the model, or train on one process"
        )


def _distribution_fault(trainer: Trainer) -> str | None:
    kind = trainer.accelerator.distributed_type
    use_ddp = "use DistributedDataParallel (`accelerate launch --multi_gpu`)"
    if trainer.args.n_gpu > 1:
        return (
            f"{trainer.args.n_gpu} GPUs are visible to one process, which makes the Trainer use DataParallel. Start "
            "one process per GPU with `accelerate launch`, or show it a single one with CUDA_VISIBLE_DEVICES=0"
        )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1 and trainer.accelerator.num_processes == 1:
        return (
            f"{started} processes were started, but each of them would train alone, on all examples. Without a GPU "
            "pass use_cpu=True (`--use_cpu`), which lets them find each other"
        )
    if trainer.is_model_parallel:
        return f"the model is split over several devices by its device map; load it whole and {use_ddp}"
    if trainer.is_deepspeed_enabled:
        return f"DeepSpeed {_STEPS_IN_BACKWARD}; {use_ddp}"
    if is_sagemaker_mp_enabled():
        return f"SageMaker model parallelism runs its own forward and backward passes; {use_ddp}"
    if trainer.is_fsdp_enabled:
        version = getattr(trainer.accelerator.state.fsdp_plugin, "fsdp_version", 1)
        return f"FSDP{version} shards the weights, which is not supported yet; {use_ddp}"
    if getattr(trainer, "is_distributed_loading_by_transformers", False):
        return f"the model was sharded at load time, which is not supported yet; load it whole and {use_ddp}"
    if kind in (DistributedType.MEGATRON_LM, DistributedType.XLA):
        return f"{kind.value} runs its own training step; {use_ddp}"
    for name, size in _parallel_sizes(trainer).items():
        if size > 1:
            return f"{name}={size} shards the inputs or the weights of a step; set it to 1 and {use_ddp}"
    if getattr(trainer, "use_apex", False):
        return "apex scales the loss out of sight; use the mixed precision of torch (`--fp16` or `--bf16`)"
    return None


def _parallel_sizes(trainer: Trainer) -> dict[str, int]:
    parallelism = getattr(trainer.accelerator, "parallelism_config", None)
    return {name: getattr(parallelism, name, 1) or 1 for name in ("cp_size", "sp_size", "tp_size")}


def _optimizer_fault(trainer: Trainer) -> str | None:
    optim = str(getattr(trainer.args.optim, "value", trainer.args.optim))
    if "layerwise" in optim:
        return f"optim={optim} {_STEPS_IN_BACKWARD}; take {optim.removesuffix('_layerwise')}"
    given_class = (getattr(trainer, "optimizer_cls_and_kwargs", None) or [type(trainer.optimizer)])[0]
    for name in (optim, given_class.__name__):
        if "lomo" in name.lower():
            return f"{name} {_STEPS_IN_BACKWARD}; take adamw_torch or adafactor"
    return None


def _sparse_fault(model: torch.nn.Module) -> str | None:
    for name, module in model.named_modules():
        if (
            isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag))
            and module.sparse
            and module.weight.requires_grad
        ):
            return f"{name} has sparse gradients, and a perturbation needs dense ones; build it with sparse=False"
    return None


def _warn_of_narrow_weights(model: torch.nn.Module) -> None:
    narrow = (torch.bfloat16, torch.float16)
    found = {p.dtype for p in model.parameters() if p.requires_grad and p.dtype in narrow}
    if found:
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in found))
        logger.warning(
            "Trainable weights are stored in %s, which rounds off part of a perturbation (the loss gap is 3 to 9 %% "
            "too small at rho 0.05) and of the update: load them in float32 and train with bf16=True.",
            names,
        )
