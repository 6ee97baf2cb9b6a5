"""Score translations: by sacreBLEU, as papers on IWSLT do it, and by chrF, each with the signature that says how."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacremoses import MosesTokenizer

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


def score_translations(hypotheses: Sequence[str], references: Sequence[str], language: str) -> TranslationScores:
    """
    Score the translation of a corpus.

    Args:
        hypotheses: (sentences,), detokenised.
        references: (sentences,), detokenised.
        language: The code of their language, for the Moses tokens.

    Raises:
        ValueError: There are other numbers of them.

    Example:
        >>> scores = score_translations(["The dog is here, too."], ["The dog was here, too."], "en")
        >>> {name: round(score, 1) for name, score in scores.metrics.items()}
        {'bleu': 48.9, 'bleu_tokenized': 48.9, 'chrf': 70.3}
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} translations cannot be scored against {len(references)} references")
    plain, tokens = (hypotheses, references), tuple(_tokens(texts, language) for texts in (hypotheses, references))
    metrics, signatures = {}, {}
    for name, metric, (outputs, targets) in (
        ("bleu", BLEU(), plain),
        ("bleu_tokenized", BLEU(lowercase=True, tokenize="none", smooth_method="none", force=True), tokens),
        ("chrf", CHRF(), plain),
    ):
        metrics[name] = metric.corpus_score(outputs, [targets]).score
        signatures[name] = str(metric.get_signature())
    return TranslationScores(metrics, signatures)


def _tokens(texts: Iterable[str], language: str) -> list[str]:
    moses = MosesTokenizer(language)
    return [" ".join(moses.tokenize(text, escape=False)) for text in texts]
