"""Intervals and tests against scipy's, against plain loops and by hand, and where there is little to compare."""

import itertools
import math
import random
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from hf_vasso.results.statistics import (
    holm,
    mean_interval,
    paired_difference,
    seeds_needed,
    sign_flip_p_value,
    stratified_interval,
)


def draw(count: int, seed: int = 0, mean: float = 0.2) -> list[float]:
    return np.random.default_rng(seed).normal(mean, 1.0, count).tolist()


def test_a_paired_difference_is_that_of_scipys_test():
    first = {0: 0.81, 1: 0.79, 2: 0.84, 5: 0.80}
    second = {0: 0.80, 1: 0.80, 2: 0.80, 5: 0.77}
    difference = paired_difference(first, second)
    interval = stats.ttest_rel(list(first.values()), list(second.values())).confidence_interval(0.95)
    assert (difference.count, difference.method) == (4, "Student t")
    assert difference.mean == pytest.approx(0.0175)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))


def test_only_seeds_that_both_have_count():
    difference = paired_difference({0: 1.0, 1: 3.0, 7: 100.0}, {1: 1.0, 0: 0.0, 8: -100.0})
    assert (difference.mean, difference.count) == (1.5, 2)


def test_one_seed_has_no_bounds():
    difference = paired_difference({0: 1.0}, {0: 0.0})
    assert (difference.mean, difference.low, difference.high, difference.method) == (1.0, -math.inf, math.inf, "")


def test_no_common_seed():
    with pytest.raises(ValueError, match=r"needs seeds that both have, got \[0\] and \[1\]"):
        paired_difference({0: 1.0}, {1: 1.0})


@pytest.mark.parametrize(("count", "method"), [(2, "Student t"), (19, "Student t"), (20, "bootstrap")])
def test_values_without_spread_have_an_interval_without_width(count, method):
    first = {seed: 0.3 + seed for seed in range(count)}
    second = {seed: 0.2 + seed for seed in range(count)}  # differences of 0.1, up to rounding
    difference = paired_difference(first, second)
    assert difference.low == difference.high == pytest.approx(0.1)
    assert difference.method == method


def test_the_method_changes_at_20_values():
    assert mean_interval(draw(19)).method == "Student t"
    assert mean_interval(draw(20)).method == "bootstrap"


def test_the_bootstrap_is_that_of_a_plain_loop():
    values = draw(25)
    generator = random.Random(1)
    means = sorted(fmean(generator.choices(values, k=25)) for _ in range(20_000))
    interval = mean_interval(values)
    # The standard error of such a quantile is about 0.006 here.
    assert (interval.low, interval.high) == pytest.approx((means[499], means[19_499]), abs=0.03)
    assert interval == mean_interval(values)


def test_the_stratified_bootstrap_is_that_of_a_plain_loop():
    samples = [draw(3, 1), draw(8, 2, mean=5.0), draw(5, 3, mean=-2.0)]
    generator = random.Random(1)
    means = sorted(fmean(fmean(generator.choices(s, k=len(s))) for s in samples) for _ in range(20_000))
    interval = stratified_interval(samples)
    assert (interval.low, interval.high) == pytest.approx((means[499], means[19_499]), abs=0.03)
    # The spread between tasks is not that between seeds.
    pooled = np.concatenate(samples)
    assert interval.high - interval.low < 3.9 * pooled.std() / math.sqrt(len(pooled))


def test_a_task_with_one_seed_leaves_the_average_without_bounds():
    assert stratified_interval([[0.1], [0.2, 0.3]]).low == -math.inf
    constant = stratified_interval([[0.1, 0.1], [0.3, 0.3]])
    assert constant.low == constant.high == pytest.approx(0.2)


def brute_force(differences: list[float]) -> float:
    """The share of all sign choices whose sum is at least as far from zero, on the lattice of 1/872."""
    whole = [round(872 * difference) for difference in differences]
    sums = [
        sum(s * d for s, d in zip(signs, whole, strict=True))
        for signs in itertools.product((1, -1), repeat=len(whole))
    ]
    return sum(abs(total) >= abs(sum(whole)) for total in sums) / len(sums)


@pytest.mark.parametrize("count", range(1, 9))
def test_sign_flips_by_brute_force(count):
    generator = random.Random(count)
    for _ in range(20):
        # Accuracies on 872 examples: many ties, and differences that a float cannot hold.
        firsts = [generator.randint(600, 612) for _ in range(count)]
        seconds = [generator.randint(598, 610) for _ in range(count)]
        differences = [first / 872 - second / 872 for first, second in zip(firsts, seconds, strict=True)]
        assert sign_flip_p_value(differences) == brute_force(differences)


def test_sign_flips_are_those_of_scipy():
    for count in (9, 12):
        differences = draw(count, count)
        exact = stats.permutation_test(
            (np.array(differences),), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
        )
        assert sign_flip_p_value(differences) == pytest.approx(exact.pvalue, abs=1e-12)


def test_sign_flips_at_their_ends():
    assert sign_flip_p_value([0.1] * 6) == 2 / 2**6
    assert sign_flip_p_value([-0.1] * 20) == 2 / 2**20
    assert sign_flip_p_value([0.0] * 7) == 1.0
    assert sign_flip_p_value([0.1, 0.2, -0.3]) == 1.0  # in floats their sum is not zero
    assert sign_flip_p_value([0.1] * 40) == 2 / 2**40


def test_sign_flips_are_drawn_beyond_40():
    differences = draw(41, 3)
    drawn = sign_flip_p_value(differences)
    t_test = stats.ttest_1samp(differences, 0.0).pvalue  # near to it for so many values of a normal distribution
    assert drawn == pytest.approx(t_test, abs=0.02)
    assert drawn == sign_flip_p_value(differences)
    assert sign_flip_p_value([1.0] * 41) == pytest.approx(2 / 100_000)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, and never less than the one before.
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]


def test_seeds_needed_is_the_first_number_that_suffices():
    assert [seeds_needed(comparisons) for comparisons in (1, 3, 6)] == [6, 7, 8]
    for comparisons in range(1, 60):
        count = seeds_needed(comparisons)
        smallest = [holm([2 / 2**n] + [1.0] * (comparisons - 1))[0] for n in (count - 1, count)]
        assert smallest[0] > 0.05 >= smallest[1]
