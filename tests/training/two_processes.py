"""
Trainings that two processes and one must end alike; run by `test_two_processes.py` as

    torchrun --standalone --nproc_per_node 2 two_processes.py FOLDER

Each rank writes what it ended with to FOLDER/rank-<n>.pt.
"""

import copy
import math
import os
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import datasets
import torch
import torch.distributed as dist
from model_families import FAMILIES, IGNORED, SGD, t5
from observed_training import PassTrainer
from tiny_training import (
    OF_EACH_KIND,
    TRANSFORMERS_4,
    VOCABULARY,
    Training,
    bert,
    build_trainer,
    numbers,
    run,
    sentences,
)
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import SequentialSampler
from transformers import BertForTokenClassification, PreTrainedModel, Trainer, TrainerCallback

from hf_vasso import VassoSeq2SeqTrainingArguments, VassoTrainer
from hf_vasso.tasks.translation.trainer import TranslationTrainer

LOCAL_ASCENTS = numbers("vasso") | {"ascent_sync": False}
# Of each kind of thing that is kept.
RESUMED = {name: numbers(name) for name in ("vasso", "looksam", "aesam", "ss-sam", "esam", "saf")}
RESUMED["vasso, local ascents"] = LOCAL_ASCENTS
RESUMED_AT = 3
CAN_RESUME = not TRANSFORMERS_4  # 4.57 loads the optimizer to "cpu:0", which torch refuses
NAN_AT = 2


@dataclass(frozen=True)
class Case:
    """
    A training with 8 examples per step, of which each of two processes takes a half.

    Args:
        arguments: For `build_trainer`, on one process and on two.
        micro_batches: Of each process and step.
        family: Key of `FAMILIES`.
        count: Number of examples. With 30, the last step of an epoch has 4 on one rank and 2 on the other.
        accelerator: Entries of `accelerator_config`.
        alone: Micro-batches of the one process, where they are others.
    """

    arguments: dict[str, Any]
    micro_batches: int = 1
    family: str = "bert"
    count: int = 32
    accelerator: dict[str, Any] = field(default_factory=dict)
    alone: int | None = None

    def build(self, output_dir: Path, num_processes: int) -> Trainer:
        family = FAMILIES[self.family]
        micro_batches = self.alone if num_processes == 1 and self.alone is not None else self.micro_batches
        return build_trainer(
            output_dir,
            family.model(),
            family.data(self.count),
            per_device_train_batch_size=8 // num_processes // micro_batches,
            gradient_accumulation_steps=micro_batches,
            # No example is seen twice; a copy, since the Trainer writes into what it is given.
            accelerator_config={"even_batches": False, **copy.deepcopy(self.accelerator)},
            **family.options,
            **self.arguments,
        )


CASES = {
    "none": Case(numbers("none")),
    **{method: Case(numbers(method)) for method in ("fsam", "vasso-asam", "saf", "mesa", *OF_EACH_KIND)},
    "saf, uneven, accumulation": Case(numbers("saf"), micro_batches=2, count=30),
    "mesa, uneven, accumulation": Case(numbers("mesa"), micro_batches=2, count=30),
    # It chooses within each micro-batch, so the one process has to make the same ones.
    "esam": Case(numbers("esam"), alone=2),
    # With one example per micro-batch, ranks take the step's examples in turns: the first of each rank's four are the
    # first two of the eight. Of 31, the last step has 4 on one rank and 3 on the other.
    "vasso-quarter": Case(numbers("vasso-quarter"), micro_batches=4),
    "vasso-quarter, uneven": Case(numbers("vasso-quarter"), micro_batches=4, count=31),
    "vasso, local ascents": Case(LOCAL_ASCENTS, micro_batches=2),
    "none, accumulation": Case(numbers("none"), micro_batches=2),
    "vasso, accumulation": Case(numbers("vasso"), micro_batches=2),
    "vasso, uneven": Case(numbers("vasso"), count=30),
    "vasso, uneven, accumulation": Case(numbers("vasso"), micro_batches=2, count=30),
    "vasso, no search for unused": Case(numbers("vasso") | {"ddp_find_unused_parameters": False}, micro_batches=2),
    "gpt2, none": Case(numbers("none"), family="gpt2", count=30),
    "gpt2, vasso": Case(numbers("vasso"), family="gpt2", count=30),
    "gpt2, vasso, accumulation": Case(numbers("vasso"), micro_batches=2, family="gpt2", count=30),
}
if not TRANSFORMERS_4:  # 4.57 does not hand the setting on
    sync_each = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
    CASES["vasso, sync each batch"] = Case(numbers("vasso"), micro_batches=2, accelerator=sync_each)


