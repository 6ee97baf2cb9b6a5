"""What seeds can tell: intervals of means and paired differences, the sign-flip test, and Holm's correction."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

__all__ = [
    "BOOTSTRAP",
    "BOOTSTRAP_FROM",
    "EXACT_LIMIT",
    "LEVEL",
    "STUDENT_T",
    "Interval",
    "PairedDifference",
    "holm",
    "mean_interval",
    "paired_difference",
    "paired_values",
    "seeds_needed",
    "sign_flip_p_value",
    "stratified_interval",
]

STUDENT_T, BOOTSTRAP = "Student t", "bootstrap"
LEVEL = 0.05
_CONFIDENCE = 1 - LEVEL
EXACT_LIMIT = 40  # pairs: each half of the flips is then a million sums
BOOTSTRAP_FROM = 20  # values
_RESAMPLES = 9_999
_DRAWS = 99_999
_DRAWN_AT_ONCE = 2**19  # numbers, so that thousands of seeds take no more memory than a few


@dataclass(frozen=True)
class Interval:
    """
    A 95 % interval.

    Args:
        low: Its lower end; minus infinity where there is too little to tell.
        high: Its upper end; infinity where there is too little to tell.
        method: "Student t" or "bootstrap" (percentiles of 9,999 resamples); "" where there is too little to tell.
    """

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class PairedDifference:
    """
    How far one method is from another on the seeds that both have.

    Args:
        values: Seed to first minus second, sorted by seed.
        mean: Their mean.
        low: Lower end of the 95 % interval; minus infinity for one seed.
        high: Upper end of the 95 % interval; infinity for one seed.
        method: Of the interval: "Student t", "bootstrap", or "" for one seed.
    """

    values: dict[int, float]
    mean: float
    low: float
    high: float
    method: str

    @property
    def count(self) -> int:
        """The number of seeds, n."""
        return len(self.values)


def mean_interval(values: Sequence[float]) -> Interval:
    """
    The 95 % interval of a mean: Student's t below 20 values, a percentile bootstrap from there on.

    mean(x) ± t(0.975, n - 1) · s / sqrt(n), s the standard deviation; or the 2.5 % and 97.5 % quantiles of the means
    of resamples.

    Args:
        values: One per seed, at least one.

    Returns:
        The interval. Values without spread have one without width.

    Example:
        >>> interval = mean_interval([0.1, 0.2, 0.0])
        >>> f"[{interval.low:.3f}, {interval.high:.3f}] {interval.method}"
        '[-0.148, 0.348] Student t'
    """
    if len(values) == 1:
        return Interval(-math.inf, math.inf, "")
    if len(values) >= BOOTSTRAP_FROM:
        return _bootstrap_interval(values)
    center = fmean(values)
    if _all_equal(values):
        return Interval(center, center, STUDENT_T)
    low, high = stats.t.interval(_CONFIDENCE, len(values) - 1, loc=center, scale=stats.sem(values))
    return Interval(float(low), float(high), STUDENT_T)


def stratified_interval(samples: Sequence[Sequence[float]]) -> Interval:
    """
    The 95 % interval of the mean over tasks of the mean over seeds, by a bootstrap stratified on the tasks.

    A resample draws each task's seeds anew, so the interval is about other seeds on the same tasks.

    Args:
        samples: Per task, a value per seed (or, for a contrast, per pair). Tasks may differ in their number.

    Returns:
        The interval, with infinite ends where a task has one value.

    Example:
        >>> interval = stratified_interval([[0.8, 0.9, 0.7], [0.6, 0.6, 0.7]])
        >>> f"[{interval.low:.3f}, {interval.high:.3f}] {interval.method}"
        '[0.667, 0.767] bootstrap'
    """
    if min(len(sample) for sample in samples) == 1:
        return Interval(-math.inf, math.inf, "")
    return _bootstrap_interval(*samples)


def paired_values(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """
    Subtract on equal seeds.

    Args:
        first: Seed to value.
        second: Seed to value.

    Returns:
        Seed to first minus second, sorted by seed; seeds that only one of both has are left out.

    Example:
        >>> paired_values({0: 3.0, 1: 5.0, 2: 9.0}, {1: 1.0, 0: 1.0})
        {0: 2.0, 1: 4.0}
    """
    return {seed: first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())}


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> PairedDifference:
    """
    The paired difference of two methods, with its 95 % interval.

    Args:
        first: Seed to value.
        second: Seed to value.

    Returns:
        The mean of `paired_values`, with the interval of `mean_interval`.

    Raises:
        ValueError: The two have no seed in common.

    Example:
        >>> difference = paired_difference({0: 0.8, 1: 0.9, 2: 0.7}, {0: 0.7, 1: 0.7, 2: 0.7})
        >>> f"{difference.mean:.3f} [{difference.low:.3f}, {difference.high:.3f}], n = {difference.count}"
        '0.100 [-0.148, 0.348], n = 3'
    """
    values = paired_values(first, second)
    if not values:
        raise ValueError(
            f"a paired difference needs seeds that both have, got {sorted(first)} and {sorted(second)}; "
            "run both with the same seeds"
        )
    interval = mean_interval(list(values.values()))
    return PairedDifference(values, fmean(values.values()), interval.low, interval.high, interval.method)


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """
    The two-sided sign-flip permutation test of paired differences.

    Were the two methods alike, each difference would as well have the other sign. p is the share of all 2^n choices
    of signs whose sum is at least as far from zero as the one that was seen. It is exact up to 40 pairs; beyond,
    99,999 choices are drawn.

    Args:
        differences: One per pair, at least one.

    Returns:
        p, in (0, 1].

    Example:
        >>> sign_flip_p_value([0.1, 0.2, 0.1, 0.3, 0.2, 0.1])  # of 64 choices, all plus and all minus
        0.03125
    """
    if len(differences) > EXACT_LIMIT:
        return _drawn_p_value(differences)
    threshold = abs(math.fsum(differences)) - _tolerance(differences)
    if threshold <= 0:
        return 1.0
    half = len(differences) // 2
    left, right = np.sort(_signed_sums(differences[:half])), np.sort(_signed_sums(differences[half:]))
    below = np.searchsorted(left, threshold - right).sum()  # pairs of half sums, without making all 2^n of them
    total = 2 ** len(differences)
    return 2 * (total - int(below)) / total  # as many sums lie beyond -threshold


def holm(p_values: Sequence[float]) -> list[float]:
    """
    Correct p-values for how many there are, by Holm's method.

    Args:
        p_values: Of all that is tested together, at least one.

    Returns:
        The corrected ones, in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    return np.asarray(multipletests(p_values, LEVEL, method="holm")[1]).tolist()


