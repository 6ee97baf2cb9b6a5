"""
The manifest of a checkpoint: what belongs to it, written when all of that is on the disk.

`manifest.json` holds the "step", the number of "ranks" that wrote, for each of the "files" its "size" in bytes and its
"xxh3_128", and a "digest" of all these. Until there is a manifest, a file beside the checkpoint says that it is not
finished: in the checkpoint a callback's copy of it would have that file too. The hash finds damage; it does not keep
out somebody who changes a file and the manifest with it.
"""

import errno
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

__all__ = ["MANIFEST", "begin_manifest", "manifest_fault", "unfinished_mark", "write_manifest"]

MANIFEST = "manifest.json"
_TEMPORARY = f"{MANIFEST}.tmp"
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # of file systems that have no such thing
_THREADS = 8  # a file system brings several files to the disk at once in little more time than one


def begin_manifest(checkpoint: Path) -> None:
    """Mark a checkpoint, which need not exist and has no manifest, as one that is being written."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    unfinished_mark(checkpoint).touch()


def unfinished_mark(checkpoint: Path) -> Path:
    """The file that is there while a checkpoint is written; the Trainer uploads no names with an underscore."""
    return checkpoint.with_name(f"_hf_vasso-unfinished-{checkpoint.name}")


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
    written = [path for path in paths if path.is_file() and path != checkpoint / _TEMPORARY]
    with ThreadPoolExecutor(_THREADS) as threads:
        described = threads.map(partial(_describe, sync=True), written)
        files = {path.relative_to(checkpoint).as_posix(): each for path, each in zip(written, described, strict=True)}
    for folder in (*(path for path in paths if path.is_dir()), checkpoint, checkpoint.parent):
        _sync_folder(folder)
    content = {"step": step, "ranks": ranks, "files": files}
    with open(checkpoint / _TEMPORARY, "w", encoding="utf-8") as file:
        json.dump({**content, "digest": _digest(content)}, file, indent=2)
        file.flush()
        _sync(file.fileno())
    os.replace(checkpoint / _TEMPORARY, checkpoint / MANIFEST)
    _sync_folder(checkpoint)
    unfinished_mark(checkpoint).unlink(missing_ok=True)


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
        if not (type(content["step"]) is type(content["ranks"]) is int and all(map(_is_described, files))):
            return f"{MANIFEST} is none of hf_vasso's"
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
            _sync(file.fileno())
    return {"size": size, "xxh3_128": digest.hexdigest()}


def _is_described(named: tuple[str, Any]) -> bool:
    name, entry = named
    leads_out = os.path.isabs(name) or ".." in Path(name).parts
    types = {key: type(value) for key, value in entry.items()}
    return not leads_out and types == {"size": int, "xxh3_128": str}


def _digest(content: dict[str, Any]) -> str:
    return xxhash.xxh3_128(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the file system can be asked for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
