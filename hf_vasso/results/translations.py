"""The translations of a test part beside their references: text files that a run leaves and a report reads."""

from pathlib import Path

from hf_vasso.results.reading import RecordError

__all__ = ["REFERENCES_FILE", "TRANSLATIONS_FILE", "read_translations"]

TRANSLATIONS_FILE = "generated_predictions.txt"
REFERENCES_FILE = "references.txt"


def read_translations(folder: Path) -> tuple[list[str], list[str]]:
    """
    Read what a run has translated.

    Args:
        folder: The run's folder.

    Returns:
        (sentences,) each: the translations and the references.

    Raises:
        RecordError: A file is missing or no text, or one has more lines than the other.
    """
    translations, references = (_lines(folder / name) for name in (TRANSLATIONS_FILE, REFERENCES_FILE))
    if len(translations) != len(references):
        raise RecordError(
            folder,
            f"{TRANSLATIONS_FILE} has {len(translations)} lines and {REFERENCES_FILE} {len(references)}; translate "
            "again with --do_predict",
        )
    return translations, references


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise RecordError(path, f"{path.name} {reason}; translate again with --do_predict") from error
    return text.removesuffix("\n").split("\n")
