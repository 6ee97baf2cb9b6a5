"""Train a translation model, evaluate it and translate the test part: what `hf-vasso translate` does."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars
from sacremoses import MosesTokenizer
from transformers import FSMTTokenizer, PreTrainedModel, set_seed

from hf_vasso.results.bleu import bleu_metric, signed_tokenizer
from hf_vasso.results.record import Record
from hf_vasso.results.translations import REFERENCES_FILE, TRANSLATIONS_FILE
from hf_vasso.tasks.cost import TrainingClock
from hf_vasso.tasks.errors import user_errors
from hf_vasso.tasks.plan import PlannedTraining, TrainingSize, size_of_epochs, with_passes
from hf_vasso.tasks.task_run import TaskRun
from hf_vasso.tasks.translation.arguments import TranslationArguments, parse_translation_arguments
from hf_vasso.tasks.translation.bleu import TranslationScores, default_tokenizer, score_translations
from hf_vasso.tasks.translation.card import translation_card
from hf_vasso.tasks.translation.checkpoint_average import average_checkpoints, saved_steps
from hf_vasso.tasks.translation.data import load_corpus
from hf_vasso.tasks.translation.model import ARCHITECTURES, new_model
from hf_vasso.tasks.translation.model_positions import fit_positions, longest_translation
from hf_vasso.tasks.translation.pretrained import (
    TranslationCollator,
    configured_model,
    pretrained_model,
    pretrained_tokenizer,
)
from hf_vasso.tasks.translation.subwords import decoded_words
from hf_vasso.tasks.translation.token_batches import TokenBatches, pair_lengths
from hf_vasso.tasks.translation.trainer import TranslationTrainer
from hf_vasso.training.arguments import AnyTrainingArguments, VassoSeq2SeqTrainingArguments
from hf_vasso.training.checkpoints import checkpoint_fault

__all__ = ["TranslationRun", "main", "run_translation"]

_POSITIONS_TIMES = 4  # so that whoever translates with the model need not mind how long sentences are
_FILES = {"test": TRANSLATIONS_FILE, "references": REFERENCES_FILE}


def main(arguments: Sequence[str]) -> int:
    """
    Run `hf-vasso translate`.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.

    Raises:
        UserError: The arguments, the data or the model cannot be used, or the run began with other flags.
        SystemExit: A signal interrupted the training; the status is 130 or 143.
    """
    with user_errors():
        run = TranslationRun(*parse_translation_arguments(arguments))
    return run.show()


def run_translation(translation: TranslationArguments, training: VassoSeq2SeqTrainingArguments) -> Record:
    """
    Train, evaluate and translate as far as that is asked for and not done yet.

    Args:
        translation: Corpus and model.
        training: Method and training.

    Returns:
        The record, which is also written to `result.json` in the output folder. Its metrics are those of the test
        part; those of the validation part begin with `validation_`.

    Raises:
        UserError: The data or the model cannot be used, or the run began with other flags.
        SystemExit: A signal interrupted the training; the status is 130 or 143.
    """
    return TranslationRun(translation, training).make()


class TranslationRun(TaskRun[TranslationArguments]):
    """
    A run of a translation task.

    Args:
        translation: Corpus and model.
        training: Method and training.
    """

    signatures: Mapping[str, str] = {}
    """How metrics were computed, once some were."""

    @property
    def task_name(self) -> str:
        return self.arguments.corpus.name

    @property
    def prediction_files(self) -> Mapping[str, str]:
        return _FILES

    def check_model(self) -> None:
        if self.arguments.model_name_or_path is not None:
            pretrained_tokenizer(self.arguments)

    def check(self) -> None:
        super().check()
        self._check_tokenizer()
        if self.training.do_train:
            _check_method(self.training)
        elif self.arguments.model_name_or_path is None and (self.arguments.fresh or self.folder.training is None):
            raise ValueError(
                f"{self.folder.path}: no model has been trained here; add --do_train, or name one by "
                "--model_name_or_path"
            )

    def plan(self) -> PlannedTraining | None:
        """The batches of an epoch are known from the data alone, and those on the hub are not loaded for a plan."""
        training = self.training
        _check_method(training)  # a suite plans its runs without `check`
        self._check_tokenizer()
        if training.max_steps > 0:
            size = TrainingSize(training.max_steps, training.max_steps * training.gradient_accumulation_steps)
            return with_passes(None, size, training)
        if self.arguments.data_dir is None:
            return None
        lengths = _train_lengths(frozenset(vars(replace(self.arguments, task_label=None, method_label=None)).items()))
        batches = TokenBatches(lengths, self.arguments.max_tokens, training.seed, training.world_size)
        return with_passes(len(lengths), size_of_epochs(len(batches), training), training)

    def _check_tokenizer(self) -> None:
        """Refuse a tokenizer of BLEU that cannot be used, before the training."""
        if not (self.training.do_eval or self.training.do_predict):
            return
        try:
            bleu_metric(self.arguments.tokenizer_of_bleu)
        except ValueError as error:
            language = self.arguments.corpus.languages[1]
            raise ValueError(
                f"{error}; it is needed for translations into {language}, or choose another one with --bleu_tokenizer"
            ) from error

    def earlier_record(self) -> Record | None:
        record = super().earlier_record()
        scores = self.training.do_eval or self.training.do_predict
        if record is None or not record.signatures or not scores:
            return record
        before, now = signed_tokenizer(record.signatures), self.arguments.tokenizer_of_bleu
        if before.startswith(now):  # a version may stand after it
            return record
        self._say(
            f"{self.folder.path}: BLEU was computed with the tokenizer {before}, and is now computed again with {now}"
        )
        return None

    def load(self, arguments: TranslationArguments, trains: bool) -> None:
        needed = {
            "train": trains or arguments.model_name_or_path is None or arguments.holdout_samples is not None,
            "validation": self.training.do_eval and arguments.holdout_samples is None,
            "test": self.training.do_predict,
        }
        if self.training.process_index > 0 or self.training.disable_tqdm:
            disable_progress_bars()
        with self.training.main_process_first(desc="preparing the data"):
            data = load_corpus(arguments, [split for split, is_needed in needed.items() if is_needed], self._say)
        self.splits, self.source, self.fingerprints = data.splits, data.source, data.fingerprints
        self.tokenizer = data.tokenizer
        set_seed(self.training.seed)  # before the model draws its weights
        model = _load_model(arguments, data.tokenizer)
        fit_positions(model, self.splits)
        self.trainer = TranslationTrainer(
            model=model,
            args=self.training,
            train_dataset=self.splits.get("train"),
            eval_dataset=self.splits.get("validation"),
            processing_class=data.tokenizer,
            data_collator=TranslationCollator(data.tokenizer, model),
            max_tokens=arguments.max_tokens,
            num_beams=arguments.num_beams,
            score=lambda pairs, ids: self._scores(pairs, ids).metrics,
        )
        if trains:
            batches = self.trainer.train_batches
            self._keep_averaged(saved_steps(self.training, len(batches)))
            self._say(
                f"{len(batches)} batches of at most {arguments.max_tokens} tokens an epoch, "
                f"{batches.padding_share:.1%} of them padding"
            )

    def _keep_averaged(self, saved: Sequence[int]) -> None:
        """See to it that the training leaves the checkpoints that are to be averaged, whatever interrupts it."""
        wanted = self.arguments.average_checkpoints
        if wanted is None:
            return
        if len(saved) < wanted:
            raise ValueError(
                f"average_checkpoints={wanted} needs as many, and the training saves {len(saved)}, after steps "
                f"{', '.join(map(str, saved))}: save more often (--save_steps), or average fewer"
            )
        if self.training.save_total_limit is not None and not self.arguments.fresh:
            # What interruptions have left counts towards it.
            self.training.save_total_limit += len(set(self.folder.checkpoint_steps) - set(saved))

    def finish_training(self) -> None:
        wanted = self.arguments.average_checkpoints
        if wanted is not None:
            self.trainer.accelerator.wait_for_everyone()  # one process writes the last checkpoint
            steps = saved_steps(self.training, len(self.trainer.train_batches))[-wanted:]
            folders = [self.folder.checkpoint_folder(step) for step in steps]
            for folder in folders:
                fault = checkpoint_fault(folder)
                if fault is not None:
                    raise ValueError(f"{folder} cannot be averaged: {fault}; put its files back, or pass --fresh")
            average_checkpoints(self.trainer.accelerator.unwrap_model(self.trainer.model), folders)
            self._say(f"averaged: {', '.join(folder.name for folder in folders)}")

    def cost(self, clock: TrainingClock) -> dict[str, float]:
        cost, batches = super().cost(clock), self.trainer.train_batches
        tokens = batches.tokens * self.trainer.state.epoch
        return {
            **cost,
            "padding_share": batches.padding_share,
            "tokens_per_second": tokens / clock.seconds if clock.seconds else 0.0,
        }

    def evaluate(self) -> dict[str, Any]:
        scores = self.trainer.evaluate(metric_key_prefix="validation")
        self.keep_metrics("eval", scores)
        return {
            "metrics": {name: value for name, value in scores.items() if name.startswith("validation_")},
            "eval_examples": len(self.splits["validation"]),
            "signatures": self.signatures,
        }

    def predict(self) -> dict[str, Any]:
        pairs = self.splits["test"]
        ids = self.trainer.translate(pairs)
        scores = self._scores(pairs, ids)
        if self.training.process_index == 0:
            for name, lines in (("test", self._texts(ids)), ("references", pairs["text"][:])):
                text = "".join(f"{' '.join(line.split())}\n" for line in lines)
                self.folder.write(self.folder.prediction_files[name].name, text)
            for name, signature in scores.signatures.items():
                self._say(f"{name}: {scores.metrics[name]:.2f} ({signature})")
        self.keep_metrics("predict", {f"predict_{name}": value for name, value in scores.metrics.items()})
        return {
            "metrics": scores.metrics,
            "signatures": scores.signatures,
            "eval_examples": len(pairs),
            "data": self._data(),
        }

    def has_evaluated(self, record: Record) -> bool:
        return any(name.startswith("validation_") for name in record.metrics)

    def predicted(self, record: Record) -> dict[str, Any] | None:
        if self.arguments.corpus.headline not in record.metrics:
            return None
        metrics = {name: value for name, value in record.metrics.items() if not name.startswith("validation_")}
        kept = {name: getattr(record, name) for name in ("signatures", "eval_examples", "data")}
        return {"metrics": metrics, **kept}

    def direction(self, metric: str) -> str:
        return "lower" if metric.endswith(("loss", "perplexity")) else "higher"

    def card(self, record: Record) -> str:
        return str(translation_card(record, self.trainer.method, self.arguments.corpus))

    def joint_fingerprint(self, fingerprints: dict[str, str]) -> str:
        """A run is judged on the test part, where it has come so far."""
        decisive = {
            name: value for name, value in fingerprints.items() if name != "validation" or "test" not in fingerprints
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def _texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return self.tokenizer.batch_decode(list(map(list, ids)), skip_special_tokens=True)

    def _scores(self, pairs: Dataset, ids: Sequence[Sequence[int]]) -> TranslationScores:
        """The scores of translations, the one that papers report first."""
        texts = self._texts(ids), pairs["text"][:]
        scores = score_translations(texts, self._words(pairs, ids, texts), self.arguments.tokenizer_of_bleu)
        self.signatures = scores.signatures
        headline = self.arguments.corpus.headline
        return replace(scores, metrics={headline: scores.metrics[headline], **scores.metrics})

    def _words(
        self, pairs: Dataset, ids: Sequence[Sequence[int]], texts: tuple[Sequence[str], Sequence[str]]
    ) -> tuple[list[str], list[str]] | None:
        """
        Translations and references as words: the corpus' own where it has them, else Moses' of the texts.

        Moses cannot split text that is written without spaces; None leaves it to BLEU's tokenizer.
        """
        if self.arguments.corpus.has_words and isinstance(self.tokenizer, FSMTTokenizer):
            return [decoded_words(self.tokenizer, i) for i in ids], pairs["words"][:]
        language = self.arguments.corpus.languages[1]
        if default_tokenizer(language) != "13a":
            return None
        moses = MosesTokenizer(language)
        outputs, targets = ([" ".join(moses.tokenize(text, escape=False)) for text in lines] for lines in texts)
        return outputs, targets


def _check_method(training: AnyTrainingArguments) -> None:
    """Refuse a method that cannot train on translations."""
    method = training.build_method()
    if method.extra_loss is not None and method.extra_loss.needs_positions:
        raise ValueError(
            f"method {method.name!r} keeps the logits of each example as one row of classes, and a translation has a "
            "row for each of its tokens: take mesa, or another method"
        )


@cache
def _train_lengths(flags: frozenset[tuple[str, Any]]) -> np.ndarray:
    """The lengths of the training pairs, found once for all runs of a suite with equal flags."""
    return pair_lengths(load_corpus(TranslationArguments(**dict(flags)), ["train"], print).splits["train"])


def _load_model(arguments: TranslationArguments, tokenizer: Any) -> PreTrainedModel:
    if arguments.model_name_or_path is not None:
        return pretrained_model(arguments, tokenizer)
    longest = max(arguments.max_source_length, arguments.max_target_length)
    if arguments.config_name in ARCHITECTURES:
        model: PreTrainedModel = new_model(ARCHITECTURES[arguments.config_name], tokenizer, _POSITIONS_TIMES * longest)
    else:
        model = configured_model(arguments, tokenizer)
    # Of the saved model; Transformers' own limit, 20 tokens, would cut sentences short.
    model.generation_config.max_new_tokens = longest_translation(model, longest)
    return model
