"""Load a data set from the Hugging Face hub, or say soon and clearly why that cannot be done."""

import queue
import threading
from collections.abc import Sequence

import datasets
import datasets.config
from huggingface_hub import HfApi, constants

from hf_vasso.tasks.errors import DataError

__all__ = ["load_from_hub"]

_PATIENCE_SECONDS = 5.0


def load_from_hub(
    hub_id: str, config: str | None, splits: Sequence[str], *, what: str, remedy: str, revision: str | None = None
) -> datasets.DatasetDict:
    """
    Load a data set from the hub, or from the cache of what was downloaded before.

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
    # Without the network the loader answers at once, from its cache if it can; with a silent one it retries for long.
    failure = None if datasets.config.HF_HUB_OFFLINE else _failure(hub_id)
    if failure is None:
        try:
            if revision is None:
                loaded = datasets.load_dataset(hub_id, config)
            else:  # such a branch says nothing about its configurations
                loaded = datasets.load_dataset(hub_id, data_dir=config, revision=revision)
            return datasets.DatasetDict({split: loaded[split] for split in splits})
        except Exception as error:  # the loader's exceptions differ by version and have no common base
            failure = _in_words(error)
    raise DataError(
        f"{what} has no data: {hub_id} cannot be loaded from the hub ({failure}). Either make {constants.ENDPOINT} "
        f"reachable (HF_HUB_OFFLINE=1 uses only what was downloaded before), or {remedy}"
    )


def _failure(hub_id: str) -> str | None:
    """
    Ask the hub one question; return None if it answers in time, else what went wrong.

    A timeout of the HTTP client counts anew for every address and leaves out name resolution, so a thread bounds it.
    """
    failures: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            HfApi().dataset_info(hub_id, timeout=_PATIENCE_SECONDS)
            failures.put(None)
        except Exception as error:  # from requests or httpx, by the version of huggingface_hub
            failures.put(_in_words(error))

    threading.Thread(target=ask, daemon=True).start()
    try:
        return failures.get(timeout=_PATIENCE_SECONDS)
    except queue.Empty:
        return f"no answer within {_PATIENCE_SECONDS:g} s"


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
