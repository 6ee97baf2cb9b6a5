"""How long sentences a translation model takes: what it cannot take is found before it trains, not after."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import datasets
from transformers import MarianMTModel, PreTrainedModel

from hf_vasso.tasks.errors import DataError
from hf_vasso.tasks.positions import model_positions
from hf_vasso.tasks.translation.token_batches import pair_lengths

__all__ = ["LONGEST_PLUS", "LONGEST_TIMES", "fit_positions", "longest_translation"]

LONGEST_TIMES, LONGEST_PLUS = 1.2, 10
"""A translation has at most 1.2 times as many tokens as its source, and ten more: fairseq's limit for IWSLT."""

_MOST_SHOWN = 10


def longest_translation(model: PreTrainedModel, source: int) -> int:
    """How many tokens a translation may have whose source has so many: not more than the model has positions."""
    return int(min(_wanted(source), model_positions(model)))


def fit_positions(model: PreTrainedModel, splits: Mapping[str, datasets.Dataset]) -> None:
    """
    See to it that a model takes all sentences of a run.

    A Marian model gets as many positions as they need: its positions are sines, which nothing learns and no file
    holds. Its weights stay as they are, so that those drawn for a seed do not depend on what is judged on.

    Args:
        model: The model.
        splits: Split name to "input_ids" and "labels".

    Raises:
        DataError: Sentences are longer than another model takes.
    """
    lengths = {name: _fed_lengths(name, pairs) for name, pairs in splits.items()}
    if isinstance(model, MarianMTModel):
        needed = _wanted(max((max(of_split) for of_split in lengths.values()), default=0))
        if needed > model.config.max_position_embeddings:
            _extend(model, needed)
        return
    positions = model_positions(model)
    for name, of_split in lengths.items():
        long = [number for number, length in enumerate(of_split, start=1) if length > positions]
        if long:
            remedy = (
                "lower --max_source_length and --max_target_length" if name == "train" else "shorten or split them"
            )
            raise DataError(
                f"{name}: of {len(of_split)} pairs {len(long)} have more than {positions} tokens (pairs "
                f"{', '.join(map(str, long[:_MOST_SHOWN]))}{' and more' * (len(long) > _MOST_SHOWN)}), and the model "
                f"was made for no more; {remedy}, or take another model"
            )


def _wanted(source: int) -> int:
    return int(LONGEST_TIMES * source) + LONGEST_PLUS


def _fed_lengths(split: str, pairs: datasets.Dataset) -> list[int]:
    """The longest that the model is given of each pair: targets of the test part are only compared, as texts."""
    lengths = pair_lengths(pairs)
    return (lengths[:, 0] if split == "test" else lengths.max(axis=1)).tolist()


def _extend(model: Any, positions: int) -> None:
    config = deepcopy(model.config)
    config.update({"encoder_layers": 0, "decoder_layers": 0, "max_position_embeddings": positions})
    longer: Any = type(model)(config)
    model.get_encoder().embed_positions = longer.get_encoder().embed_positions
    model.get_decoder().embed_positions = longer.get_decoder().embed_positions
    model.config.max_position_embeddings = positions
