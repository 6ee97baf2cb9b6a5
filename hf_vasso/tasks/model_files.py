"""The files of a model's folder, and the fingerprint by which models of one name are told apart."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from datasets.fingerprint import Hasher

from hf_vasso.tasks.task_arguments import TaskArguments

__all__ = ["FINGERPRINT", "folder_fingerprint", "is_model_file", "is_weights_file", "model_fingerprint"]

FINGERPRINT = "model_fingerprint"
"""Under which name it stands among the flags of a run and of a record."""

# The exact names under which Transformers and PEFT save a model, whole or adapters, and what belongs to it.
_WEIGHTS_FILE = re.compile(
    r"(adapter_model|model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)"
    r"|(model\.safetensors|pytorch_model\.bin)\.index\.json|(adapter_config|config)\.json"
)
_BESIDE_WEIGHTS = {
    *("added_tokens.json", "bpe.codes", "chat_template.jinja", "chat_template.json", "generation_config.json"),
    *("merges.txt", "preprocessor_config.json", "processor_config.json", "sentencepiece.bpe.model"),
    *("sentencepiece.model", "source.spm", "special_tokens_map.json", "spiece.model", "spm.model", "target.spm"),
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "training_args.bin", "vocab-src.json"),
    *("vocab-tgt.json", "vocab.bpe", "vocab.json", "vocab.txt"),
}

# What goes into the fingerprint of a folder: more than is ever written, and the same since the first version.
_MODEL_FILES = ("adapter_*", "config.json", "model*.safetensors*", "pytorch_model*.bin*")
_TOKENIZER_FILES = ("merges.txt", "*.model", "*.spm", "tokenizer*", "vocab*")
_READ = {  # what of the folder that a flag names goes into a run
    "model_name_or_path": (*_MODEL_FILES, "generation_config.json", *_TOKENIZER_FILES),
    "config_name": ("config.json", *_TOKENIZER_FILES),
    "tokenizer_name": _TOKENIZER_FILES,
}
_CHUNK_BYTES = 2**20


def is_weights_file(name: str) -> bool:
    """Whether a file of this name holds weights or a configuration, as saving a model writes them."""
    return _WEIGHTS_FILE.fullmatch(name) is not None


def is_model_file(name: str) -> bool:
    """
    Whether saving a model or its tokenizer writes a file of this name.

    Example:
        >>> is_model_file("model-00001-of-00002.safetensors"), is_model_file("model_v1.safetensors.bak")
        (True, False)
    """
    return is_weights_file(name) or name in _BESIDE_WEIGHTS


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
        [path.name, _hash(path, path.stat().st_mtime_ns, path.stat().st_size)] for path in _files(folder, _MODEL_FILES)
    ]
    return Hasher.hash_bytes(json.dumps(hashes).encode())


def _files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


@cache
def _hash(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        chunks: Any = iter(lambda: file.read(_CHUNK_BYTES), b"")
        return Hasher.hash_bytes(chunks)
