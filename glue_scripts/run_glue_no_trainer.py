"""
Fine-tune on a GLUE task in a plain accelerate loop on `SharpnessAwareStep`, without a Trainer's loop.

    python glue_scripts/run_glue_no_trainer.py --config glue/rte-vasso --model_name_or_path bert-base-cased

Reads the flags of `hf-vasso glue` about the task, the method, batches, whole epochs, the optimizer and clipping, and
ends at the same weights. It evaluates once, keeps no checkpoints and leaves other flags aside. For a loop of your own,
the lines that matter are `AcceleratePasses` and `engine.step`.
"""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, EvalPrediction, Trainer, get_scheduler, set_seed

from hf_vasso import SharpnessAwareStep
from hf_vasso.tasks.arguments import parse_glue_arguments
from hf_vasso.tasks.data import load_task
from hf_vasso.tasks.encoding import encode
from hf_vasso.tasks.glue import get_task
from hf_vasso.tasks.labels import label_order, ordered_metrics
from hf_vasso.tasks.model import load_model, load_tokenizer


class AcceleratePasses:
    """One forward and backward pass in which a micro-batch counts by its share of the examples of the step."""

    def __init__(self, accelerator: Accelerator, model: torch.nn.Module, examples: torch.Tensor) -> None:
        self.accelerator, self.model, self.examples = accelerator, model, examples

    def backward(self, batch: dict[str, torch.Tensor], sync: bool) -> torch.Tensor:
        divisor = self.examples / (len(batch["labels"]) * self.accelerator.num_processes)
        with nullcontext() if sync else self.accelerator.no_sync(self.model):
            loss = self.model(**batch).loss / divisor
            self.accelerator.backward(loss)
        return loss.detach()


def optimizer_steps(batches: Iterator[Any], accumulation: int) -> Iterator[list[Any]]:
    """The micro-batches of each optimizer step."""
    while step := list(islice(batches, accumulation)):
        yield step


def main(arguments: list[str]) -> dict[str, float]:
    glue, training = parse_glue_arguments(arguments)
    task = get_task(glue.task_name)
    accelerator = Accelerator(
        cpu=training.use_cpu, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True)
    )
    set_seed(training.seed)
    model, tokenizer = load_model(glue, task), load_tokenizer(glue)
    order = label_order(model.config, task)
    split = task.validation_splits[0]
    data = encode(load_task(task, glue.data_dir, ["train", split]).splits, task, tokenizer, glue, order)

    collate = DataCollatorWithPadding(tokenizer)
    loader = DataLoader(
        data["train"],  # pyright: ignore[reportArgumentType]
        training.per_device_train_batch_size,
        shuffle=True,
        collate_fn=collate,
    )
    eval_loader = DataLoader(data[split], training.per_device_eval_batch_size, collate_fn=collate)  # pyright: ignore[reportArgumentType]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(training)
    optimizer = optimizer_class(
        [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
        **options,
    )
    model, optimizer, loader, eval_loader = accelerator.prepare(model, optimizer, loader, eval_loader)
    steps_per_epoch = -(-len(loader) // training.gradient_accumulation_steps)
    total_steps = int(training.num_train_epochs) * steps_per_epoch
    scheduler = get_scheduler(
        training.lr_scheduler_type, optimizer, training.get_warmup_steps(total_steps), total_steps
    )
    engine = SharpnessAwareStep(
        training.build_method(),
        accelerator.unwrap_model(model).named_parameters(),
        optimizer,
        total_steps=total_steps,
        scaler=accelerator.scaler,
        rho_warmup_steps=training.rho_warmup_steps,
        rho_scheduler_type=training.rho_scheduler_type,
        no_perturb=training.no_perturb,
        same_dropout=training.same_dropout,
        seed=training.seed,
    )

    set_seed(training.seed)
    for epoch in range(int(training.num_train_epochs)):
        model.train()
        loader.set_epoch(epoch)
        for batches in optimizer_steps(iter(loader), training.gradient_accumulation_steps):
            examples = torch.tensor(sum(len(batch["labels"]) for batch in batches), device=accelerator.device)
            passes = AcceleratePasses(accelerator, model, accelerator.reduce(examples))  # pyright: ignore[reportArgumentType]
            engine.step(batches, passes)  # leaves the gradient in p.grad
            accelerator.clip_grad_norm_(model.parameters(), training.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

    model.eval()
    outputs = []
    for batch in eval_loader:
        with torch.no_grad():
            logits = model(**batch).logits
        outputs.append(accelerator.gather_for_metrics((logits, batch["labels"])))
    logits, labels = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    metrics = ordered_metrics(task, order)(EvalPrediction(logits, labels))
    accelerator.print(metrics)
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(training.output_dir)
    return metrics


if __name__ == "__main__":
    main(sys.argv[1:])
