"""Tiny random models of the families that the Trainer is used with, each with data of its task."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from tiny_training import EXACT, LENGTH, VOCABULARY, Examples, bert, sentences
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from hf_vasso import VassoSeq2SeqTrainer, VassoSeq2SeqTrainingArguments

__all__ = ["FAMILIES", "IGNORED", "SGD", "Family"]

IGNORED = -100  # the label that losses leave out
FP32_LOGITS = 1e-6  # language heads compute their loss in fp32, also in a float64 model: measured 1e-8

ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 2 * LENGTH,  # RoBERTa counts positions from the padding token's number
}
SPECIAL_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def texts(count: int) -> Examples:
    """Sequences that label themselves, padding left out: every example has another number of items."""
    return [
        example | {"labels": torch.where(example["attention_mask"] == 1, example["input_ids"], IGNORED)}
        for example in sentences(count)
    ]


def roberta(dropout: float = 0.0) -> PreTrainedModel:
    return _build(RobertaForSequenceClassification, RobertaConfig(**ENCODER, **_bert_dropout(dropout), pad_token_id=0))


def deberta(dropout: float = 0.0) -> PreTrainedModel:
    config = DebertaV2Config(
        **ENCODER, **_bert_dropout(dropout), relative_attention=True, pos_att_type="p2c|c2p", pooler_dropout=dropout
    )
    return _build(DebertaV2ForSequenceClassification, config)


def modernbert(dropout: float = 0.0) -> PreTrainedModel:
    config = ModernBertConfig(
        **ENCODER,
        **SPECIAL_TOKENS,
        cls_token_id=1,
        sep_token_id=2,
        embedding_dropout=dropout,
        attention_dropout=dropout,
        mlp_dropout=dropout,
        classifier_dropout=dropout,
    )
    return _build(ModernBertForSequenceClassification, config)


def t5(dropout: float = 0.0) -> PreTrainedModel:
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        dropout_rate=dropout,
        decoder_start_token_id=0,
    )
    return _build(T5ForConditionalGeneration, config)


def gpt2(dropout: float = 0.0) -> PreTrainedModel:
    config = GPT2Config(
        **SPECIAL_TOKENS,
        vocab_size=VOCABULARY,
        n_positions=LENGTH,
        n_embd=16,
        n_layer=2,
        n_head=2,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        resid_pdrop=dropout,
    )
    return _build(GPT2LMHeadModel, config)


def llama(dropout: float = 0.0) -> PreTrainedModel:
    return _build(LlamaForCausalLM, LlamaConfig(**ENCODER, **SPECIAL_TOKENS, attention_dropout=dropout))


def _bert_dropout(dropout: float) -> dict[str, float]:
    return {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}


def _build(model_class: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    return model_class(config).double()


@dataclass(frozen=True)
class Family:
    """
    A kind of model and how to train it.

    Args:
        model: Builds it with a dropout rate.
        data: Makes a number of examples.
        options: For `build_trainer`.
        tolerance: How closely the weights of two trainings agree that sum the same numbers in another order.
    """

    model: Callable[..., PreTrainedModel]
    data: Callable[[int], Examples] = sentences
    options: dict[str, Any] = field(default_factory=dict)
    tolerance: float = EXACT


# SGD leaves rounding as small as it is, such as that of a language head's fp32; Adam blows it up where a gradient is
# zero but for it, as that of a bias added to all logits of a softmax.
SGD = {"optim": "sgd", "learning_rate": 0.5}
SEQ2SEQ = {"trainer_class": VassoSeq2SeqTrainer, "arguments_class": VassoSeq2SeqTrainingArguments}

FAMILIES = {
    "bert": Family(bert),
    "roberta": Family(roberta),
    "deberta-v2": Family(deberta),
    "modernbert": Family(modernbert),
    "t5": Family(t5, texts, SGD | SEQ2SEQ, FP32_LOGITS),
    "gpt2": Family(gpt2, texts, SGD, FP32_LOGITS),
    "llama": Family(llama, texts, SGD, FP32_LOGITS),
}
