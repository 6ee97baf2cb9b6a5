"""From a corpus to ids: what is learned and encoded once, from which pairs, and which pairs are left out."""

from importlib.metadata import version
from pathlib import Path

import datasets
import pytest
import transformers
from transformers import NllbTokenizer

from hf_vasso.tasks.errors import DataError
from hf_vasso.tasks.translation import cached_map, subwords, text
from hf_vasso.tasks.translation.arguments import parse_translation_arguments
from hf_vasso.tasks.translation.data import load_corpus
from hf_vasso.tasks.translation.subwords import mirrored

LETTERS = "abcdefghijklmnopqrstuvwxyzü."

needs_transformers_5 = pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) < 5, reason="Transformers 4 builds this tokenizer from files alone"
)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The files in a cache of the test's own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return lambda: sorted((tmp_path / "cache").rglob("*.arrow"))


@pytest.fixture
def load(corpus, tmp_path, cached):
    """Load the fixture's corpus with more flags; what is said stands in `load.said`."""

    def load(*flags):
        load.said = []
        words = ["--data_dir", str(corpus), "--source_lang", "de", "--target_lang", "en", "--config_name", "tiny"]
        arguments, _ = parse_translation_arguments([*words, *flags, "--output_dir", str(tmp_path / "run")])
        return load_corpus(arguments, ["train", "validation", "test"], load.said.append)

    return load


@pytest.fixture
def pretrained(tmp_path) -> Path:
    """A folder with a tokenizer that reads texts, not words."""
    special = ("<s>", "<pad>", "</s>", "<unk>", "▁")
    vocabulary = {piece: number for number, piece in enumerate([*special, *LETTERS])}
    NllbTokenizer(vocab=vocabulary, merges=[]).save_pretrained(tmp_path / "pretrained")
    return tmp_path / "pretrained"


def lines(corpus: Path, name: str) -> list[str]:
    return (corpus / name).read_text().splitlines()


def add_pairs(corpus: Path, split: str, *pairs: tuple[str, str]) -> None:
    """Put pairs before all others."""
    for language, texts in zip(("de", "en"), zip(*pairs, strict=True), strict=True):
        path = corpus / f"{split}.{language}"
        path.write_text("".join(f"{text}\n" for text in texts) + path.read_text())


def columns(data) -> dict[str, dict]:
    return {name: split.to_dict() for name, split in data.splits.items()}


def characters(tokenizer) -> set[str]:
    """All that stand in its subwords."""
    return set(
        "".join(piece.removesuffix("</w>") for piece in set(tokenizer.encoder) - set(tokenizer.all_special_tokens))
    )


def test_nothing_is_learned_or_encoded_twice(load, cached, monkeypatch):
    first = load("--vocab_size", "60")
    files = cached()
    monkeypatch.setattr(subwords, "BpeTrainer", None)  # cannot learn any more
    again = load("--vocab_size", "60")
    assert cached() == files
    assert (again.tokenizer.encoder, again.tokenizer.bpe_ranks) == (first.tokenizer.encoder, first.tokenizer.bpe_ranks)
    assert columns(again) == columns(first)


def test_ids_are_those_of_the_tokenizer(load, corpus):
    """With one cache for both: it has the ids of the other size of the vocabulary too."""
    for size in (60, 50):
        data = load("--vocab_size", str(size))
        assert len(data.tokenizer) == size
        for name, file in {"train": "train", "validation": "valid", "test": "test"}.items():
            assert data.splits[name]["input_ids"][:] == data.tokenizer(lines(corpus, f"{file}.de"))["input_ids"]
            targets = mirrored(data.tokenizer)(lines(corpus, f"{file}.en"))
            assert data.splits[name]["labels"][:] == targets["input_ids"]


