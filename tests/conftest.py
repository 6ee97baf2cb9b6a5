"""What all tests share: no hub, no GPU, a home folder of their own, one thread per process."""

import os
import tempfile
from pathlib import Path

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