def seeds_needed(comparisons: int) -> int:
    """
    How many seeds an exact two-sided sign-flip test needs to reach 0.05 after Holm's correction.

    The smallest p of n pairs is 2 / 2^n, so n = ceil(log2(2 m / 0.05)).

    Args:
        comparisons: How many tests are corrected together, m.

    Returns:
        The number of seeds.

    Example:
        >>> [seeds_needed(comparisons) for comparisons in (1, 3, 6)]
        [6, 7, 8]
    """
    return math.ceil(math.log2(2 * comparisons / LEVEL))


def _bootstrap_interval(*samples: Sequence[float]) -> Interval:
    """The percentile bootstrap of a mean; of several samples, of the mean of their means, each drawn anew."""
    if all(_all_equal(sample) for sample in samples):
        center = float(np.mean([np.mean(sample) for sample in samples]))
        return Interval(center, center, BOOTSTRAP)
    rng = np.random.default_rng(0)  # the same report for the same records
    means = np.mean([_resampled_means(sample, rng) for sample in samples], axis=0)
    outside = (1 - _CONFIDENCE) / 2
    low, high = stats.quantile(means, np.array([outside, 1 - outside]))
    return Interval(float(low), float(high), BOOTSTRAP)


def _resampled_means(sample: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """The means of the resamples of a sample, (9,999,)."""
    batch = max(1, _DRAWN_AT_ONCE // len(sample))
    drawn = stats.bootstrap(
        (sample,), np.mean, n_resamples=_RESAMPLES, batch=batch, method="percentile", vectorized=True, rng=rng
    )
    return drawn.bootstrap_distribution


def _all_equal(values: Sequence[float]) -> bool:
    return np.allclose(values, values[0], rtol=1e-12, atol=1e-15)  # up to what a subtraction leaves


def _signed_sums(values: Sequence[float]) -> np.ndarray:
    """The sums of values under all choices of their signs, (2^len(values),)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _drawn_p_value(differences: Sequence[float]) -> float:
    """
    The test of `scipy.stats.permutation_test` with the signs that it draws from the same generator, in an eighth of
    its time; and sums that are equal on paper count as equal.
    """
    values, rng = np.asarray(differences), np.random.default_rng(0)
    rows = max(1, _DRAWN_AT_ONCE // len(values))
    seen, tolerance = float(values.sum()), _tolerance(differences)
    below = above = 1  # the choice that was seen is one of them
    for done in range(0, _DRAWS, rows):
        size = (min(rows, _DRAWS - done), len(values))
        is_plus = rng.integers(2**32, size=size, dtype=np.uint32) & 1
        sums = 2 * (is_plus @ values) - seen
        below += np.count_nonzero(sums <= seen + tolerance)
        above += np.count_nonzero(sums >= seen - tolerance)
    return min(1.0, 2 * min(below, above) / (_DRAWS + 1))


def _tolerance(differences: Sequence[float]) -> float:
    """How far sums of their absolute values may be apart that are equal on paper: they differ in their last bits."""
    return 1e-9 * math.fsum(map(abs, differences))
