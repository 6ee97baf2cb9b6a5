"""A small BERT to train from scratch: its configuration and a word-level tokenizer."""

import math
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, PreTrainedTokenizerFast

__all__ = ["write_small_bert"]

_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_LONGEST = 32  # tokens


def write_small_bert(folder: Path, words: Sequence[str], hidden_size: int, num_hidden_layers: int = 2) -> None:
    """
    Write what `--config_name` needs. There are no weights in it, so that every seed draws its own.

    Args:
        folder: Where to write.
        words: The vocabulary.
        hidden_size: Width of the model, a multiple of 4.
        num_hidden_layers: Depth of the model.
    """
    vocabulary = {word: number for number, word in enumerate([*_SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=_LONGEST,
    ).save_pretrained(folder)
    BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden_size,
        max_position_embeddings=_LONGEST,
        initializer_range=0.02 * math.sqrt(768 / hidden_size),  # BERT's own at this width: sums keep their size
    ).save_pretrained(folder)
