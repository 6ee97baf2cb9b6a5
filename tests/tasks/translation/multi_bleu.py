"""BLEU as multi-bleu.perl computes it, written anew."""

import math
from collections import Counter

__all__ = ["multi_bleu"]


def multi_bleu(hypotheses, references):
    """Papineni et al. 2002 over lines of tokens: no smoothing, one brevity penalty."""
    matches, totals = [0] * 4, [0] * 4
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        for size in range(1, 5):
            found, wanted = (
                Counter(tuple(line[i : i + size]) for i in range(len(line) - size + 1))
                for line in (hypothesis, reference)
            )
            matches[size - 1] += (found & wanted).total()
            totals[size - 1] += found.total()
    if 0 in matches:
        return 0.0
    lengths = [sum(map(len, lines)) for lines in (hypotheses, references)]
    penalty = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * penalty * math.exp(sum(math.log(m / t) for m, t in zip(matches, totals, strict=True)) / 4)
