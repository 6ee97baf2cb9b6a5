"""Score translations: by sacreBLEU, as papers on IWSLT do it, and by chrF, each with the signature that says how."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from hf_vasso.results.bleu import bleu_metric

__all__ = ["TOKENIZERS", "TranslationScores", "default_tokenizer", "score_translations"]

TOKENIZERS = tuple(name for name in BLEU.TOKENIZERS if name != "spm")
"""The names of sacreBLEU's tokenizers, without `spm`, an old name of flores101."""

# Other codes of these languages: ISO 639-2, ISO 639-3 and those used in file names.
_TWO_LETTERS = {
    **dict.fromkeys(("chi", "cmn", "cn", "lzh", "wuu", "yue", "zho"), "zh"),
    **dict.fromkeys(("jp", "jpn"), "ja"),
    "kor": "ko",
    "tha": "th",
    "khm": "km",
    "lao": "lo",
    **dict.fromkeys(("bur", "mya"), "my"),
    **dict.fromkeys(("bod", "tib"), "bo"),
    "dzo": "dz",
}
# Written without spaces between words and without a tokenizer in sacreBLEU; characters need no dictionary and no
# download.
_BY_CHARACTERS = ("th", "km", "lo", "my", "shn", "bo", "dz")
_OF_LANGUAGES = {**dict.fromkeys(_BY_CHARACTERS, "char"), **BLEU._TOKENIZER_MAP}


@dataclass(frozen=True)
class TranslationScores:
    """
    The scores of a translation.

    Args:
        metrics: "bleu" (sacreBLEU's own), "bleu_tokenized" (of lower-cased words without smoothing, as
            multi-bleu.perl has it, which papers on IWSLT14 report) and "chrf", each between 0 and 100.
        signatures: By the same names how sacreBLEU came to them.
    """

    metrics: dict[str, float]
    signatures: dict[str, str]


def default_tokenizer(language: str) -> str:
    """
    The tokenizer of sacreBLEU for a target language.

    Args:
        language: Its code, such as de, zh, zh_CN, zh-cn or zho_Hans.

    Returns:
        That of sacreBLEU's command for Chinese, Japanese and Korean, "char" for other languages that are written
        without spaces between words, such as Thai, and "13a" for all others.

    Example:
        >>> default_tokenizer("zho_Hans"), default_tokenizer("th"), default_tokenizer("en")
        ('zh', 'char', '13a')
    """
    code = re.split("[-_]", language.lower())[0]
    return _OF_LANGUAGES.get(_TWO_LETTERS.get(code, code), BLEU.TOKENIZER_DEFAULT)


def score_translations(
    texts: tuple[Sequence[str], Sequence[str]],
    words: tuple[Sequence[str], Sequence[str]] | None,
    tokenizer: str = BLEU.TOKENIZER_DEFAULT,
) -> TranslationScores:
    """
    Score the translation of a corpus.

    Args:
        texts: The translations and the references, (sentences,) each.
        words: The same as Moses' words separated by spaces, in any case; None takes the words of `tokenizer`.
        tokenizer: sacreBLEU's tokenizer for "bleu".

    Raises:
        ValueError: There are other numbers of them, or the tokenizer cannot be used.

    Example:
        >>> texts = ["The dog is here, too."], ["The dog was here, too."]
        >>> words = ["The dog is here , too ."], ["The dog was here , too ."]
        >>> {name: round(score, 1) for name, score in score_translations(texts, words).metrics.items()}
        {'bleu': 48.9, 'bleu_tokenized': 48.9, 'chrf': 70.3}
    """
    word_tokenizer = tokenizer if words is None else "none"
    words = words or texts
    for outputs, targets in (texts, words):
        if len(outputs) != len(targets):
            raise ValueError(f"{len(outputs)} translations cannot be scored against {len(targets)} references")
    metrics, signatures = {}, {}
    for name, metric, (outputs, targets) in (
        ("bleu", bleu_metric(tokenizer), texts),
        (
            "bleu_tokenized",
            bleu_metric(word_tokenizer, lowercase=True, smooth_method="none", force=True),
            words,
        ),
        ("chrf", CHRF(), texts),
    ):
        metrics[name] = metric.corpus_score(outputs, [targets]).score
        signatures[name] = str(metric.get_signature())
    return TranslationScores(metrics, signatures)
