"""The paired difference against scipy's own test, and where there is little to compare."""

import math

import pytest
from scipy.stats import ttest_rel

from hf_vasso.results.statistics import paired_difference


def test_equal_to_scipy():
    first = {0: 0.81, 1: 0.79, 2: 0.84, 5: 0.80}
    second = {0: 0.80, 1: 0.80, 2: 0.80, 5: 0.77}
    difference = paired_difference(first, second)
    interval = ttest_rel(list(first.values()), list(second.values())).confidence_interval(0.95)
    assert difference.count == 4
    assert difference.mean == pytest.approx(0.0175)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))


def test_only_seeds_that_both_have_count():
    difference = paired_difference({0: 1.0, 1: 3.0, 7: 100.0}, {1: 1.0, 0: 0.0, 8: -100.0})
    assert (difference.mean, difference.count) == (1.5, 2)


def test_differences_without_spread():
    difference = paired_difference({0: 1.0, 1: 2.0}, {0: 0.0, 1: 1.0})
    assert (difference.low, difference.high) == (1.0, 1.0)


def test_one_seed_has_no_bounds():
    difference = paired_difference({0: 1.0}, {0: 0.0})
    assert (difference.mean, difference.low, difference.high) == (1.0, -math.inf, math.inf)


def test_no_common_seed():
    with pytest.raises(ValueError, match=r"needs seeds that both have, got \[0\] and \[1\]"):
        paired_difference({0: 1.0}, {1: 1.0})
