"""sacreBLEU's BLEU with each of its tokenizers, and which of them a signature names."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # only reports on translations wait for it
    from sacrebleu.metrics.bleu import BLEU

__all__ = ["bleu_metric", "signed_tokenizer"]

_EARLIER = "13a"  # of records whose signature does not name a tokenizer


def bleu_metric(tokenizer: str, **options: Any) -> "BLEU":
    """
    BLEU with a tokenizer.

    Args:
        tokenizer: One of sacreBLEU's, by its name or as a signature writes it, possibly with a version.
        **options: More arguments of sacreBLEU's `BLEU`.

    Returns:
        sacreBLEU's metric.

    Raises:
        ValueError: sacreBLEU does not have the tokenizer, or it needs a package or a file that is missing.

    Example:
        >>> bleu_metric("zh").corpus_score(["我们去公园。"], [["我们去公园。"]]).score
        100.00000000000004
    """
    from sacrebleu.metrics.bleu import BLEU

    named = [name for name in BLEU.TOKENIZERS if tokenizer == name or tokenizer.startswith(f"{name}-")]
    if not named:
        raise ValueError(f"{tokenizer!r} is not a tokenizer of sacreBLEU; use one of {', '.join(BLEU.TOKENIZERS)}")
    try:
        return BLEU(tokenize=named[0], **options)
    except (AssertionError, ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"sacreBLEU's tokenizer {named[0]} cannot be used: {reason}") from error


def signed_tokenizer(signatures: Mapping[str, str]) -> str:
    """
    The tokenizer by which a record's BLEU was computed.

    Args:
        signatures: The record's.

    Returns:
        What stands in the signature; 13a where none does.

    Example:
        >>> signed_tokenizer({"bleu": "nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:2.6.0"})
        'zh'
    """
    named = re.search(r"\btok:([^|]+)", signatures.get("bleu", ""))
    return named[1] if named else _EARLIER
