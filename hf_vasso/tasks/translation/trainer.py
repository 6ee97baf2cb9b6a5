"""The trainer of translations: batches by tokens, the loss of a whole validation part, and beam search by length."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import datasets
import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from hf_vasso.tasks.card_trainer import CardMixin
from hf_vasso.tasks.translation.model_positions import longest_translation
from hf_vasso.tasks.translation.token_batches import TokenBatches, pair_lengths
from hf_vasso.training.loss_scale import IGNORE_INDEX
from hf_vasso.training.trainer import VassoSeq2SeqTrainer

__all__ = ["TranslationTrainer"]


class TranslationTrainer(CardMixin, VassoSeq2SeqTrainer):
    """
    A `VassoSeq2SeqTrainer` whose batches have about equally many tokens.

    Args:
        *args: The Trainer's own.
        max_tokens: Padded tokens of a batch on either side, at most.
        num_beams: Beams of a translation; 1 is greedy.
        score: From the evaluation data and the ids of their translations to metrics by name.
        **kwargs: The Trainer's own. The data have "input_ids" and "labels", the collator is one for such.
    """

    def __init__(
        self,
        *args: Any,
        max_tokens: int,
        num_beams: int,
        score: Callable[[datasets.Dataset, list[list[int]]], dict[str, float]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.max_tokens = max_tokens
        self.num_beams = num_beams
        self.score = score

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log all but the samples per second, which the Trainer counts as if each batch had equally many pairs."""
        logs.pop("train_samples_per_second", None)
        super().log(logs, *args, **kwargs)

    @cached_property
    def train_batches(self) -> TokenBatches:
        """Those of this process, in an order drawn by seed and epoch, as many on every one."""
        data: Any = self.train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        processes = self.accelerator.num_processes, self.accelerator.process_index
        return TokenBatches(pair_lengths(data), self.max_tokens, seed, *processes)

    def get_train_dataloader(self) -> DataLoader:
        """Batches of about equally many tokens."""
        data: Any = self.train_dataset
        return self._loader(data, self.train_batches)

    def evaluate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> dict[str, float]:
        """
        The scores of translations, the loss and the perplexity.

        Args:
            eval_dataset: Pairs; None takes the trainer's own.
            ignore_keys: Of no use here, as everything in `kwargs`.
            metric_key_prefix: Stands before each name, with an underscore.
            **kwargs: What the Trainer's own takes.
        """
        data: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        loss = self.token_loss(data)
        perplexity = float(np.exp(np.float64(loss)))
        found = {**self.score(data, self.translate(data)), "loss": loss, "perplexity": perplexity}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def token_loss(self, data: datasets.Dataset) -> float:
        """
        The mean cross-entropy of the target tokens, without label smoothing.

        Args:
            data: Pairs.

        Returns:
            Nats per token, over all pairs on all processes.
        """
        model = self._prepared_model()
        total = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        for batch in self._loader(data, self._share(data)):
            with self.compute_loss_context_manager():
                logits: Tensor = model(**batch)["logits"]
            targets = batch["labels"].flatten()
            losses = functional.cross_entropy(logits.flatten(0, -2).float(), targets, reduction="none")
            total += torch.stack([losses.double().sum(), targets.ne(IGNORE_INDEX).sum()])
        loss, tokens = self.accelerator.reduce(total).tolist()  # pyright: ignore[reportAttributeAccessIssue]
        return loss / tokens

    @torch.no_grad()
    def translate(self, data: datasets.Dataset) -> list[list[int]]:
        """
        Translate by beam search, in batches of sources of like length.

        A search ends when no beam's mean log-probability so far is above that of the worst finished one that is kept.
        fairseq stops at as many finished ones as beams, and where the vocabulary is small many of those are only
        beginnings.

        Args:
            data: Pairs.

        Returns:
            (pairs,): the ids of each translation, special ones included, in the order of the data, on all processes.
        """
        model = self._prepared_model()
        found: list[tuple[int, list[int]]] = []
        for rows in self._share(data):
            sources = self._prepare_inputs(self.data_collator([{"input_ids": data[row]["input_ids"]} for row in rows]))
            with self.compute_loss_context_manager():
                ids = model.generate(
                    **sources,
                    num_beams=self.num_beams,
                    length_penalty=1.0,
                    early_stopping=False,
                    max_new_tokens=longest_translation(model, sources["input_ids"].shape[1]),
                    do_sample=False,
                )
            found += zip(rows, ids.tolist(), strict=True)
        return [ids for _, ids in sorted(gather_object(found))]

    def _prepared_model(self) -> Any:
        """The model as the Trainer's own evaluation has it: under autocast though untrained, cast where asked."""
        model: Any = self.accelerator.unwrap_model(self.model).eval()
        if not self.accelerator._models:
            self.accelerator.prepare_model(model, evaluation_mode=True)
        if self.is_in_train or not (self.args.fp16_full_eval or self.args.bf16_full_eval):
            return model
        return model.to(self.args.device, torch.float16 if self.args.fp16_full_eval else torch.bfloat16)

    def _loader(self, data: datasets.Dataset, batches: Iterable[list[int]]) -> DataLoader:
        """A loader of this process' batches, which accelerate must not share out again."""
        loader = DataLoader(
            self._remove_unused_columns(data),  # pyright: ignore[reportArgumentType]
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return prepare_data_loader(loader, self.args.device, num_processes=1, process_index=0, put_on_device=True)

    def _share(self, data: datasets.Dataset) -> list[list[int]]:
        """This process' part of the batches of an evaluation, in which nothing is dropped for being long."""
        lengths = pair_lengths(data)
        batches = TokenBatches(lengths, max(self.max_tokens, int(lengths.max())), seed=0)
        return list(batches)[self.accelerator.process_index :: self.accelerator.num_processes]
