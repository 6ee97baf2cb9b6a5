"""
Fine-tune on a GLUE task in a plain accelerate loop on `SharpnessAwareStep`, without a Trainer's loop.

    python glue_scripts/run_glue_no_trainer.py --config glue/rte-vasso --model_name_or_path bert-base-cased

Reads the flags of `hf-vasso glue` about the task, the method, batches, whole epochs, precision, the optimizer and
clipping, and ends at the same weights. It evaluates once, keeps no checkpoints and leaves other flags aside. For a
loop of your own, the lines that matter are `AcceleratePasses` and `engine.step`.
"""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, EvalPrediction, Trainer, get_scheduler, set_seed

from hf_vasso import SharpnessAwareStep, VassoTrainingArguments
from hf_vasso.tasks.errors import UserError, user_errors
from hf_vasso.tasks.glue.arguments import GlueArguments, parse_glue_arguments
from hf_vasso.tasks.glue.data import load_task
from hf_vasso.tasks.glue.encoding import encode
from hf_vasso.tasks.glue.examples import select_examples, splits_to_load
from hf_vasso.tasks.glue.labels import label_order, ordered_metrics
from hf_vasso.tasks.glue.model import load_model, load_tokenizer
from hf_vasso.tasks.glue.table import get_task
from hf_vasso.tasks.glue.tokenizer import fit_tokenizer


class AcceleratePasses:
    """One forward and backward pass in which a micro-batch counts by its share of the examples of the step."""

    def __init__(self, accelerator: Accelerator, model: torch.nn.Module, batches: list[Any]) -> None:
        self.accelerator, self.model = accelerator, model
        examples = torch.tensor(sum(len(batch["labels"]) for batch in batches), device=accelerator.device)
        self.examples: Any = accelerator.reduce(examples)

    def backward(self, batch: dict[str, torch.Tensor], sync: bool) -> torch.Tensor:
        divisor = self.examples / (len(batch["labels"]) * self.accelerator.num_processes)
        with nullcontext() if sync else self.accelerator.no_sync(self.model):
            loss = self.model(**batch).loss / divisor
            self.accelerator.backward(loss)
        return loss.detach()


def train(
    accelerator: Accelerator, model: torch.nn.Module, loader: DataLoader, training: VassoTrainingArguments
) -> Any:
    """Train, and return the model as accelerate wrapped it."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(training)
    optimizer = optimizer_class(
        [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
        **options,
    )
    model, optimizer, batches = accelerator.prepare(model, optimizer, loader)
    epochs, accumulation = int(training.num_train_epochs), training.gradient_accumulation_steps
    total_steps = epochs * -(-len(batches) // accumulation)
    warmup = training.get_warmup_steps(total_steps)
    scheduler = get_scheduler(training.lr_scheduler_type, optimizer, warmup, total_steps)
    unwrapped = accelerator.unwrap_model(model)
    engine = SharpnessAwareStep(
        training.build_method(),
        unwrapped.named_parameters(),
        optimizer,
        total_steps=total_steps,
        scaler=accelerator.scaler,
        buffers=unwrapped.buffers(),
        seed=training.seed,
        **training.engine_options(),
    )
    set_seed(training.seed)
    model.train()
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        for micro_batches in optimizer_steps(iter(batches), accumulation):
            engine.step(
                micro_batches, AcceleratePasses(accelerator, model, micro_batches)
            )  # the gradient is in p.grad
            if training.max_grad_norm > 0:
                accelerator.clip_grad_norm_(model.parameters(), training.max_grad_norm)
            optimizer.step()
            if not accelerator.optimizer_step_was_skipped:
                scheduler.step()
            optimizer.zero_grad()
    return model


def optimizer_steps(batches: Iterator[Any], accumulation: int) -> Iterator[list[Any]]:
    """The micro-batches of each optimizer step."""
    while step := list(islice(batches, accumulation)):
        yield step


def predict(accelerator: Accelerator, model: torch.nn.Module, loader: DataLoader) -> EvalPrediction:
    """Logits and labels of every example, once, on every process."""
    model.eval()
    outputs = []
    for batch in accelerator.prepare(loader):
        with torch.no_grad():
            logits = model(**batch).logits
        outputs.append(accelerator.gather_for_metrics((logits, batch["labels"])))
    logits, labels = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    return EvalPrediction(logits, labels)


def refuse(glue: GlueArguments, training: VassoTrainingArguments) -> None:
    """Raise for what would be understood otherwise than it is meant."""
    if training.max_steps > 0 or training.num_train_epochs != int(training.num_train_epochs):
        raise ValueError(
            "this loop trains whole epochs: give --num_train_epochs as a whole number, and no --max_steps"
        )
    for name in ("dry_run", "fresh", "do_predict", "resume_from_checkpoint"):
        if vars(glue).get(name) or vars(training).get(name):
            raise ValueError(f"this loop has no --{name}: leave it out, or use `hf-vasso glue`")
    if glue.probe_hidden_size is not None:
        raise ValueError("this loop trains no probe: leave --probe_hidden_size out, or use `hf-vasso glue`")
    if Path(str(training.output_dir), "run.json").exists():
        raise ValueError(f"{training.output_dir} holds a run of `hf-vasso glue`; choose another --output_dir")


def main(arguments: list[str]) -> dict[str, float]:
    with user_errors():
        glue, training = parse_glue_arguments(arguments)
        refuse(glue, training)
    accelerator = Accelerator(
        cpu=training.use_cpu,
        mixed_precision="bf16" if training.bf16 else "fp16" if training.fp16 else "no",
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
    )
    set_seed(training.seed)
    task = get_task(glue.task_name)
    model, tokenizer = load_model(glue, task), load_tokenizer(glue)
    fit_tokenizer(tokenizer, model, accelerator.print)
    order = label_order(model.config, task)
    validation = task.validation_splits[0]
    data = load_task(task, glue.data_dir, splits_to_load(task, glue, train=True, evaluate=True, predict=False))
    examples = select_examples(data.splits, task, glue, training.seed)
    splits: Any = encode(examples, task, tokenizer, glue, order, accelerator.print)
    collate = DataCollatorWithPadding(tokenizer)
    loader = DataLoader(splits["train"], training.per_device_train_batch_size, shuffle=True, collate_fn=collate)
    trained = train(accelerator, model, loader, training)
    eval_loader = DataLoader(splits[validation], training.per_device_eval_batch_size, collate_fn=collate)
    metrics = ordered_metrics(task, order)(predict(accelerator, trained, eval_loader))
    accelerator.print(metrics)
    if accelerator.is_main_process:
        accelerator.unwrap_model(trained).save_pretrained(training.output_dir)
    return metrics


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"run_glue_no_trainer.py: {error}")
