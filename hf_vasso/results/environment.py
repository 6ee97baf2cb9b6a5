"""Where a run took place: versions of the packages and the commit of this one."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["environment"]

_PACKAGES = (
    "hf_vasso",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "peft",
    "numpy",
    "scipy",
    "scikit-learn",
    "torchmetrics",
)


def environment(device: str, threads: int) -> dict[str, Any]:
    """
    Describe where a run takes place.

    To be called when the run begins: later the checkout may be at another commit than the code that is loaded.

    Args:
        device: "cpu", or the name of the accelerator.
        threads: Threads with which each process computes on the CPU.

    Returns:
        "device", "threads", "packages" (name to version, with Python's) and "commit" (None outside a checkout of this
        package).
    """
    packages = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that is not installed
            continue
    return {"device": device, "threads": threads, "packages": packages, "commit": _commit()}


@cache
def _commit() -> str | None:
    """The commit of this package's checkout, with "-dirty" where files differ from it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # an installed package inside someone else's repository
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no commit yet
        return None
