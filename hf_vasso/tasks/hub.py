"""Load from the Hugging Face hub, from its cache where the hub does not answer, or say soon why neither works."""

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import datasets
import datasets.config
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from hf_vasso.tasks.errors import DataError

__all__ = ["load_from_hub", "only_from_cache"]

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5.0
_WEIGHTS = ("adapter_model*", "model*.safetensors*", "pytorch_model*.bin*")
_FROM_CACHE = "%s cannot be loaded from the hub (%s); the cached copy is used"


def load_from_hub(
    hub_id: str, config: str | None, splits: Sequence[str], *, what: str, remedy: str, revision: str | None = None
) -> datasets.DatasetDict:
    """
    Load a data set from the hub, or from its cache if the hub does not answer.

    Args:
        hub_id: The data set.
        config: Which one of its configurations; None for one that has none.
        splits: What is wanted of it.
        what: What has no data if this fails, as a message begins.
        remedy: What to do instead, as a message ends.
        revision: A branch into which the hub has converted the data set, as Parquet files in a folder for each
            configuration; None reads the data set as it is.

    Raises:
        DataError: It cannot be loaded.
    """
    # Offline the loader answers at once, from its cache if it can; with a silent hub it retries for long.
    failure = None if datasets.config.HF_HUB_OFFLINE else _in_words(_failure(partial(HfApi().dataset_info, hub_id)))
    try:
        with _offline(datasets.config.HF_HUB_OFFLINE or failure is not None):
            loaded = _load(hub_id, config, splits, revision)
            found = datasets.DatasetDict({split: loaded[split] for split in splits})
        if failure is not None:
            logger.warning(_FROM_CACHE, hub_id, failure)
        return found
    except Exception as error:  # the loader's exceptions differ by version and have no common base
        found_none = _in_words(error)
        failure = found_none if failure is None else f"{failure}; from the cache: {found_none}"
    raise DataError(
        f"{what} has no data: {hub_id} cannot be loaded from the hub ({failure}). Either make {constants.ENDPOINT} "
        f"reachable (HF_HUB_OFFLINE=1 uses only what was downloaded before), or {remedy}"
    )


@cache
def only_from_cache(model: str, revision: str, cache_dir: str | None) -> bool:
    """
    Whether to load a model with `local_files_only`: its weights were downloaded before, and the hub does not answer.

    Transformers would wait for the hub.

    Args:
        model: A hub id, or a folder, for which the hub is not asked.
        revision: Its branch, tag or commit.
        cache_dir: Where models from the hub are kept; None is the folder of huggingface_hub.
    """
    if constants.HF_HUB_OFFLINE or os.path.exists(model) or not _has_weights(model, revision, cache_dir):
        return False
    failure = _failure(partial(HfApi().model_info, model))
    if failure is None or isinstance(failure, HfHubHTTPError | ValueError):  # it has answered
        return False
    logger.warning(_FROM_CACHE, model, _in_words(failure))
    return True


def _has_weights(model: str, revision: str, cache_dir: str | None) -> bool:
    try:
        folder = snapshot_download(model, revision=revision, cache_dir=cache_dir, local_files_only=True)
    except (OSError, ValueError):  # it is not there, or the name is none of the hub
        return False
    return any(path for pattern in _WEIGHTS for path in Path(folder).glob(pattern))


def _load(hub_id: str, config: str | None, splits: Sequence[str], revision: str | None) -> datasets.DatasetDict:
    if revision is None:
        return datasets.load_dataset(hub_id, config)
    # Such a branch says nothing about its configurations, and offline the loader does not find a folder of it again.
    snapshot = snapshot_download(
        hub_id,
        repo_type="dataset",
        revision=revision,
        allow_patterns=f"{config}/*",
        local_files_only=datasets.config.HF_HUB_OFFLINE,
    )
    files = {split: str(Path(snapshot, str(config), split, "*.parquet")) for split in splits}
    return datasets.load_dataset("parquet", data_files=files)


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Set whether the loader of data sets works offline."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = wanted
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _failure(question: Callable[..., Any]) -> Exception | None:
    """
    Ask the hub a question; return None if it answers in time, else what went wrong.

    A timeout of the HTTP client counts anew for every address and leaves out name resolution, so a thread bounds it.
    """
    failures: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            question(timeout=_PATIENCE_SECONDS)
            failures.put(None)
        except Exception as error:  # from requests or httpx, by the version of huggingface_hub
            failures.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return failures.get(timeout=_PATIENCE_SECONDS)
    except queue.Empty:
        return TimeoutError(f"no answer within {_PATIENCE_SECONDS:g} s")


def _in_words(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"
