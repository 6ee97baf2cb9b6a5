"""The tokenizer of a model trained from scratch: learned from the pairs, equal for equal ones, saved whole."""

import datasets
import pytest
import sacremoses
from transformers import AutoTokenizer

from hf_vasso.tasks.subwords import learn_tokenizer, mirrored

GERMAN = ["Der Hund läuft über die Straße.", "Das Haus, das ich sah, war groß.", "Sie sagt: „Wie geht es?“"]
ENGLISH = [
    "The dog's running across the street.",
    "The house that I saw wasn't small.",
    'She says: "How\'s it going?"',
]
PAIRS = datasets.Dataset.from_dict({"de": GERMAN, "en": ENGLISH})


@pytest.fixture(scope="module", params=[False, True], ids=["cased", "lower-cased"])
def tokenizer(request):
    return learn_tokenizer(PAIRS, "de", "en", 100, request.param)


def test_texts_come_back(tokenizer):
    english = mirrored(tokenizer)
    for language, texts, encoder, decoder in (("de", GERMAN, tokenizer, english), ("en", ENGLISH, english, tokenizer)):
        for text in texts:
            ids = encoder(text)["input_ids"]
            assert ids[-1] == encoder.eos_token_id and encoder.unk_token_id not in ids
            expected = sacremoses.MosesPunctNormalizer(language).normalize(text)  # curly quotes become straight ones
            assert decoder.decode(ids, skip_special_tokens=True) == (
                expected.lower() if tokenizer.do_lower_case else expected
            )


def test_targets_have_the_rules_of_their_language(tokenizer):
    """German splits an apostrophe off on both sides, English keeps it with what follows."""
    words = [encoder.moses_tokenize("dog's", encoder.src_lang) for encoder in (tokenizer, mirrored(tokenizer))]
    assert words == [["dog", "&apos;", "s"], ["dog", "&apos;s"]]


def test_the_vocabulary_is_joint_and_as_large_as_asked(tokenizer):
    english = mirrored(tokenizer)
    assert tokenizer.encoder == english.encoder and tokenizer.bpe_ranks == english.bpe_ranks
    assert len(tokenizer.encoder) == len(tokenizer) == 100
    assert (mirrored(english).src_lang, mirrored(english).tgt_lang) == ("de", "en")


def test_equal_pairs_give_an_equal_one(tokenizer):
    for _ in range(3):  # the library's hash tables have another order each time
        again = learn_tokenizer(PAIRS, "de", "en", 100, tokenizer.do_lower_case)
        assert (again.encoder, again.bpe_ranks) == (tokenizer.encoder, tokenizer.bpe_ranks)


def test_the_most_frequent_pair_is_merged_first():
    pairs = datasets.Dataset.from_dict({"de": ["ab ab ab ac"], "en": ["ab"]})
    tokenizer = learn_tokenizer(pairs, "de", "en", 100, lower_case=False)
    assert list(tokenizer.bpe_ranks)[0] == ("a", "b</w>")
    assert tokenizer.tokenize("ab ac") == ["ab</w>", "ac</w>"]


def test_a_saved_folder_is_whole(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(GERMAN)["input_ids"] == tokenizer(GERMAN)["input_ids"]
    assert loaded.decode(tokenizer(GERMAN[0])["input_ids"]) == tokenizer.decode(tokenizer(GERMAN[0])["input_ids"])
    special = ("unk_token_id", "eos_token_id", "pad_token_id", "bos_token_id")
    assert [getattr(loaded, name) for name in special] == [getattr(tokenizer, name) for name in special]
