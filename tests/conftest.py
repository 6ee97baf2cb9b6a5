"""What all tests share: no hub, no GPU, a home folder of their own, one thread per process."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest

# Libraries read these when they are imported, and processes that tests start inherit them. Every pytest process has a
# home of its own, since the metrics write Arrow files there.
_HOME = tempfile.TemporaryDirectory(prefix="hf_vasso-tests-", ignore_cleanup_errors=True)
os.environ.update(
    CUDA_VISIBLE_DEVICES="",
    HF_HOME=_HOME.name,
    HF_HUB_OFFLINE="1",
    OMP_NUM_THREADS="1",  # torch's thread count: workers do not compete, and sums have one order on every machine
    TOKENIZERS_PARALLELISM="false",
)

_DATA = os.environ.get("HF_VASSO_DATA", "")
_NO_DATA = (
    f"HF_VASSO_DATA names no folder: {_DATA!r}" if _DATA else "HF_VASSO_DATA, the folder of real data, is not set"
)

# `make attack` sets this to repeat the attacks below tests/attacks/ so many times as often as `make test` does.
_ATTACK_FACTOR = int(os.environ.get("HF_VASSO_ATTACK_FACTOR", "1"))

# The same examples in every run, so that a commit passes or fails whenever it is tested.
hypothesis.settings.register_profile(
    "hf_vasso", max_examples=30 * _ATTACK_FACTOR, derandomize=True, deadline=None, database=None
)
hypothesis.settings.load_profile("hf_vasso")


@dataclass
class Attacks:
    """
    A counted attack: it is seeded, and its figures are printed after the tests.

    Args:
        attempts: How many attempts to make.
    """

    attempts: int
    outcomes: Counter[str] = field(default_factory=Counter)

    def count(self, outcome: str) -> None:
        """Count an attempt: "survived", "lost" (what was finished or saved is gone), or "wrong" (silently)."""
        self.outcomes[outcome] += 1

    def check(self) -> None:
        """Fail unless every attempt was survived, and there was at least one."""
        assert set(self.outcomes) == {"survived"}, dict(self.outcomes)


@pytest.fixture
def attacks(record_property) -> Iterator[Callable[[int], Attacks]]:
    """From the number of attempts in `make test` to the `Attacks` of a test, which counts them."""
    begun: list[Attacks] = []

    def begin(attempts: int) -> Attacks:
        begun.append(Attacks(attempts * _ATTACK_FACTOR))
        return begun[-1]

    yield begin
    for each in begun:
        record_property("attacks", dict(each.outcomes))


def pytest_terminal_summary(terminalreporter) -> None:
    """The figures of the attacks, as docs/reliability.md has them."""
    rows = [
        (report.nodeid, figures)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, figures in report.user_properties
        if name == "attacks"
    ]
    if rows:
        terminalreporter.section("attacks: attempted, survived, lost, wrong")
    for test, figures in sorted(rows):
        counts = [sum(figures.values()), *(figures.get(name, 0) for name in ("survived", "lost", "wrong"))]
        terminalreporter.line(f"{' '.join(f'{count:>6}' for count in counts)}  {test}")


def _has_data() -> bool:
    return bool(_DATA) and Path(_DATA).is_dir()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not _has_data():
        for item in items:
            if item.get_closest_marker("realdata"):
                item.add_marker(pytest.mark.skip(reason=_NO_DATA))


def pytest_unconfigure() -> None:
    _HOME.cleanup()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, for tests marked `realdata`."""
    if not _has_data():
        pytest.skip(_NO_DATA)
    return Path(_DATA).resolve()


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A folder `numbers` with German and English numerals, line by line: 40 pairs to train on, 8 and 6."""
    german = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht"]
    english = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    folder = tmp_path / "numbers"
    folder.mkdir()
    for split, count in {"train": 40, "valid": 8, "test": 6}.items():
        for language, words in (("de", german), ("en", english)):
            lines = [" ".join(words[(n + 3 * step) % 8] for step in range(1 + n % 5)) + "." for n in range(count)]
            (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines))
    return folder
