"""What a model card says about the method that trained the model."""

from pathlib import Path

from huggingface_hub import ModelCard

from hf_vasso.methods import Method
from hf_vasso.spelling import escape_markdown

__all__ = ["add_method", "method_section", "method_tags"]


def method_tags(method: Method) -> list[str]:
    """
    The tags under which the hub lists models of a method.

    Args:
        method: The method.

    Returns:
        The package, and for all but the base optimizer the kind and the name.

    Example:
        >>> from hf_vasso.methods import get_method
        >>> method_tags(get_method("vasso"))
        ['hf_vasso', 'sharpness-aware', 'vasso']
    """
    return ["hf_vasso", *([] if _is_base(method) else ["sharpness-aware", method.name])]


def method_section(method: Method) -> str:
    """
    Describe a method in Markdown.

    Args:
        method: The method.

    Returns:
        A section with its name, its numbers, its paper and how to cite that.
    """
    if _is_base(method):
        return (
            "## Method\n\nThe base optimizer alone, without a perturbation of the weights (trained with hf_vasso).\n"
        )
    perturbed = "the optimizer gets gradients at perturbed weights"
    what = perturbed if method.schedule.perturbs else "a term is added to the loss"
    numbers = ", ".join(f"{escape_markdown(name)} = {value}" for name, value in method.numbers.items())
    section = (
        f"## Method\n\nSharpness-aware training with hf_vasso, method **{escape_markdown(method.name)}** ({numbers}): "
        f"{what}.\n"
    )
    if method.paper is None:
        return section
    title, url, bibtex = escape_markdown(method.paper.title), method.paper.url, method.paper.bibtex
    return f"{section}\nPaper: [{title}]({url})\n\n```bibtex\n{bibtex}\n```\n"


def _is_base(method: Method) -> bool:
    return not method.schedule.perturbs and method.extra_loss is None


def add_method(path: Path, method: Method) -> None:
    """
    Add a method's tags and section to a model card.

    Args:
        path: The card, which is replaced.
        method: The method.
    """
    card = ModelCard.load(path)
    card.data["tags"] = list(dict.fromkeys([*(card.data.get("tags") or []), *method_tags(method)]))
    card.text = f"{card.text.rstrip()}\n\n{method_section(method)}"
    card.save(path)
