"""A report of thousands of runs: its memory is flat where it draws, and linear in the runs elsewhere."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from made_records import collection_of
from scipy import stats
from synthetic_runs import METHODS, folder_of, record

from hf_vasso.results.collection import Collection
from hf_vasso.results.comparison import compare
from hf_vasso.results.record import write_record
from hf_vasso.results.statistics import mean_interval, sign_flip_p_value, stratified_interval

MIB = 2**20
TASK = "sst2-clean"


def accuracies(count: int, seed: int = 0) -> np.ndarray:
    """Differences of accuracies on 872 examples: many of them, and many of their sums, are equal on paper."""
    return np.random.default_rng(seed).integers(-6, 8, count) / 872


def peak_of(call, *arguments) -> int:
    """The most memory that a call holds at once, in bytes."""
    tracemalloc.start()
    call(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def runs(count: int) -> Collection:
    """Four methods on one task, with so many runs in all."""
    return collection_of([record(TASK, label, seed) for label in METHODS for seed in range(count // len(METHODS))])


@pytest.mark.parametrize(
    "resample", [mean_interval, sign_flip_p_value, lambda values: stratified_interval([values] * 2)]
)
def test_resampling_takes_the_same_memory_for_any_number_of_seeds(resample):
    few, many = (peak_of(resample, accuracies(count).tolist()) for count in (300, 1500))
    assert few < 64 * MIB
    assert many < 1.3 * few


def test_a_comparison_takes_memory_in_proportion_to_its_runs():
    few, many = (peak_of(compare, runs(count)) for count in (500, 1000))
    assert many < 2.2 * few
    assert many < 64 * MIB


@pytest.mark.parametrize("count", [41, 150, 400])
def test_the_signs_that_are_drawn_are_those_of_scipy(count):
    differences = np.random.default_rng(count).normal(0.05, 1.0, count)
    whole = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=99_999,
        vectorized=True,
        batch=1000,
        rng=np.random.default_rng(0),
    )
    assert sign_flip_p_value(differences.tolist()) == whole.pvalue


def test_sums_that_are_equal_on_paper_count_as_equal():
    whole = np.random.default_rng(5).integers(-6, 8, 300)
    in_integers = stats.permutation_test(
        (whole,),
        np.sum,  # without rounding
        permutation_type="samples",
        n_resamples=99_999,
        vectorized=True,
        batch=1000,
        rng=np.random.default_rng(0),
    )
    assert sign_flip_p_value((whole / 872).tolist()) == in_integers.pvalue


def test_the_resamples_of_a_bootstrap_are_those_of_scipy():
    samples = [accuracies(count, count).tolist() for count in (30, 25)]
    for drawn in ([samples[0]], [samples[1]], samples):
        ends = stats.bootstrap(
            drawn,
            lambda *resamples, axis: np.mean([np.mean(resample, axis=axis) for resample in resamples], axis=0),
            n_resamples=9_999,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        interval = stratified_interval(drawn)
        assert (interval.low, interval.high) == (ends.low, ends.high)


@pytest.mark.slow
def test_a_report_of_5000_runs_takes_less_than_a_gigabyte_and_a_minute(tmp_path):
    for seed in range(2500):
        for label in ("sam", "vasso"):
            write_record(record(TASK, label, seed), tmp_path / "runs" / folder_of(TASK, label, seed))
    status, peak, seconds = report_in_child(tmp_path / "runs", tmp_path / "report")
    assert status == 0
    assert seconds < 60
    assert peak < 1e9


# The peak of a process that was forked and became another program counts what it was before; that in /proc does not.
REPORT = r"""
import re, resource, sys
from hf_vasso.cli import main

status = main(["report", *sys.argv[1:]])
peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])
used = resource.getrusage(resource.RUSAGE_SELF)
print(status, peak * 1024, used.ru_utime + used.ru_stime)
"""


def report_in_child(runs_dir: Path, out: Path) -> tuple[int, int, float]:
    """`hf-vasso report` in a process of its own: its status, its peak of memory in bytes, its seconds of CPU."""
    command = [sys.executable, "-c", REPORT, str(runs_dir), "--out", str(out)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    status, peak, seconds = printed.splitlines()[-1].split()
    return int(status), int(peak), float(seconds)
