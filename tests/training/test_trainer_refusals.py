"""What cannot work is refused when the trainer is built: the words of each refusal."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import DistributedType
from tiny_training import bert, sentences
from torch import nn

from hf_vasso import VassoTrainer
from hf_vasso.training import refusals

STEPS_IN_BACKWARD = "updates the weights during the backward pass, so there is no gradient to perturb along; "
USE_DDP = "use DistributedDataParallel (`accelerate launch --multi_gpu`)"


class Lomo(torch.optim.SGD):
    """An optimizer by LOMO's name."""


class AdaLomo(Lomo):
    """One by AdaLomo's."""


def two_gpus(trainer):
    trainer.args._n_gpu = 2


def deepspeed(trainer):
    trainer.is_deepspeed_enabled = True


def fsdp(version):
    def pretend(trainer):
        trainer.is_fsdp_enabled = True
        trainer.accelerator.state.fsdp_plugin = SimpleNamespace(fsdp_version=version)

    return pretend


def sharded_at_load_time(trainer):
    trainer.is_distributed_loading_by_transformers = True


def distributed_by(kind):
    def pretend(trainer):
        trainer.accelerator = SimpleNamespace(distributed_type=kind)

    return pretend


def parallel(**sizes):
    def pretend(trainer):
        trainer.accelerator = SimpleNamespace(
            distributed_type=DistributedType.NO, parallelism_config=SimpleNamespace(**sizes)
        )

    return pretend


def apex(trainer):
    trainer.use_apex = True


def given(optimizer_class):
    def pretend(trainer):
        trainer.optimizer = optimizer_class(trainer.model.parameters(), lr=0.1)

    return pretend


def given_the_class(optimizer_class):
    def pretend(trainer):
        trainer.optimizer_cls_and_kwargs = (optimizer_class, {})

    return pretend


def split_over_devices(trainer):
    trainer.is_model_parallel = True


@pytest.mark.parametrize(
    ("pretend", "words"),
    [
        (
            two_gpus,
            "2 GPUs are visible to one process, which makes the Trainer use DataParallel. Start one process per GPU "
            "with `accelerate launch`, or show it a single one with CUDA_VISIBLE_DEVICES=0",
        ),
        (deepspeed, f"DeepSpeed {STEPS_IN_BACKWARD}{USE_DDP}"),
        (fsdp(1), f"FSDP1 shards the weights, which is not supported yet; {USE_DDP}"),
        (fsdp(2), f"FSDP2 shards the weights, which is not supported yet; {USE_DDP}"),
        (
            sharded_at_load_time,
            f"the model was sharded at load time, which is not supported yet; load it whole and {USE_DDP}",
        ),
        (distributed_by(DistributedType.MEGATRON_LM), f"MEGATRON_LM runs its own training step; {USE_DDP}"),
        (distributed_by(DistributedType.XLA), f"XLA runs its own training step; {USE_DDP}"),
        (
            parallel(cp_size=2),
            f"cp_size=2 shards the inputs or the weights of a step; set it to 1 and {USE_DDP}",
        ),
        (
            parallel(cp_size=1, tp_size=4),
            f"tp_size=4 shards the inputs or the weights of a step; set it to 1 and {USE_DDP}",
        ),
        (
            parallel(cp_size=1, sp_size=2, tp_size=1),
            f"sp_size=2 shards the inputs or the weights of a step; set it to 1 and {USE_DDP}",
        ),
        (apex, "apex scales the loss out of sight; use the mixed precision of torch (`--fp16` or `--bf16`)"),
        (given(Lomo), f"Lomo {STEPS_IN_BACKWARD}take adamw_torch or adafactor"),
        (given(AdaLomo), f"AdaLomo {STEPS_IN_BACKWARD}take adamw_torch or adafactor"),
        (given_the_class(Lomo), f"Lomo {STEPS_IN_BACKWARD}take adamw_torch or adafactor"),
        (given_the_class(AdaLomo), f"AdaLomo {STEPS_IN_BACKWARD}take adamw_torch or adafactor"),
        (
            split_over_devices,
            f"the model is split over several devices by its device map; load it whole and {USE_DDP}",
        ),
    ],
)
def test_hardware_and_libraries_that_are_not_here(build, pretend, words):
    """A trainer that is built and then made to look as it would there."""
    trainer = build(bert(), sentences())
    refusals.refuse_unsupported(trainer, None)  # as it is, it is not refused
    pretend(trainer)
    with pytest.raises(ValueError) as refusal:
        refusals.refuse_unsupported(trainer, None)
    assert str(refusal.value) == f"sharpness-aware training cannot run here: {words}"


