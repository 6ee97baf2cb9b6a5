"""What a file may not ask for: flags that run code, hold secrets or publish come from the command line alone."""

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["refuse_from_file"]

_TRUST = "trust_remote_code"
_SECRETS = ("hub_token", "token")
_TO_THE_HUB = ("hub_", "push_to_hub", "trackio_")
_HARMLESS = {_TRUST: (None, False), "push_to_hub": (None, False)}


def refuse_from_file(flags: Mapping[str, Any], repeated: Collection[str], file: object, command: str) -> None:
    """
    Refuse flags that stand in a file and that only the user may give, before anything is loaded.

    Args:
        flags: Flag to value, as the file has them.
        repeated: Flags that stand on the command line too, with underscores.
        file: Where the flags stand, for the message.
        command: The command that reads it, for the message.

    Raises:
        ValueError: The file has a token, or it asks to run a model's code or to send something to the hub and the
            command line does not.
    """
    for written, value in flags.items():
        name = written.partition("=")[0].replace("-", "_")
        if value in _HARMLESS.get(name, (None,)):
            continue
        if name in _SECRETS:
            raise ValueError(
                f"{file} has a {name}, and secrets have no place in files; leave it out and export HF_TOKEN, or log "
                "in with `hf auth login`: the hub's library reads either"
            )
        if name == _TRUST and name not in repeated:
            raise ValueError(
                f"{file} asks for {name}, which runs code that comes with a model; read that code, then add --{name} "
                f"to `{command}`, or leave it out"
            )
        if name.startswith(_TO_THE_HUB) and not {name, "push_to_hub"} & set(repeated):
            raise ValueError(
                f"{file} asks for {name}, which sends something to the hub; add --push_to_hub to `{command}` if that "
                "is what you want, or leave it out"
            )
