"""Compare two methods on equal seeds: the mean of the paired differences and its interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.special import stdtrit

__all__ = ["PairedDifference", "paired_difference"]


@dataclass(frozen=True)
class PairedDifference:
    """
    How far one method is from another on the seeds that both have.

    Args:
        mean: Mean of first minus second over the seeds.
        low: Lower end of the 95 % interval; minus infinity for one seed.
        high: Upper end of the 95 % interval; infinity for one seed.
        count: The number of seeds, n.
    """

    mean: float
    low: float
    high: float
    count: int


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> PairedDifference:
    """
    The paired difference of two methods, with its 95 % Student-t interval.

    mean(d) ± t(0.975, n - 1) · s / sqrt(n), d the differences on equal seeds and s their standard deviation.

    Args:
        first: Seed to value.
        second: Seed to value. Seeds that only one of both has are left out.

    Returns:
        The difference, first minus second.

    Raises:
        ValueError: The two have no seed in common.

    Example:
        >>> difference = paired_difference({0: 0.8, 1: 0.9, 2: 0.7}, {0: 0.7, 1: 0.7, 2: 0.7})
        >>> f"{difference.mean:.3f} [{difference.low:.3f}, {difference.high:.3f}], n = {difference.count}"
        '0.100 [-0.148, 0.348], n = 3'
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise ValueError(
            f"a paired difference needs seeds that both have, got {sorted(first)} and {sorted(second)}; "
            "run both with the same seeds"
        )
    differences = [first[seed] - second[seed] for seed in seeds]
    count, center = len(differences), fmean(differences)
    half_width = _half_width(differences, center) if count > 1 else math.inf
    return PairedDifference(center, center - half_width, center + half_width, count)


def _half_width(differences: Sequence[float], center: float) -> float:
    degrees = len(differences) - 1
    variance = math.fsum((difference - center) ** 2 for difference in differences) / degrees
    return float(stdtrit(degrees, 0.975)) * math.sqrt(variance / len(differences))
