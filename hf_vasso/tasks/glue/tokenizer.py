"""Fit a tokenizer to its model: the padding token, the padding side and the longest input."""

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerBase

from hf_vasso.tasks.positions import model_positions

__all__ = ["fit_tokenizer"]


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, model: Any, say: Callable[[str], None]) -> None:
    """
    Set the padding and the maximum length of a tokenizer, and the padding token of the model.

    A tokenizer without a padding token, like those of most decoders, gets its end token. The model's configuration
    gets the same token, since the head of a decoder reads the last token that is not padding. Padding goes to the
    right, where no token of the text attends to it. The maximum length is at most the model's number of positions.

    Args:
        tokenizer: Changed in place.
        model: Its configuration is changed in place.
        say: Takes a line for the user.

    Raises:
        ValueError: There is neither a padding nor an end token.
    """
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError(
                "the tokenizer has neither a padding token nor an end token to pad with; name another one by "
                "--tokenizer_name"
            )
        tokenizer.pad_token = tokenizer.eos_token
        say(f"the tokenizer has no padding token: batches are padded with its end token, {tokenizer.eos_token}")
    config = model.config.get_text_config()
    config.pad_token_id = tokenizer.pad_token_id
    if getattr(config, "summary_type", None) != "last":  # XLNet's head reads the last place
        tokenizer.padding_side = "right"
    tokenizer.model_max_length = int(min(tokenizer.model_max_length, model_positions(model)))