class ReductionCounter(TrainerCallback):
    """Counts how often DDP averages the gradients; the tiny models fit into one of its buckets."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.count = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.model_wrapped.register_comm_hook(None, self.reduce)

    def reduce(self, group: dist.ProcessGroup, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        self.count += bucket.is_last()
        return allreduce_hook(group, bucket)


def ended(training: Training) -> dict[str, Any]:
    return {
        "weights": training.weights,
        "logs": training.logs,
        "num_processes": training.trainer.accelerator.num_processes,
        "wrapped_by": type(training.trainer.model_wrapped).__name__,
        "passes": training.trainer.sharpness_passes(),
    }


def train_case(name: str, output_dir: Path, num_processes: int) -> dict[str, Any]:
    trainer = CASES[name].build(output_dir, num_processes)
    if num_processes == 1:
        return ended(run(trainer))
    counter = ReductionCounter(trainer)
    trainer.add_callback(counter)
    return ended(run(trainer)) | {"reductions": counter.count}


def train_and_resume(name: str, folder: Path) -> dict[str, Any]:
    """With dropout and accumulation, straight to the end, and again from a checkpoint in the middle of an epoch."""
    arguments = RESUMED[name] | {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    saving = {"save_strategy": "steps", "save_steps": 1}
    straight = run(build_trainer(folder / "straight", bert(dropout=0.1), sentences(), **arguments, **saving))
    checkpoint = str(folder / "straight" / f"checkpoint-{RESUMED_AT}")
    resumed = run(build_trainer(folder / "resumed", bert(dropout=0.1), sentences(), **arguments), checkpoint)
    return {f"{name}, straight": ended(straight), f"{name}, resumed": ended(resumed)}


def evaluate(output_dir: Path, num_processes: int) -> float:
    """The evaluation loss of a model that has not trained."""
    batch_size = {"per_device_eval_batch_size": 8 // num_processes}
    trainer = build_trainer(output_dir, bert(), sentences(), **numbers("vasso"), **batch_size)
    return trainer.evaluate(sentences(24))["eval_loss"]


NAN_PASSES = {"at w": 2 * NAN_AT, "at w + eps": 2 * NAN_AT + 1}
"""The number of the pass whose loss is lost."""


def train_with_nan(output_dir: Path, num_processes: int, number: int) -> dict[str, Any]:
    """The loss of one pass is not a number: on the only process, or on the second of two alone."""
    trainer = build_trainer(
        output_dir,
        bert(),
        sentences(),
        trainer_class=PassTrainer,
        per_device_train_batch_size=8 // num_processes,
        **numbers("vasso"),
    )
    if trainer.accelerator.process_index == num_processes - 1:
        trainer.disturb = {number: lambda loss: loss * math.nan}
    return ended(run(trainer))


class MaskedMean(VassoTrainer):
    """A mean over the labels that count, 0/0 without one; the examples come in their order."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        labels = inputs.pop("labels")
        logits = model(**inputs).logits
        mask = labels.ne(IGNORED)
        losses = cross_entropy(logits.flatten(0, -2), labels.clamp(min=0).flatten(), reduction="none")
        return (losses * mask.flatten()).sum() / mask.sum()

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


