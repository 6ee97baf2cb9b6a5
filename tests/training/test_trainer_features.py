"""
What users switch on in the Trainer, a row each, against two references: the stock Trainer and the method `none`.

A row's options go to three trainings that may differ in nothing: `none` and the stock Trainer with one micro-batch per
step, `sam` at rho 0 and `none` with several. `sam` with a large rho must differ, so that the perturbation was there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import datasets
import pytest
import torch
from model_families import FAMILIES, texts
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
from tiny_training import EVERY_STEP, PERTURBED, TRANSFORMERS_4, bert, distance, run, sentences
from torch.utils.data import IterableDataset
from transformers import (
    BertForMaskedLM,
    BertForMultipleChoice,
    EarlyStoppingCallback,
    Seq2SeqTrainer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
)

from hf_vasso import VassoSeq2SeqTrainer

DROPOUT = 0.1
EXAMPLES = 7  # two steps an epoch, of which the second has fewer examples
WHOLE = {"per_device_train_batch_size": 4, "max_steps": 3}
SPLIT = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 3}
LORA = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
# transformers 4.57 knows the old name alone
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
)
TIMES = ("runtime", "per_second", "_mem_")  # in the names of what differs between two equal trainings


@dataclass(frozen=True)
class Feature:
    """
    How a feature is switched on.

    Args:
        options: For `build_trainer`.
        model: Builds it, with dropout.
        data: Makes the training data.
        trainer_options: Makes further arguments of the Trainer, anew for each training.
        changes: By how much a rho of 0.3 changes the weights at the least.
    """

    options: dict[str, Any] = field(default_factory=dict)
    model: Callable[[], torch.nn.Module] = lambda: bert(DROPOUT)
    data: Callable[[], Any] = lambda: sentences(EXAMPLES)
    trainer_options: Callable[[], dict[str, Any]] = dict
    changes: float = PERTURBED


def in_fp32():
    return bert(DROPOUT).float()


def adapted(config):
    def build():
        torch.manual_seed(0)
        return get_peft_model(bert(DROPOUT), config).double()

    return build


def adapters_above_bf16():
    """A LoRA as PEFT makes one, with its adapters in fp32."""
    torch.manual_seed(0)
    model = get_peft_model(bert(DROPOUT).to(torch.bfloat16), LORA)
    model.classifier.float()  # PEFT leaves a copied head in the dtype of the base
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16, torch.float32}
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}
    return model


def head(model_class):
    def build():
        torch.manual_seed(0)
        return model_class(bert(DROPOUT).config).double()

    return build


def vit():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return ViTForImageClassification(
        ViTConfig(**sizes, image_size=8, patch_size=4, hidden_dropout_prob=DROPOUT)
    ).double()


def wav2vec2():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (4, 4), "conv_stride": (4, 4)}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    config = Wav2Vec2Config(**sizes, **convolutions, **positions, classifier_proj_size=8, mask_time_prob=0.0)
    return Wav2Vec2ForSequenceClassification(config).double()


def choices():
    return [
        {name: torch.stack([example[name], example[name].flip(0)]) for name in ("input_ids", "attention_mask")}
        | {"labels": example["labels"]}
        for example in sentences(EXAMPLES)
    ]


def several_labels():
    return [
        example | {"labels": torch.tensor([float(example["labels"]), 1.0 - example["labels"]])}
        for example in sentences(EXAMPLES)
    ]


def random_inputs(name, *shape):
    def make():
        generator = torch.Generator().manual_seed(0)
        return [
            {name: torch.randn(shape, generator=generator, dtype=torch.float64), "labels": number % 2}
            for number in range(EXAMPLES)
        ]

    return make


class Stream(IterableDataset):
    """Data without a length."""

    def __iter__(self):
        return iter(sentences(EXAMPLES))


def streamed():
    return datasets.IterableDataset.from_generator(lambda: iter(Stream()))


class Listener(TrainerCallback):
    """Gets what is logged, and stops the training at its second step."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        control.should_training_stop = state.global_step == 2 and "loss" in (logs or {})


