"""The files of a model's folder, and the fingerprint by which models of one name are told apart."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from datasets.fingerprint import Hasher

from hf_vasso.tasks.task_arguments import TaskArguments

__all__ = ["FINGERPRINT", "MODEL_FILES", "folder_fingerprint", "model_fingerprint"]

FINGERPRINT = "model_fingerprint"
"""Under which name it stands among the flags of a run and of a record."""

MODEL_FILES = ("adapter_*", "config.json", "model*.safetensors*", "pytorch_model*.bin*")
"""Patterns of the files of a model, whole or adapters, as Transformers and PEFT save it."""

_TOKENIZER_FILES = ("merges.txt", "*.model", "*.spm", "tokenizer*", "vocab*")
_READ = {  # what of the folder that a flag names goes into a run
    "model_name_or_path": (*MODEL_FILES, "generation_config.json", *_TOKENIZER_FILES),
    "config_name": ("config.json", *_TOKENIZER_FILES),
    "tokenizer_name": _TOKENIZER_FILES,
}
_CHUNK_BYTES = 2**20


def model_fingerprint(arguments: TaskArguments) -> str | None:
    """
    Hash the files of the model that a run begins with.

    A file is read once per process, as long as its size and time stay the same.

    Args:
        arguments: They name the model, its configuration and its tokenizer.

    Returns:
        16 hexadecimal digits; None where no folder is named: a model on the hub is told by its name and revision.
    """
    hashes = [
        [flag, path.name, _hash(path, stat.st_mtime_ns, stat.st_size)]
        for flag, folder in arguments.folders.items()
        for path in _files(Path(folder), _READ.get(flag, ()))
        for stat in [path.stat()]
    ]
    return Hasher.hash_bytes(json.dumps(hashes).encode()) if hashes else None


def folder_fingerprint(folder: Path) -> str:
    """Hash the files of a model, without its tokenizer, into 16 hexadecimal digits; as `model_fingerprint`."""
    hashes = [
        [path.name, _hash(path, path.stat().st_mtime_ns, path.stat().st_size)] for path in _files(folder, MODEL_FILES)
    ]
    return Hasher.hash_bytes(json.dumps(hashes).encode())


def _files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


@cache
def _hash(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        chunks: Any = iter(lambda: file.read(_CHUNK_BYTES), b"")
        return Hasher.hash_bytes(chunks)
