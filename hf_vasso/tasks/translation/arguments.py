"""The flags of `hf-vasso translate`: those of the Transformers example beside those of the training arguments."""

import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

from transformers.trainer_utils import SaveStrategy

from hf_vasso.spelling import unknown_name
from hf_vasso.tasks.evaluation_flags import refuse_unknown_metric
from hf_vasso.tasks.task_arguments import TaskArguments, TaskParser, base_name, parse_flags
from hf_vasso.tasks.translation.bleu import TOKENIZERS, default_tokenizer
from hf_vasso.tasks.translation.corpora import CORPORA, Corpus
from hf_vasso.tasks.translation.model import ARCHITECTURES
from hf_vasso.training.arguments import VassoSeq2SeqTrainingArguments

__all__ = ["TranslationArguments", "parse_translation_arguments"]

_INVALID_PAIRS = ("refuse", "drop")
_INSTEAD_OF: dict[str, str] = dict.fromkeys(
    ("test_file", "train_file", "validation_file"),
    "pass --data_dir with a folder that holds train.de and train.en, and so on",
)
_INSTEAD_OF["forced_bos_token"] = "pass --target_lang_code: a translation begins as the targets of the training do"
_OUT_OF_PLACE = {
    "auto_find_batch_size": "a batch has as many pairs as go into --max_tokens",
    "dataloader_drop_last": "no batch is left over, as each has as many pairs as go into --max_tokens",
    "generation_num_beams": "pass --num_beams",
    "generation_max_length": "a translation has at most 1.2 times as many tokens as its source and 10 more",
    "group_by_length": "pairs of like length stand together",
    "train_sampling_strategy": "pairs of like length stand together, and the order of batches is drawn",
}