def evaluation(**more):
    return lambda: {"eval_dataset": sentences(6), **more}


def of_batches(prediction, compute_result=True):
    return {"accuracy": (prediction.predictions.argmax(-1) == prediction.label_ids).double().mean().item()}


def constant(prediction):
    return {"constant": 0.0}


def of_texts(prediction):
    return {"first": float(prediction.predictions[:, 1].sum())}


EACH_STEP = {"eval_strategy": "steps", "eval_steps": 1}
BY_LENGTH = {"group_by_length": True} if TRANSFORMERS_4 else {"train_sampling_strategy": "group_by_length"}
SEQ2SEQ = FAMILIES["t5"].options

FEATURES = {
    # what is trained
    "dora": Feature(model=adapted(LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], use_dora=True))),
    "ia3": Feature(
        model=adapted(IA3Config(task_type="SEQ_CLS", target_modules=["key", "value"], feedforward_modules=[]))
    ),
    "prompt_tuning": Feature(
        model=adapted(
            PromptTuningConfig(
                task_type="SEQ_CLS", num_virtual_tokens=2, num_layers=2, token_dim=16, num_attention_heads=2
            )
        ),
        data=lambda: [
            example | {name: example[name][:-2] for name in ("input_ids", "attention_mask")}
            for example in sentences(EXAMPLES)
        ],
    ),
    "frozen_base_in_bf16": Feature({"bf16": True}, adapters_above_bf16),
    "masked_lm": Feature(model=head(BertForMaskedLM), data=lambda: texts(EXAMPLES)),
    "multiple_choice": Feature(model=head(BertForMultipleChoice), data=choices),
    "multi_label": Feature(
        model=lambda: bert(DROPOUT, problem_type="multi_label_classification"), data=several_labels
    ),
    "images": Feature(model=vit, data=random_inputs("pixel_values", 3, 8, 8)),
    "speech": Feature(model=wav2vec2, data=random_inputs("input_values", 160)),
    # batches
    "iterable": Feature(data=Stream),
    "streamed_datasets": Feature(data=streamed),
    "by_length": Feature(BY_LENGTH),
    "workers": Feature({"dataloader_num_workers": 1, "dataloader_drop_last": True}),
    "drop_last": Feature({"dataloader_drop_last": True}),
    "split_batches": Feature({"accelerator_config": {"split_batches": True}}),
    "dispatch_batches": Feature({"accelerator_config": {"dispatch_batches": True}}, data=Stream),
    "own_average": Feature({"average_tokens_across_devices": False}),
    "label_names": Feature({"label_names": ["labels"], **EACH_STEP}, trainer_options=evaluation()),
    "unused_columns": Feature({"remove_unused_columns": False}),
    # precision and speed
    "bf16": Feature({"bf16": True}, in_fp32),
    "reentrant": Feature({CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": True}}),
    "not_reentrant": Feature({CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": False}}),
    "empty_cache": Feature({"torch_empty_cache_steps": 1}),
    # optimizers
    "fused_adamw": Feature({"optim": "adamw_torch_fused"}),
    "adafactor": Feature({"optim": "adafactor"}),
    "adagrad": Feature({"optim": "adagrad"}),
    "rmsprop": Feature({"optim": "rmsprop"}),
    # the loop
    "cosine_warmup": Feature({"lr_scheduler_type": "cosine", "warmup_steps": 2}),
    "constant_with_warmup": Feature({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 2}),
    "plateau": Feature({"lr_scheduler_type": "reduce_lr_on_plateau", **EACH_STEP}, trainer_options=evaluation()),
    "no_clipping": Feature({"max_grad_norm": 0.0}),
    "weight_decay": Feature({"weight_decay": 0.1}),
    "neftune": Feature({"neftune_noise_alpha": 5.0}),
    "eval_on_start": Feature({"eval_on_start": True, **EACH_STEP}, trainer_options=evaluation()),
    "batch_eval_metrics": Feature(
        {"batch_eval_metrics": True, **EACH_STEP}, trainer_options=evaluation(compute_metrics=of_batches)
    ),
    "early_stopping": Feature(
        {"metric_for_best_model": "constant", **EACH_STEP},
        trainer_options=lambda: evaluation(compute_metrics=constant, callbacks=[EarlyStoppingCallback(1)])(),
    ),
    "callback": Feature(trainer_options=lambda: {"callbacks": [Listener()]}),
    "predict_with_generate": Feature(
        {"predict_with_generate": True, "generation_max_length": 4, **EACH_STEP, **SEQ2SEQ},
        lambda: FAMILIES["t5"].model(DROPOUT),
        lambda: texts(EXAMPLES),
        lambda: {"eval_dataset": texts(4), "compute_metrics": of_texts},
    ),
}


def history(training):
    """All that was logged, but for times and the keys of sharpness-aware training."""
    return [
        {
            key: value
            for key, value in entry.items()
            if not any(time in key for time in TIMES) and not key.startswith("sharpness/")
        }
        for entry in training.trainer.state.log_history
    ]


@pytest.fixture(params=FEATURES.values(), ids=FEATURES)
def feature(request):
    return request.param


def train_with(train, feature, **arguments):
    options = feature.options | arguments
    return train(feature.model(), feature.data(), trainer_options=feature.trainer_options(), **options)


def test_none_is_the_stock_trainer(train, feature):
    is_seq2seq = feature.options.get("trainer_class") is VassoSeq2SeqTrainer
    ours = train_with(train, feature, method="none", **WHOLE)
    theirs = train_with(train, feature, **WHOLE, trainer_class=Seq2SeqTrainer if is_seq2seq else Trainer)
    assert distance(ours.weights, theirs.weights) == 0.0
    assert history(ours) == history(theirs)


def test_rho_zero_is_none(train, feature):
    none = train_with(train, feature, method="none", **SPLIT)
    zero = train_with(train, feature, method="sam", rho=0.0, **SPLIT)
    assert distance(none.weights, zero.weights) == 0.0
    assert history(none) == history(zero)
    perturbed = train_with(train, feature, method="sam", rho=0.3, **SPLIT)
    assert distance(none.weights, perturbed.weights) > feature.changes


def resumed(train, build, model=lambda: bert(DROPOUT), resume_options=None, **options):
    """A training, and the same one resumed after its first step, in mid-epoch."""
    straight = train(model(), sentences(EXAMPLES), **EVERY_STEP, **options)
    trainer = build(model(), sentences(EXAMPLES), **options, **(resume_options or {}))
    return straight, run(trainer, f"{straight.trainer.args.output_dir}/checkpoint-1")


def test_resumed_adapters(train, build):
    method = {"method": "vasso", "rho": 0.3}
    straight, again = resumed(train, build, adapted(LORA), **method, **SPLIT)
    assert distance(straight.weights, again.weights) == 0.0
    assert straight.logs == again.logs
    none = train(adapted(LORA)(), sentences(EXAMPLES), method="none", **SPLIT)
    assert distance(straight.weights, none.weights) > PERTURBED


def test_resumed_at_other_data(train, build):
    """`ignore_data_skip` begins the epoch anew."""
    other = {"resume_options": {"ignore_data_skip": True}}
    straight, none = resumed(train, build, method="none", **other, **WHOLE)
    stock = resumed(train, build, trainer_class=Trainer, **other, **WHOLE)[1]
    zero = resumed(train, build, method="sam", rho=0.0, **other, **WHOLE)[1]
    perturbed = resumed(train, build, method="sam", rho=0.3, **other, **WHOLE)[1]
    assert distance(none.weights, stock.weights) == distance(none.weights, zero.weights) == 0.0
    assert distance(none.weights, straight.weights) > PERTURBED
    assert distance(none.weights, perturbed.weights) > PERTURBED
