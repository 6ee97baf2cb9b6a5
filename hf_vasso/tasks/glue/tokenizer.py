"""See to it that what a tokenizer makes of texts is what the model takes: padding, and how long texts may be."""

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerBase

from hf_vasso.tasks.positions import model_positions

__all__ = ["fit_tokenizer"]


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, model: Any, say: Callable[[str], None]) -> None:
    """
    Make a tokenizer and the model that reads its tokens agree.

    A tokenizer without a padding token, as those of most decoders, pads with its end token. The model's configuration
    names the padding token, since the head of a decoder reads the last token that is another one. Padding stands
    behind the text, where a decoder does not see it. No more tokens are made than the model has positions for.

    Args:
        tokenizer: It is changed.
        model: Its configuration is changed.
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
