"""Models of others: to fine-tune, with their language codes and how their decoders begin, or to train from scratch."""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.bart.modeling_bart import shift_tokens_right

from hf_vasso.tasks.hub import only_from_cache
from hf_vasso.tasks.translation.arguments import TranslationArguments
from hf_vasso.tasks.translation.model import vocabulary_settings

__all__ = ["TranslationCollator", "configured_model", "pretrained_model", "pretrained_tokenizer"]

# What Transformers 4 keeps in configurations for generation is about the vocabulary that they were made for.
_OTHER_VOCABULARY: dict[str, Any] = {"forced_bos_token_id": None, "bad_words_ids": None, "no_repeat_ngram_size": 0}


class TranslationCollator(DataCollatorForSeq2Seq):
    """
    Transformers' own, with decoder inputs for every model.

    Label smoothing takes the labels away from the model, and some models (M2M100, NLLB) cannot shift them beforehand.

    Args:
        tokenizer: It pads sources.
        model: It says how its decoder begins.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
        super().__init__(tokenizer)
        self.shifted_by = model

    def __call__(self, features: list[dict[str, Any]], return_tensors: str | None = None) -> Any:
        """Pad pairs, or sources alone, to one batch."""
        batch = super().__call__(features, return_tensors)
        if batch.get("labels") is not None:
            batch["decoder_input_ids"] = _decoder_inputs(self.shifted_by, batch["labels"])
        return batch


def pretrained_tokenizer(arguments: TranslationArguments) -> PreTrainedTokenizerBase:
    """
    Load the tokenizer of a model that is fine-tuned, set to the two languages where it has codes for them.

    Raises:
        OSError: It is not to be found.
        ValueError: It does not know a language code, or codes are given and it has none.
    """
    name = arguments.tokenizer_name or str(arguments.model_name_or_path)
    tokenizer = AutoTokenizer.from_pretrained(name, **_from_hub(arguments))
    source, target = arguments.corpus.languages
    _set_language(tokenizer, "src_lang", arguments.source_lang_code, source, flag="--source_lang_code")
    _set_language(tokenizer, "tgt_lang", arguments.target_lang_code, target, flag="--target_lang_code")
    return tokenizer


def pretrained_model(arguments: TranslationArguments, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """
    Load a model to fine-tune, whose translations begin as the targets do on which it is trained.

    A multilingual model begins with the code of the target's language: mBART-50, M2M100 and NLLB with their first own
    token, mBART with what the decoder starts from. Both are read off an empty target.

    Args:
        arguments: Its name.
        tokenizer: That of `pretrained_tokenizer`.

    Raises:
        OSError: It is not to be found.
    """
    # Weights are trained in fp32, whatever they were saved in: mixed precision needs that.
    model = AutoModelForSeq2SeqLM.from_pretrained(
        str(arguments.model_name_or_path), dtype=torch.float32, **_from_hub(arguments)
    )
    empty: Tensor = tokenizer(text_target="", return_tensors="pt")["input_ids"]
    first = empty[0, 0].item()
    ends = (tokenizer.eos_token_id, model.config.eos_token_id)  # FSMT's tokenizer does not name its own
    model.generation_config.forced_bos_token_id = None if first in ends else first
    if getattr(model.config, "forced_bos_token_id", None) is not None:
        model.config.forced_bos_token_id = None  # Transformers 4 would put it over the other when it saves
    model.generation_config.decoder_start_token_id = _decoder_inputs(model, empty)[0, 0].item()
    return model


def configured_model(arguments: TranslationArguments, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """
    Build a model with new weights from the configuration of another encoder-decoder.

    Args:
        arguments: Where the configuration is.
        tokenizer: Its vocabulary is that of both sides, whatever the configuration says.

    Raises:
        OSError: It is not to be found.
    """
    settings = {**vocabulary_settings(tokenizer), **_OTHER_VOCABULARY, **_from_hub(arguments)}
    config = AutoConfig.from_pretrained(str(arguments.config_name), **settings)
    return AutoModelForSeq2SeqLM.from_config(config, trust_remote_code=arguments.trust_remote_code)


def _from_hub(arguments: TranslationArguments) -> dict[str, Any]:
    return {
        "cache_dir": arguments.cache_dir,
        "revision": arguments.model_revision,
        "token": arguments.token,
        "trust_remote_code": arguments.trust_remote_code,
        "local_files_only": only_from_cache(arguments.model, arguments.model_revision, arguments.cache_dir),
    }


def _set_language(tokenizer: Any, attribute: str, code: str | None, language: str, flag: str) -> None:
    """Set the tokenizer's code of a language, which is the language's own name where none is given."""
    if not hasattr(tokenizer, attribute):
        if code is not None:
            raise ValueError(f"{type(tokenizer).__name__} has no language codes; leave {flag} out")
        return
    wanted = language if code is None else code
    try:
        setattr(tokenizer, attribute, wanted)
        encoded = tokenizer("") if attribute == "src_lang" else tokenizer(text_target="")
        known = tokenizer.unk_token_id not in encoded["input_ids"]
    except KeyError:  # M2M100's answer
        known = False
    if not known:
        codes = list(getattr(tokenizer, "lang_code_to_token", tokenizer.all_special_tokens))
        near = [name for name in codes if name.startswith(language[:2])] or codes
        raise ValueError(
            f"{type(tokenizer).__name__} has no language code {wanted!r}; pass {flag} with the model's own, such as "
            f"{', '.join(near)}"
        )


def _decoder_inputs(model: Any, labels: Tensor) -> Tensor:
    """Labels shifted to the right, as the model does it itself; some (FSMT) write into what they are given."""
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        return model.prepare_decoder_input_ids_from_labels(labels=labels.clone())
    return shift_tokens_right(labels, model.config.pad_token_id, model.config.decoder_start_token_id)
