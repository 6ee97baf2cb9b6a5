"""Score translations: by sacreBLEU, as papers on IWSLT do it, and by chrF, each with the signature that says how."""

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

__all__ = ["TranslationScores", "score_translations"]


@dataclass(frozen=True)
class TranslationScores:
    """
    The scores of a translation.

    Args:
        metrics: "bleu" (sacreBLEU's own), "bleu_tokenized" (of lower-cased Moses tokens without smoothing, as
            multi-bleu.perl has it, which papers on IWSLT14 report) and "chrf", each between 0 and 100.
        signatures: By the same names how sacreBLEU came to them.
    """

    metrics: dict[str, float]
    signatures: dict[str, str]


def score_translations(
    texts: tuple[Sequence[str], Sequence[str]], words: tuple[Sequence[str], Sequence[str]]
) -> TranslationScores:
    """
    Score the translation of a corpus.

    Args:
        texts: The translations and the references, (sentences,) each.
        words: The same as Moses' words with blanks between them, in any case.

    Raises:
        ValueError: There are other numbers of them.

    Example:
        >>> texts = ["The dog is here, too."], ["The dog was here, too."]
        >>> words = ["The dog is here , too ."], ["The dog was here , too ."]
        >>> {name: round(score, 1) for name, score in score_translations(texts, words).metrics.items()}
        {'bleu': 48.9, 'bleu_tokenized': 48.9, 'chrf': 70.3}
    """
    for outputs, targets in (texts, words):
        if len(outputs) != len(targets):
            raise ValueError(f"{len(outputs)} translations cannot be scored against {len(targets)} references")
    metrics, signatures = {}, {}
    for name, metric, (outputs, targets) in (
        ("bleu", BLEU(), texts),
        ("bleu_tokenized", BLEU(lowercase=True, tokenize="none", smooth_method="none", force=True), words),
        ("chrf", CHRF(), texts),
    ):
        metrics[name] = metric.corpus_score(outputs, [targets]).score
        signatures[name] = str(metric.get_signature())
    return TranslationScores(metrics, signatures)
