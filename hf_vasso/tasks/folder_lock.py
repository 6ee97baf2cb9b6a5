"""
One command at a time in a folder: a lock that the system releases when the process ends, however it ends.

It is `flock` on the file `.hf_vasso.lock`, which stays in the folder, also through `--fresh`. As long as it is held,
the file names its holder: host, process and since when. On the machines of a cluster it holds as far as the locks of
the file system do: Linux passes those on to an NFS server unless the mount says `nolock` or `local_lock`, and Lustre
needs the mount option `flock`. Where there are no locks at all a warning says so, and the command goes on without one.

`filelock` has no place for the holder's name: some of its versions empty the file when another process opens it.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["LOCK_FILE", "hold_folder"]

logger = logging.getLogger(__name__)

LOCK_FILE = ".hf_vasso.lock"

_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_PAUSE_SECONDS = 0.05
_MOST_SECONDS_TO_OPEN = 5.0
_MAX_BYTES = 1000

_held: set[int] = set()


def _close_in_child() -> None:
    """A process that loads data must not keep the lock when the one that trains is killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def hold_folder(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """
    Hold a folder, making it where it is missing; what comes to nothing leaves neither the folder nor the file.

    A folder that may not be written is not held: nobody who is in the same place can change it.

    Args:
        folder: The folder.
        patience: How many seconds to wait for another process to end.

    Raises:
        ValueError: Another process holds it.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    before: set[str] = set()
    with suppress(OSError):
        before = set(os.listdir(folder))
    try:
        descriptor = _lock(folder / LOCK_FILE, time.monotonic() + patience)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            if LOCK_FILE not in before and set(os.listdir(folder)) == {*before, LOCK_FILE}:
                os.unlink(folder / LOCK_FILE)  # while it is held: who waits for it finds out that it is gone
                for path in missing:
                    path.rmdir()
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that is just being made has a copy of the descriptor
        _held.discard(descriptor)
        os.close(descriptor)


def _lock(path: Path, deadline: float) -> int:
    """The descriptor of the locked file."""
    begin = time.monotonic()
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # who held it has just deleted the folder that it had made
            if time.monotonic() > begin + _MOST_SECONDS_TO_OPEN:
                raise
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                logger.warning("%s: this file system has no locks; run one command at a time there", path.parent)
                return descriptor
            holder = _holder(descriptor)
            os.close(descriptor)
            if error.errno not in _HELD_BY_ANOTHER:
                raise
            if time.monotonic() >= deadline:
                raise ValueError(
                    f"{path.parent} is in use by {holder}; wait for its end or stop it, or choose another --output_dir"
                ) from error
            time.sleep(_PAUSE_SECONDS)
            continue
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # its holder has deleted it
    _held.add(descriptor)
    _name_holder(descriptor)
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _name_holder(descriptor: int) -> None:
    now = time.strftime("%Y-%m-%d %H:%M:%S%z")
    words = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now})
    with suppress(OSError):  # the disk may be full
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, words.encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        named = json.loads(os.pread(descriptor, _MAX_BYTES, 0))
        holder = f"process {named['process']} on {named['host']} since {named['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has not written that yet
        holder = ""
    return holder if holder and holder.isprintable() else "another process"