def test_processes_that_do_not_find_each_other(build, monkeypatch):
    """As `accelerate launch` starts them on a machine without a GPU."""
    trainer = build(bert(), sentences())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError) as refusal:
        refusals.refuse_unsupported(trainer, None)
    assert str(refusal.value) == (
        "sharpness-aware training cannot run here: 2 processes were started, but each of them would train alone, on "
        "all examples. Without a GPU pass use_cpu=True (`--use_cpu`), which lets them find each other"
    )


def test_sagemaker(build, monkeypatch):
    monkeypatch.setattr(refusals, "is_sagemaker_mp_enabled", lambda: True)
    with pytest.raises(ValueError, match="SageMaker model parallelism runs its own forward and backward passes; use "):
        build(bert(), sentences())


@pytest.mark.parametrize(
    ("optim", "remedy"),
    [
        ("lomo", "adamw_torch or adafactor"),
        ("adalomo", "adamw_torch or adafactor"),
        ("galore_adamw_layerwise", "galore_adamw"),
        ("galore_adamw_8bit_layerwise", "galore_adamw_8bit"),
        ("galore_adafactor_layerwise", "galore_adafactor"),
        ("apollo_adamw_layerwise", "apollo_adamw"),
    ],
)
def test_optimizers_that_step_in_the_backward_pass(build, optim, remedy):
    with pytest.raises(ValueError) as refusal:
        build(bert(), sentences(), optim=optim)
    assert f"{optim} {STEPS_IN_BACKWARD}take {remedy}" in str(refusal.value)


def test_momentum_sam_without_a_momentum(train):
    words = "msam follows the momentum of the base optimizer, and Adafactor keeps neither exp_avg nor momentum_buffer"
    with pytest.raises(ValueError, match=words):
        train(bert(), sentences(), method="msam", optim="adafactor")


def test_sparse_gradients(build):
    model = bert()
    model.bert.embeddings.word_embeddings = nn.Embedding(32, 16, sparse=True)
    with pytest.raises(ValueError) as refusal:
        build(model, sentences())
    assert str(refusal.value) == (
        "sharpness-aware training cannot run here: bert.embeddings.word_embeddings has sparse gradients, and a "
        "perturbation needs dense ones; build it with sparse=False"
    )


def test_frozen_embeddings_may_be_sparse(build):
    model = bert()
    model.bert.embeddings.word_embeddings = nn.Embedding(32, 16, sparse=True).requires_grad_(False)
    build(model, sentences())


def test_no_perturb_that_matches_nothing(build):
    words = "no_perturb matches no parameter, got 'lm_head'; the names look like bert"
    with pytest.raises(ValueError, match=words):
        build(bert(), sentences(), no_perturb="lm_head")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_stored_in_few_bits_are_warned_of_once(train, caplog, dtype):
    train(bert().to(dtype), sentences(), max_steps=2)
    said = [message for message in caplog.messages if message.startswith("Trainable weights are stored in")]
    assert len(said) == 1
    assert said[0].startswith(f"Trainable weights are stored in {str(dtype).removeprefix('torch.')}, which rounds off")
    assert said[0].endswith("load them in float32 and train with bf16=True.")


def test_frozen_weights_may_be_stored_in_few_bits(build, caplog):
    model = bert().float()
    model.bert.to(torch.bfloat16).requires_grad_(False)
    build(model, sentences())
    assert not [message for message in caplog.messages if "weights are stored" in message]


def test_the_stock_set_up_is_not_refused(build):
    assert isinstance(build(bert(), sentences()), VassoTrainer)