@dataclass(kw_only=True)
class TranslationArguments(TaskArguments):
    """
    The corpus and the model; names as in the Transformers example `run_translation.py`.

    Raises:
        ValueError: The corpus or a language is unknown, no model is named, or a number is out of its range.
    """

    counts: ClassVar[tuple[str, ...]] = (
        *TaskArguments.counts,
        "max_tokens",
        "vocab_size",
        "max_source_length",
        "max_target_length",
        "num_beams",
        "average_checkpoints",
    )

    task_name: str | None = field(
        default=None,
        metadata={
            "help": f"The corpus: {', '.join(CORPORA)}, or a name for data of one's own; None is the base name of "
            "data_dir or dataset_name."
        },
    )
    source_lang: str | None = field(
        default=None, metadata={"help": "The language to translate from, such as de; None is the corpus' first."}
    )
    target_lang: str | None = field(
        default=None, metadata={"help": "The language to translate into, such as en; None is the corpus' second."}
    )
    source_lang_code: str | None = field(
        default=None,
        metadata={
            "help": "How a pretrained model calls source_lang: de_DE (mBART), deu_Latn (NLLB). None is source_lang "
            "itself; most models need none."
        },
    )
    target_lang_code: str | None = field(
        default=None, metadata={"help": "How a pretrained model calls target_lang: en_XX (mBART), eng_Latn (NLLB)."}
    )
    source_prefix: str = field(
        default="",
        metadata={"help": "Put before every source for a pretrained model: 'translate German to English: ' for T5."},
    )
    data_dir: str | None = field(
        default=None,
        metadata={
            "help": "A folder with train.de and train.en, valid.* and test.* (plain or .gz), or with one file of both "
            "languages per split (.jsonl, .jsonl.gz, .csv, .parquet), instead of the hub."
        },
    )
    dataset_name: str | None = field(default=None, metadata={"help": "A translation data set on the hub."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    invalid_pairs: str = field(
        default="refuse",
        metadata={"help": "What becomes of training pairs that say nothing or are too long: refuse or drop."},
    )
    max_tokens: int = field(
        default=4096,
        metadata={
            "help": "Padded tokens of a batch on either side, at most, at least 1; sizes per device say nothing here."
        },
    )
    vocab_size: int = field(
        default=10000,
        metadata={
            "help": "Subwords of a model trained from scratch at most, both languages together; all single characters "
            "are among them, be they more."
        },
    )
    max_source_length: int = field(default=256, metadata={"help": "Longest training source, in tokens, at least 1."})
    max_target_length: int = field(default=256, metadata={"help": "Longest training target, in tokens, at least 1."})
    num_beams: int = field(default=5, metadata={"help": "Beams of a translation, at least 1; 1 is greedy."})
    bleu_tokenizer: str | None = field(
        default=None,
        metadata={
            "help": f"sacreBLEU's tokenizer for BLEU: {', '.join(TOKENIZERS)}. None is zh, ja-mecab or ko-mecab "
            "for a target_lang that is Chinese, Japanese or Korean, char for Thai, Khmer and others without spaces, "
            "else 13a."
        },
    )
    average_checkpoints: int | None = field(
        default=None, metadata={"help": "Keep the mean of the weights of the last so many checkpoints, at least 1."}
    )

    def __post_init__(self) -> None:
        if self.task_name is None:
            raise ValueError(f"no corpus is named; pass --task_name ({', '.join(CORPORA)}), or --data_dir")
        super().__post_init__()
        if self.invalid_pairs not in _INVALID_PAIRS:
            raise ValueError(f"invalid_pairs must be one of {', '.join(_INVALID_PAIRS)}, got {self.invalid_pairs!r}")
        if self.bleu_tokenizer is not None and self.bleu_tokenizer not in TOKENIZERS:
            raise ValueError(unknown_name("bleu_tokenizer", self.bleu_tokenizer, TOKENIZERS))
        names_a_place = "/" in str(self.config_name) or os.path.exists(str(self.config_name))
        if self.model_name_or_path is None and self.config_name not in ARCHITECTURES and not names_a_place:
            raise ValueError(
                f"config_name must be one of {', '.join(ARCHITECTURES)}, a folder or a hub id to train from scratch, "
                f"got {self.config_name!r}; pass --model_name_or_path to fine-tune a pretrained model"
            )
        of_pretrained = ("source_lang_code", "target_lang_code", "source_prefix", "tokenizer_name")
        given = [name for name in of_pretrained if getattr(self, name)]
        if self.model_name_or_path is None and given:
            raise ValueError(f"{given[0]} is for a pretrained model; pass --model_name_or_path, or leave it out")
        self.source_lang, self.target_lang = self._direction()

    @property
    def corpus(self) -> Corpus:
        """The known corpus of that name, or the user's own; its languages are the source and the target."""
        assert self.task_name is not None and self.source_lang is not None and self.target_lang is not None
        languages = (self.source_lang, self.target_lang)
        known = CORPORA.get(self.task_name)
        if known is not None:
            return replace(known, languages=languages)
        return Corpus(self.task_name, languages, {}, hub_id=self.dataset_name, hub_config=self.dataset_config_name)

    @property
    def tokenizer_of_bleu(self) -> str:
        """The one that is given, else that of the target language."""
        return self.bleu_tokenizer or default_tokenizer(self.corpus.languages[1])

    @property
    def folders(self) -> dict[str, str]:
        """Without a folder that happens to have an architecture's name, such as the one that a run writes."""
        found = super().folders
        return {name: path for name, path in found.items() if getattr(self, name) not in ARCHITECTURES}

    def _direction(self) -> tuple[str, str]:
        known = CORPORA.get(str(self.task_name))
        given = (self.source_lang, self.target_lang)
        if self.data_dir is not None and self.dataset_name is not None:
            raise ValueError("data_dir and dataset_name both say where the pairs are; give one")
        if known is not None and self.dataset_name is not None:
            raise ValueError(
                f"{known.name} is a corpus with data of its own; leave --dataset_name {self.dataset_name} out, or give"
                " it another name with --task_name"
            )
        if known is None:
            if None in given or (self.data_dir is None and self.dataset_name is None):
                raise ValueError(
                    f"corpus {self.task_name!r} is none of {', '.join(CORPORA)}; for data of one's own pass "
                    "--source_lang, --target_lang, and --data_dir or --dataset_name"
                )
            if self.source_lang == self.target_lang:
                raise ValueError(f"source_lang and target_lang are both {self.source_lang!r}; name two languages")
            return str(self.source_lang), str(self.target_lang)
        first, second = known.languages
        source = self.source_lang or (first if self.target_lang in (None, second) else second)
        target = self.target_lang or (second if source == first else first)
        if {source, target} != {first, second}:
            raise ValueError(
                f"corpus {known.name} has {first} and {second}, got {source} and {target}; a model's own name of a "
                "language goes into --source_lang_code and --target_lang_code"
            )
        return source, target


def parse_translation_arguments(
    arguments: Sequence[str],
) -> tuple[TranslationArguments, VassoSeq2SeqTrainingArguments]:
    """
    Parse a command line, and the recipe that it names, whose flags it overrules.

    Without any of `--do_train`, `--do_eval` and `--do_predict` it trains, evaluates and predicts.

    Args:
        arguments: The words after the command's name.

    Returns:
        The two groups of flags.

    Raises:
        ValueError: A flag is unknown, missing or has a wrong value.
    """
    translation, training = parse_flags(_parser(), arguments, _defaults, _INSTEAD_OF, _OUT_OF_PLACE)
    refuse_unknown_metric(training, ["bleu", "bleu_tokenized", "chrf", "loss", "perplexity"])
    wanted = translation.average_checkpoints
    if wanted is not None and training.load_best_model_at_end:
        raise ValueError("average_checkpoints and load_best_model_at_end both say which weights are kept; give one")
    if wanted is not None and training.save_strategy not in (SaveStrategy.STEPS, SaveStrategy.EPOCH):
        raise ValueError(
            f"average_checkpoints={wanted} needs checkpoints at regular steps, and save_strategy is "
            f"{training.save_strategy.value}; pass --save_strategy steps or epoch"
        )
    if wanted is not None and training.save_total_limit is not None and training.save_total_limit < wanted:
        raise ValueError(
            f"average_checkpoints={wanted} needs as many, and save_total_limit={training.save_total_limit}; "
            "raise it, or average fewer"
        )
    if wanted is not None and training.resume_from_checkpoint is not None:
        raise ValueError(
            "average_checkpoints takes the checkpoints of its own folder; repeat the command to continue from them, "
            "and leave resume_from_checkpoint out"
        )
    return translation, training


@cache
def _parser() -> TaskParser:
    return TaskParser(
        TranslationArguments,
        VassoSeq2SeqTrainingArguments,
        prog="hf-vasso translate",
        description="Train a translation model, evaluate it and translate the test part.",
    )


def _defaults(given: Namespace) -> list[str]:
    words = []
    named = given.data_dir or given.dataset_name
    if given.task_name is None and named is not None:
        words += ["--task_name", Path(base_name(named)).name]
    if not (given.do_train or given.do_eval or given.do_predict):
        words += ["--do_train", "--do_eval", "--do_predict"]
    if given.greater_is_better is None and str(given.metric_for_best_model).endswith("perplexity"):
        words += ["--greater_is_better", "false"]  # by itself the Trainer knows this of losses alone
    return words
