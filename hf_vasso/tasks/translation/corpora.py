"""The translation corpora as values in one table: languages, splits, where they are and how they are prepared."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hf_vasso.spelling import unknown_name

__all__ = ["CORPORA", "Corpus", "get_corpus"]

_SPLIT_FILES = {"train": ("train",), "validation": ("validation", "valid"), "test": ("test",)}


@dataclass(frozen=True)
class Corpus:
    """
    Pairs of sentences in two languages, to be translated in either direction.

    Args:
        name: Its name on the command line and as a folder of `--data_dir`.
        languages: The two, by their codes.
        split_sizes: The official number of pairs of each split.
        hub_id: The data set on the hub, None where there is none.
        hub_config: Its configuration, None where it has one only.
        hub_revision: Where the main branch is a loading script, the branch with the Parquet files of configurations.
        split_files: Split to the names that its files may have, without language and suffix.
        has_words: Whether its texts are Moses' words with blanks between them already.
        lower_case: Whether both sides are lower-cased, references included.
        longest: Words of a training sentence at most, after Moses tokenisation; None drops none.
        largest_ratio: How many times as many words one side of a training pair may have as the other; None drops none.
        headline: The metric by which papers report it: "bleu", sacreBLEU's, or "bleu_tokenized".
    """

    name: str
    languages: tuple[str, str]
    split_sizes: Mapping[str, int]
    hub_id: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    split_files: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _SPLIT_FILES)
    has_words: bool = False
    lower_case: bool = False
    longest: int | None = None
    largest_ratio: float | None = None
    headline: str = "bleu"

    @property
    def leaves_pairs_out(self) -> bool:
        """Whether its recipe has a limit for training pairs."""
        return self.longest is not None or self.largest_ratio is not None


_CORPUS_LIST = [
    # As fairseq prepares it (examples/translation/prepare-iwslt14.sh), which is what papers report on.
    Corpus(
        name="iwslt14.de-en",
        languages=("de", "en"),
        split_sizes={"train": 160239, "validation": 7283, "test": 6750},
        hub_id="bbaaaa/iwslt14-de-en",
        hub_config="de-en",
        hub_revision="refs/convert/parquet",
        has_words=True,
        lower_case=True,
        longest=175,
        largest_ratio=1.5,
        headline="bleu_tokenized",
    ),
    Corpus(
        name="iwslt17.de-en",
        languages=("de", "en"),
        split_sizes={"train": 206112, "validation": 888, "test": 8079},
        hub_id="IWSLT/iwslt2017",
        hub_config="iwslt2017-de-en",
        hub_revision="refs/convert/parquet",
    ),
    Corpus(
        name="multi30k.de-en",
        languages=("de", "en"),
        split_sizes={"train": 29000, "validation": 1014, "test": 1000},
        hub_id="bentrevett/multi30k",
        split_files={**_SPLIT_FILES, "test": ("test2016",)},
    ),
]

CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in _CORPUS_LIST}
"""Every corpus by its name."""


def get_corpus(name: str) -> Corpus:
    """
    Look a corpus up.

    Args:
        name: A name in `CORPORA`.

    Returns:
        The corpus.

    Raises:
        ValueError: The name is not known; the message has the nearest one and the list.

    Example:
        >>> get_corpus("multi30k.de-en").split_files["test"]
        ('test2016',)
    """
    if name not in CORPORA:
        raise ValueError(unknown_name("corpus", name, CORPORA))
    return CORPORA[name]