@needs_transformers_5
def test_pretrained_codes_and_prefixes_have_ids_of_their_own(load, corpus, cached, pretrained):
    variants = [("deu_Latn", "eng_Latn", ""), ("deu_Latn", "fra_Latn", ""), ("fra_Latn", "eng_Latn", "")]
    for source, target, prefix in [*variants, ("deu_Latn", "eng_Latn", "ab ")]:
        words = ["--source_lang_code", source, "--target_lang_code", target, "--source_prefix", prefix]
        words += ["--model_name_or_path", str(pretrained)]
        data = load(*words)
        files = cached()
        assert columns(load(*words)) == columns(data)
        assert cached() == files
        expected = NllbTokenizer.from_pretrained(pretrained, src_lang=source, tgt_lang=target)
        sources = [prefix + text for text in lines(corpus, "train.de")]
        assert data.splits["train"]["input_ids"][:] == expected(sources)["input_ids"]
        targets = expected(text_target=lines(corpus, "train.en"))
        assert data.splits["train"]["labels"][:] == targets["input_ids"]


def test_a_saved_tokenizer_has_the_ids_of_before(load, cached, tmp_path):
    data = load("--vocab_size", "60")
    files = cached()
    data.tokenizer.save_pretrained(tmp_path / "trained")
    for _ in range(2):
        assert columns(load("--model_name_or_path", str(tmp_path / "trained"))) == columns(data)
        assert cached() == files


@pytest.mark.parametrize(
    ("what", "changed"),
    [("FORMAT", True), ("sacremoses", True), ("tokenizers", True), ("transformers", True), ("pytest", False)],
)
def test_another_release_uses_no_old_results(load, monkeypatch, what, changed):
    before = load()
    if what == "FORMAT":
        monkeypatch.setattr(cached_map, "CACHE_FORMAT", -1)
    else:
        monkeypatch.setattr(cached_map, "version", lambda name: "0" if name == what else version(name))
    after = load()
    assert columns(after) == columns(before)
    assert (after.splits["train"]._fingerprint != before.splits["train"]._fingerprint) is changed


@needs_transformers_5
def test_words_are_found_for_models_that_read_them(load, corpus, pretrained, monkeypatch):
    monkeypatch.setattr(text, "moses_words", None)  # cannot find any
    data = load(
        "--model_name_or_path", str(pretrained), "--source_lang_code", "deu_Latn", "--target_lang_code", "eng_Latn"
    )
    assert data.splits["test"]["text"][:] == lines(corpus, "test.en")
    with pytest.raises(TypeError):
        load()


def test_long_pairs_name_their_flags(load):
    with pytest.raises(
        DataError, match=r"have more than 3 and 256 tokens \(line .*\); raise --max_source_length or --max"
    ):
        load("--max_source_length", "3")


def test_subwords_are_learned_from_the_training_part_alone(load, corpus):
    for split in ("valid", "test"):
        add_pairs(corpus, split, ("Quark", "Xylophone"))
    data = load()
    assert characters(data.tokenizer) == set("".join(lines(corpus, "train.de") + lines(corpus, "train.en"))) - {" "}
    assert data.tokenizer.unk_token_id in data.splits["test"][0]["labels"]


def test_what_the_recipe_leaves_out_is_neither_trained_on_nor_learned_from(load, corpus):
    good = lines(corpus, "train.en")
    for split in ("train", "valid"):
        add_pairs(corpus, split, ("q q", "q q q q"), ("y " * 176, "y " * 176))
    data = load("--task_name", "iwslt14.de-en", "--max_source_length", "999", "--max_target_length", "999")
    assert [said for said in load.said if "leaves" in said] == [
        "train: of 42 pairs 1 have more than 175 words (line 2), 1 have over 1.5 times as many words on one side as "
        "on the other (line 1); the recipe leaves them out"
    ]
    assert data.splits["train"]["words"][:] == data.splits["train"]["text"][:] == good
    assert not characters(data.tokenizer) & {"q", "y"}
    assert data.splits["validation"]["words"][:2] == ["q q q q", "y " * 176]