# Micro-batches of two go to the ranks in turns: of the first step the second rank has no label at all, of the second
# one the first rank has some in its last micro-batch only, and of the third nobody has any.
WITHOUT_LABELS = {2, 3, 6, 7, 8, 9, *range(16, 24)}


def train_without_labels(output_dir: Path, num_processes: int, find_unused: bool) -> dict[str, Any]:
    """Micro-batches, ranks and a whole step without a label, with a loss that is then 0/0."""
    data = sentences(32)
    for index, example in enumerate(data):
        counted = (example["attention_mask"] == 1) & (index not in WITHOUT_LABELS)
        example["labels"] = torch.where(counted, example["input_ids"] % 2, IGNORED)
    torch.manual_seed(0)
    trainer = build_trainer(
        output_dir,
        BertForTokenClassification(bert().config).double(),
        data,
        trainer_class=MaskedMean,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4 // num_processes,
        ddp_find_unused_parameters=find_unused,
        num_train_epochs=1,
        **numbers("vasso"),
        **SGD,
    )
    return ended(run(trainer))


def translation_pairs() -> datasets.Dataset:
    """Pairs of 1 to 9 tokens a side, no two of them alike."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 10, (2, 24), generator=generator).tolist()
    sides = [[torch.randint(3, VOCABULARY, (n,), generator=generator).tolist() for n in side] for side in lengths]
    return datasets.Dataset.from_dict({"input_ids": sides[0], "labels": sides[1]})


class PairCollator:
    """Pads pairs for a model, and keeps which ones each batch held."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model
        self.batches: list[list[dict[str, Any]]] = []

    def __call__(self, pairs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        self.batches.append(pairs)
        ids = pad_sequence([torch.tensor(pair["input_ids"]) for pair in pairs], batch_first=True)
        targets = [torch.tensor(pair["labels"]) for pair in pairs]
        labels = pad_sequence(targets, batch_first=True, padding_value=IGNORED)
        shifted = self.model.prepare_decoder_input_ids_from_labels(labels)  # a label smoother takes the labels away
        return {"input_ids": ids, "attention_mask": ids.ne(0), "labels": labels, "decoder_input_ids": shifted}


def translate(output_dir: Path, num_processes: int) -> dict[str, Any]:
    """Two epochs of one smoothed step each, in batches by tokens; one process takes an epoch as one batch."""
    model = t5()
    collator = PairCollator(model)
    trainer = build_trainer(
        output_dir,
        model,
        translation_pairs(),
        trainer_class=TranslationTrainer,
        arguments_class=VassoSeq2SeqTrainingArguments,
        trainer_options={
            "data_collator": collator,
            "max_tokens": 20 if num_processes > 1 else 1000,
            "num_beams": 1,
            "score": lambda pairs, ids: {},
        },
        gradient_accumulation_steps=100,
        label_smoothing_factor=0.1,
        **numbers("vasso"),
        **SGD,
    )
    return ended(run(trainer)) | {"batches": collator.batches}


def main(folder: Path) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))  # who waits for the other in vain fails
    results = {name: train_case(name, folder / name, num_processes=2) for name in CASES}
    for name in RESUMED if CAN_RESUME else ():
        results |= train_and_resume(name, folder / name)
    for find in (False, True):
        name = f"without labels, {find}"
        results[name] = train_without_labels(folder / name, num_processes=2, find_unused=find)
    for where, number in NAN_PASSES.items():
        results[f"nan {where}"] = train_with_nan(folder / f"nan {where}", num_processes=2, number=number)
    evaluated = evaluate(folder / "evaluated", num_processes=2)
    translated = translate(folder / "translated", num_processes=2)
    torch.save(
        {"trained": results, "eval_loss": evaluated, "translated": translated}, folder / f"rank-{dist.get_rank()}.pt"
    )
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # threads of gloo may abort a process that leaves in the ordinary way


if __name__ == "__main__":
    main(Path(sys.argv[1]))
