"""Map data sets by way of the cache of `datasets`, under keys that change with what a mapping calls, too."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from datasets import Dataset
from datasets.fingerprint import Hasher

from hf_vasso.tasks.data_files import CACHE_FORMAT

__all__ = ["cached_map"]

_LIBRARIES = ("sacremoses", "tokenizers", "transformers")  # words and subwords are as they find them


def cached_map(data: Dataset, function: Callable[..., dict[str, Any]], *, key: Any, **options: Any) -> Dataset:
    """
    `data.map`, or what it gave before.

    By itself `datasets` hashes all that a function holds, which takes seconds for a tokenizer, and knows what it calls
    only by name, so that another release would go on with old results.

    Args:
        data: What is mapped.
        function: What it is mapped by.
        key: What decides on the results, beside the data: functions of modules, names and numbers.
        **options: Of `map`.
    """
    versions = [version(name) for name in _LIBRARIES]
    fingerprint = Hasher.hash([CACHE_FORMAT, versions, data._fingerprint, key])
    return data.map(function, new_fingerprint=fingerprint, **options)
