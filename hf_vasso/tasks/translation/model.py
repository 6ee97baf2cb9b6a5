"""The architectures of translation models that are trained from scratch."""

from dataclasses import dataclass
from typing import Any

from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerBase

__all__ = ["ARCHITECTURES", "Architecture", "new_model", "vocabulary_settings"]


@dataclass(frozen=True)
class Architecture:
    """
    The size of a Transformer, encoder and decoder alike.

    Args:
        layers: Layers of the encoder, and of the decoder.
        width: Of embeddings and layers.
        feed_forward: Inner width of the feed-forward blocks.
        heads: Attention heads.
        dropout: After embeddings, attention and feed-forward blocks.
    """

    layers: int
    width: int
    feed_forward: int
    heads: int
    dropout: float


ARCHITECTURES = {
    "tiny": Architecture(layers=2, width=128, feed_forward=256, heads=4, dropout=0.1),
    "small": Architecture(layers=3, width=256, feed_forward=1024, heads=4, dropout=0.1),
    # fairseq's, with the dropout of its recipe for IWSLT14.
    "transformer_iwslt_de_en": Architecture(layers=6, width=512, feed_forward=1024, heads=4, dropout=0.3),
}
"""By the names of `--config_name`."""


def new_model(architecture: Architecture, tokenizer: PreTrainedTokenizerBase, longest: int) -> MarianMTModel:
    """
    Build a model with new weights.

    It is the Transformer as fairseq has it for IWSLT: layers normalised after each block, sinusoidal positions, ReLU,
    scaled embeddings, and the decoder's embedding for its output too. The encoder's is its own. Weights are drawn from
    normal distributions of standard deviation width**-0.5, which is Xavier's for a square matrix; fairseq's differ a
    little from one kind of matrix to the next.

    Args:
        architecture: Its size.
        tokenizer: Its vocabulary is that of both sides. Decoding starts with its end-of-sentence token.
        longest: Positions, in tokens.
    """
    sides: dict[str, Any] = {
        f"{side}_{name}": number
        for side in ("encoder", "decoder")
        for name, number in (
            ("layers", architecture.layers),
            ("ffn_dim", architecture.feed_forward),
            ("attention_heads", architecture.heads),
        )
    }
    config = MarianConfig(
        **sides,
        **vocabulary_settings(tokenizer),
        d_model=architecture.width,
        dropout=architecture.dropout,
        activation_function="relu",
        scale_embedding=True,
        init_std=architecture.width**-0.5,
        max_position_embeddings=longest,
        share_encoder_decoder_embeddings=False,
    )
    return MarianMTModel(config)


def vocabulary_settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a tokenizer decides in the configuration of a model with new weights."""
    return {
        **dict.fromkeys(("vocab_size", "src_vocab_size", "decoder_vocab_size"), len(tokenizer)),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "decoder_start_token_id": tokenizer.eos_token_id,
        "forced_eos_token_id": None,
    }
