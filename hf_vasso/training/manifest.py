"""
The manifest of a checkpoint: what belongs to it, written when all of that is on the disk.

`manifest.json` holds the "step", the number of "ranks" that wrote, for each of the "files" its "size" in bytes and its
"xxh3_128", and a "digest" of all these. The file `_unfinished` is in the folder before any other one, until there is a
manifest. The hash finds damage; it does not keep out somebody who changes a file and the manifest with it.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

__all__ = ["MANIFEST", "UNFINISHED", "begin_manifest", "manifest_fault", "write_manifest"]

MANIFEST = "manifest.json"
UNFINISHED = "_unfinished"  # with an underscore, so that the Trainer does not upload it

_TEMPORARY = f"{MANIFEST}.tmp"
_THREADS = 8  # a file system brings several files to the disk at once in little more time than one


def begin_manifest(checkpoint: Path) -> None:
    """Mark a checkpoint, which need not exist and has no manifest, as one that is being written."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / UNFINISHED).touch()


def write_manifest(checkpoint: Path, step: int, ranks: int) -> None:
    """
    Bring all files of a checkpoint to the disk, then write its manifest, which is there whole or not at all.

    Args:
        checkpoint: The folder, to which nobody writes any more.
        step: The optimizer steps that it stands for.
        ranks: The number of processes that wrote it.

    Raises:
        OSError: The disk is full or fails, or a file has been deleted meanwhile.
    """
    paths = sorted(checkpoint.rglob("*"))
    own = (checkpoint / UNFINISHED, checkpoint / _TEMPORARY)
    written = [path for path in paths if path.is_file() and path not in own]
    with ThreadPoolExecutor(_THREADS) as threads:
        described = threads.map(partial(_describe, sync=True), written)
        files = {path.relative_to(checkpoint).as_posix(): each for path, each in zip(written, described, strict=True)}
    for folder in (*(path for path in paths if path.is_dir()), checkpoint, checkpoint.parent):
        _sync_folder(folder)
    content = {"step": step, "ranks": ranks, "files": files}
    with open(checkpoint / _TEMPORARY, "w", encoding="utf-8") as file:
        json.dump({**content, "digest": _digest(content)}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(checkpoint / _TEMPORARY, checkpoint / MANIFEST)
    os.unlink(checkpoint / UNFINISHED)
    _sync_folder(checkpoint)


def manifest_fault(checkpoint: Path) -> str | None:
    """
    Compare a checkpoint with its manifest. Files that the manifest does not name may be there, too.

    Returns:
        The first file that is not as it was written, and why; None where all are.
    """
    try:
        content = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        digest = content.pop("digest")
        if digest != _digest(content):
            return f"{MANIFEST} was changed"
        files = content["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} is cut off or was changed"
    for name, written in files:  # the sizes first, as they cost nothing
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != written["size"]:
            return f"{name} has {path.stat().st_size} bytes and had {written['size']} when it was written"
    for name, written in files:
        try:
            if _describe(checkpoint / name) != written:
                return f"{name} was changed"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def _describe(path: Path, sync: bool = False) -> dict[str, Any]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, xxhash.xxh3_128)  # reads and hashes without the interpreter's lock
        size = file.tell()
        if sync:
            os.fsync(file.fileno())
    return {"size": size, "xxh3_128": digest.hexdigest()}


def _digest(content: dict[str, Any]) -> str:
    return xxhash.xxh3_128(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the file system can be asked for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
