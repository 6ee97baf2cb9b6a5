"""The tokenizer of a model trained from scratch: learned from the pairs, equal for equal ones, saved whole."""

import pytest
import sacremoses
from datasets import Dataset, disable_progress_bars, enable_progress_bars
from transformers import AutoTokenizer

from hf_vasso.tasks.translation import subwords
from hf_vasso.tasks.translation.subwords import (
    decoded_words,
    encode_words,
    encoding_of,
    learn_tokenizer,
    mirrored,
    moses_words,
)

GERMAN = ["Der Hund läuft über die Straße.", "Das Haus, das ich sah, war groß.", "Sie sagt: „Wie geht es?“"]
ENGLISH = ["The dog's running across the street.", "The house I saw wasn't small.", 'She says: "How\'s it going?"']
TEXTS = {"de": GERMAN, "en": ENGLISH}


def learn(lower_case):
    words = {
        language: [moses_words(text, language, lower_case) for text in texts] for language, texts in TEXTS.items()
    }
    return learn_tokenizer(Dataset.from_dict(words), "de", "en", 100, lower_case)


@pytest.fixture(scope="module", params=[False, True], ids=["cased", "lower-cased"])
def tokenizer(request):
    return learn(request.param)


def test_texts_come_back(tokenizer):
    english = mirrored(tokenizer)
    for language, encoder, decoder in (("de", tokenizer, english), ("en", english, tokenizer)):
        for text in TEXTS[language]:
            ids = encoder(text)["input_ids"]
            assert ids[-1] == encoder.eos_token_id and encoder.unk_token_id not in ids
            expected = sacremoses.MosesPunctNormalizer(language).normalize(text)  # curly quotes become straight ones
            expected = expected.lower() if tokenizer.do_lower_case else expected
            assert decoder.decode(ids, skip_special_tokens=True) == expected


def test_words_are_those_of_the_tokenizer(tokenizer):
    for language, encoder in (("de", tokenizer), ("en", mirrored(tokenizer))):
        for text in TEXTS[language]:
            words = moses_words(text, language, tokenizer.do_lower_case)
            assert encode_words(encoder, words) == encoder(text)["input_ids"]
            assert decoded_words(encoder, [*encoder(text)["input_ids"], encoder.pad_token_id]) == words


def test_targets_have_the_rules_of_their_language():
    """German splits an apostrophe off on both sides, English keeps it with what follows."""
    assert [moses_words("dog's", language, False) for language in ("de", "en")] == ["dog &apos; s", "dog &apos;s"]


def test_the_vocabulary_is_joint_and_as_large_as_asked(tokenizer):
    english = mirrored(tokenizer)
    assert tokenizer.encoder == english.encoder and tokenizer.bpe_ranks == english.bpe_ranks
    assert len(tokenizer.encoder) == len(tokenizer) == 100
    assert (mirrored(english).src_lang, mirrored(english).tgt_lang) == ("de", "en")


def test_equal_sentences_give_an_equal_one(tokenizer):
    for _ in range(3):  # the library's hash tables have another order each time
        again = learn(tokenizer.do_lower_case)
        assert (again.encoder, again.bpe_ranks) == (tokenizer.encoder, tokenizer.bpe_ranks)
        assert encoding_of(again) == encoding_of(tokenizer)  # of which the cache makes its keys


def test_what_decides_on_ids_is_in_the_encoding():
    def encoding(words, vocab_size=100):
        return encoding_of(
            learn_tokenizer(Dataset.from_dict({"de": words, "en": words}), "de", "en", vocab_size, False)
        )

    first = encoding(["ab ab ac"])
    assert encoding(["ab ab ad"]) != first  # other letters
    assert encoding(["ab ac ac"]) != first  # other merges, or in another order
    assert encoding(["ab ab ac"], vocab_size=10) != first


def test_the_most_frequent_pair_is_merged_first():
    words = Dataset.from_dict({"de": ["ab ab ab ac"], "en": ["ab"]})
    tokenizer = learn_tokenizer(words, "de", "en", 100, lower_case=False)
    assert list(tokenizer.bpe_ranks) == [("a", "b</w>"), ("a", "c</w>")]
    assert tokenizer.tokenize("ab ac ad") == ["ab</w>", "ac</w>", "a", "d</w>"]


def test_a_saved_folder_is_whole(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(GERMAN)["input_ids"] == tokenizer(GERMAN)["input_ids"]
    assert loaded.decode(tokenizer(GERMAN[0])["input_ids"]) == tokenizer.decode(tokenizer(GERMAN[0])["input_ids"])
    special = ("unk_token_id", "eos_token_id", "pad_token_id", "bos_token_id")
    assert [getattr(loaded, name) for name in special] == [getattr(tokenizer, name) for name in special]


def test_a_vocabulary_never_lacks_single_characters():
    words = Dataset.from_dict({"de": ["ab ab"], "en": ["ca"]})
    tokenizer = learn_tokenizer(words, "de", "en", 1, lower_case=False)
    assert set(tokenizer.encoder) - set(tokenizer.all_special_tokens) == {"a", "b", "c", "a</w>", "b</w>"}
    assert tokenizer.bpe_ranks == {}


def test_bars_are_shown_unless_datasets_shows_none(monkeypatch, capsys):
    """The library's own are not drawn outside a terminal, so it is seen what it is told."""
    told, trainer = [], subwords.BpeTrainer

    def record(**settings):
        told.append(settings["show_progress"])
        return trainer(**settings)

    monkeypatch.setattr(subwords, "BpeTrainer", record)
    disable_progress_bars()
    learn(lower_case=False)
    assert capsys.readouterr().err == ""
    enable_progress_bars()
    learn(lower_case=False)
    assert "Learning subwords: 100%" in capsys.readouterr().err
    assert told == [False, True]
