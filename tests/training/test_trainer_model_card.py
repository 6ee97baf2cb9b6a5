"""The Trainer's own card with what it does not know: the method, its numbers and its paper."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard
from tiny_training import bert, run, sentences
from transformers import Trainer

from hf_vasso import METHODS, Method, get_method
from hf_vasso.methods.method import Paper
from hf_vasso.spelling import escape_markdown
from hf_vasso.training.model_card import method_section, method_tags

NASTY = "a|b `c` <script>x</script> [d](e) _f_ *g* # &lt; ~~h~~ \\ $i$ \n# j"


@pytest.fixture
def hub(monkeypatch) -> list[str]:
    """A hub that keeps the card of each upload."""
    cards = []

    def upload_folder(*_, folder_path, **__):
        cards.append(ModelCard.load(f"{folder_path}/README.md").content)

    monkeypatch.setattr(Trainer, "init_hf_repo", lambda self, **_: setattr(self, "hub_model_id", "me/model"))
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr("transformers.trainer.upload_folder", upload_folder, raising=False)  # as 4.57 calls it
    return cards


def test_a_push_has_the_method_in_its_card(build, hub):
    trainer = build(bert(), sentences(8), method="vasso", rho=0.3, max_steps=1, label_names=["labels"])
    run(trainer)
    for _ in range(2):  # a second push writes the card anew
        trainer.push_to_hub(tags=["mine"])
    assert hub[0] == hub[1]
    card = ModelCard(hub[0])
    assert {"mine", "generated_from_trainer", "hf_vasso", "sharpness-aware", "vasso"} == set(card.data.tags)
    assert card.text.count("## Method") == 1
    assert "method **vasso** (rho = 0.3, theta = 0.4)" in card.text
    paper = METHODS["vasso"]().paper
    assert f"[{paper.title}]({paper.url})" in card.text
    assert f"```bibtex\n{paper.bibtex}\n```" in card.text
    assert "learning_rate: 0.01" in card.text  # what the Trainer itself says is kept


def test_a_card_that_the_trainer_does_not_write_is_left_alone(build, monkeypatch):
    trainer = build(bert(), sentences(8), method="vasso")
    card = Path(trainer.args.output_dir, "README.md")
    card.parent.mkdir(exist_ok=True)
    card.write_text("---\ntags: [mine]\n---\n# Mine\n")
    monkeypatch.setattr(Trainer, "create_model_card", lambda self, *args, **kwargs: None)  # as a subclass may do
    trainer.create_model_card()
    assert card.read_text() == "---\ntags: [mine]\n---\n# Mine\n"


def test_a_method_that_is_passed_is_the_one_in_the_card(build):
    trainer = build(bert(), sentences(8), trainer_options={"method": Method(rho=0.7, name="mine")})
    trainer.create_model_card(model_name="a-model", language="en")
    card = ModelCard.load(f"{trainer.args.output_dir}/README.md")
    assert "method **mine** (rho = 0.7)" in card.text
    assert (card.data.language, card.data.tags[-1]) == (["en"], "mine")
    assert "# a-model" in card.text
    assert "bibtex" not in card.text


def test_other_processes_write_no_card(build, monkeypatch, tmp_path):
    trainer = build(bert(), sentences(8))
    monkeypatch.setattr(trainer, "is_world_process_zero", lambda: False)
    trainer.create_model_card()
    assert not list(tmp_path.rglob("README.md"))


def test_the_base_optimizer_is_no_sharpness_aware_method():
    assert method_tags(get_method("none")) == ["hf_vasso"]
    assert "The base optimizer alone" in method_section(get_method("none"))
    assert "rho" not in method_section(get_method("none"))


@pytest.mark.parametrize("name", ["saf", "mesa"])
def test_what_adds_to_the_loss_has_its_card(name):
    assert method_tags(get_method(name)) == ["hf_vasso", "sharpness-aware", name]
    section = method_section(get_method(name))
    assert f"method **{name}** (weight = " in section and "a term is added to the loss" in section
    assert "Sharpness-Aware Training for Free" in section


@pytest.mark.parametrize("text", [NASTY, "plain-name_1.0", "<!-- x", "![y](z)", "**b**", "<https://a.b>"])
def test_names_stay_names(text):
    """A CommonMark parser with tables, strikethrough and HTML reads an escaped name as its text and no more."""
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    table = parser.parse(f"| name | x |\n| --- | --- |\n| {escape_markdown(text)} | 1 |\n")
    cells = [token.children for token in table if token.type == "inline"]
    assert len(cells) == 4
    assert "".join(part.content for part in cells[2]) == " ".join(text.split())
    assert {part.type for part in cells[2]} <= {"text", "text_special"}


def test_a_section_of_a_strange_method():
    paper = Paper(title=NASTY, url="https://example.org", bibtex="@misc{x}")
    section = method_section(Method(name=NASTY, paper=paper))
    assert f"method **{escape_markdown(NASTY)}** (rho = 0.01)" in section
    assert f"[{escape_markdown(NASTY)}](https://example.org)" in section
