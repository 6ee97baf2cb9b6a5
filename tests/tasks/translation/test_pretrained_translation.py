"""Pretrained translation models of every family: codes of languages, decoder inputs, and how a translation begins."""

import json
from pathlib import Path

import pytest
import sentencepiece
import torch
import transformers
from transformers import (
    FSMTConfig,
    FSMTForConditionalGeneration,
    FSMTTokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.tasks.translation.arguments import parse_translation_arguments
from hf_vasso.tasks.translation.data import load_corpus
from hf_vasso.tasks.translation.pretrained import TranslationCollator, pretrained_model, pretrained_tokenizer

pytestmark = pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) < 5, reason="Transformers 4 builds these tokenizers from files alone"
)

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -2.0) for piece in ("▁", *LETTERS))]
NUMBERED = {piece: number for number, (piece, _) in enumerate(PIECES)}
BLOCKS = {"layers": 1, "ffn_dim": 16, "attention_heads": 2}
SIZE = {"d_model": 16, **{f"{side}_{k}": number for side in ("encoder", "decoder") for k, number in BLOCKS.items()}}


def learned_pieces(folder: Path) -> str:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["eins zwei drei", "one two three four"] * 9),
        model_prefix=str(folder / "learned"),
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return str(folder / "learned.model")


def written(path: Path, vocabulary: dict[str, int]) -> str:
    path.write_text(json.dumps(vocabulary))
    return str(path)


def mbart(folder):
    return MBartTokenizer(vocab=PIECES), MBartForConditionalGeneration, MBartConfig(vocab_size=60, **SIZE)


def mbart50(folder):
    return MBart50Tokenizer(vocab=PIECES), MBartForConditionalGeneration, MBartConfig(vocab_size=90, **SIZE)


def nllb(folder):
    tokenizer = NllbTokenizer(vocab=NUMBERED, merges=[])
    return tokenizer, M2M100ForConditionalGeneration, M2M100Config(vocab_size=240, **SIZE)


def m2m100(folder):
    tokenizer = M2M100Tokenizer(written(folder / "numbered.json", NUMBERED), learned_pieces(folder))
    return tokenizer, M2M100ForConditionalGeneration, M2M100Config(vocab_size=150, **SIZE)


def marian(folder):
    vocabulary = {"</s>": 0, "<unk>": 1, "<pad>": 2, **{letter: 3 + row for row, letter in enumerate(LETTERS)}}
    pieces = learned_pieces(folder)
    tokenizer = MarianTokenizer(pieces, pieces, written(folder / "numbered.json", vocabulary))
    tokens = {"pad_token_id": 2, "eos_token_id": 0, "decoder_start_token_id": 2, "forced_eos_token_id": 0}
    return tokenizer, MarianMTModel, MarianConfig(vocab_size=30, **tokens, **SIZE)


def t5(folder):
    tokenizer = T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *PIECES[4:]], extra_ids=0)
    size = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return tokenizer, T5ForConditionalGeneration, T5Config(vocab_size=40, decoder_start_token_id=0, **size)


def fsmt(folder):
    """Its vocabularies differ: a subword of the target has another number than it has as one of the source."""
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    ends = [letter + "</w>" for letter in LETTERS]
    source = {**special, **{piece: 4 + row for row, piece in enumerate([*LETTERS, *ends])}}
    target = {**special, **{piece: 4 + row for row, piece in enumerate([*ends[::-1], *LETTERS[::-1]])}}
    (folder / "merges.txt").write_text("")
    tokenizer = FSMTTokenizer(
        langs=["de", "en"],
        src_vocab_file=written(folder / "source.json", source),
        tgt_vocab_file=written(folder / "target.json", target),
        merges_file=str(folder / "merges.txt"),
    )
    config = FSMTConfig(langs=["de", "en"], src_vocab_size=60, tgt_vocab_size=60, max_length=20, **SIZE)
    return tokenizer, FSMTForConditionalGeneration, config


FAMILIES = {  # the codes of German and English, and what a target's decoder inputs begin with
    mbart: (("de_DE", "en_XX"), ["en_XX"]),
    mbart50: (("de_DE", "en_XX"), ["</s>", "en_XX"]),
    nllb: (("deu_Latn", "eng_Latn"), ["</s>", "eng_Latn"]),
    m2m100: ((None, None), ["</s>", "__en__"]),
    marian: ((None, None), ["<pad>"]),
    t5: ((None, None), ["<pad>"]),
    fsmt: ((None, None), ["</s>"]),
}


@pytest.fixture
def checkpoint(request, tmp_path):
    """A folder with a model of a family, and its tokenizer."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    tokenizer, model_class, config = request.param(folder)
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def flags_of(checkpoint, corpus, codes):
    names = zip(("--source_lang_code", "--target_lang_code"), codes, strict=True)
    return [
        *("--data_dir", str(corpus), "--source_lang", "de", "--target_lang", "en", "--max_tokens", "200"),
        *("--model_name_or_path", str(checkpoint), "--max_steps", "1", "--num_beams", "2", "--method", "sam"),
        *("--label_smoothing_factor", "0.1", "--report_to", "none", "--disable_tqdm", "true"),
        *(word for flag, code in names if code for word in (flag, code)),
    ]


@pytest.mark.parametrize(
    ("checkpoint", "codes", "begins"),
    [(family, *expected) for family, expected in FAMILIES.items()],
    indirect=["checkpoint"],
    ids=[family.__name__ for family in FAMILIES],
)
def test_translations_begin_as_targets_do(checkpoint, corpus, codes, begins, tmp_path):
    flags = [*flags_of(checkpoint, corpus, codes), "--output_dir", str(tmp_path / "run")]
    arguments, _ = parse_translation_arguments(flags)
    tokenizer = pretrained_tokenizer(arguments)
    model = pretrained_model(arguments, tokenizer).eval()
    pairs = load_corpus(arguments, ["train"], print).splits["train"]
    features = [{name: pairs[row][name] for name in ("input_ids", "labels")} for row in range(4)]
    batch = TranslationCollator(tokenizer, model)(features)
    begin = tokenizer.convert_tokens_to_ids(begins)
    assert batch["decoder_input_ids"][:, : len(begin)].tolist() == [begin] * 4
    with torch.no_grad():
        found = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=4)
        assert found[:, : len(begin)].tolist() == [begin] * 4
        loss = model(**batch).loss
        by_hand = torch.nn.functional.cross_entropy(model(**batch).logits.flatten(0, 1), batch["labels"].flatten())
    torch.testing.assert_close(loss, by_hand)
    labels = [label for label in features[0]["labels"] if label != tokenizer.convert_tokens_to_ids(begins[-1])]
    assert batch["labels"].ne(-100).sum() == sum(len(pair["labels"]) for pair in features)
    decoded = tokenizer.decode(labels, skip_special_tokens=True)
    assert decoded.replace(" ", "").strip(".") == pairs[0]["text"].replace(" ", "").strip(".")

    assert main(["translate", *flags]) == 0
    assert read_record(tmp_path / "run" / "result.json").metrics["validation_perplexity"] > 1


@pytest.mark.parametrize("checkpoint", [mbart50, m2m100], indirect=True, ids=["mbart50", "m2m100"])
@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (("xx_YY", "en_XX"), "has no language code 'xx_YY'; pass --source_lang_code with the model's own, such as de"),
        (("de", "xx_YY"), "has no language code"),
    ],
)
def test_codes_that_a_model_does_not_have(checkpoint, corpus, codes, message, tmp_path, capsys):
    assert main(["translate", *flags_of(checkpoint, corpus, codes), "--output_dir", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("checkpoint", [t5], indirect=True, ids=["t5"])
def test_weights_in_few_bits_are_trained_in_fp32(checkpoint, corpus):
    T5ForConditionalGeneration.from_pretrained(checkpoint).half().save_pretrained(checkpoint)
    arguments, _ = parse_translation_arguments(flags_of(checkpoint, corpus, (None, None)))
    model = pretrained_model(arguments, pretrained_tokenizer(arguments))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("checkpoint", [t5], indirect=True, ids=["t5"])
def test_a_model_without_codes(checkpoint, corpus, tmp_path, capsys):
    flags = flags_of(checkpoint, corpus, (None, "en_XX"))
    assert main(["translate", *flags, "--output_dir", str(tmp_path / "run")]) == 2
    assert "T5Tokenizer has no language codes; leave --target_lang_code out" in capsys.readouterr().err


@pytest.mark.parametrize("checkpoint", [t5], indirect=True, ids=["t5"])
def test_a_prefix_stands_before_sources(checkpoint, corpus):
    flags = flags_of(checkpoint, corpus, (None, None))
    without, with_prefix = (
        load_corpus(parse_translation_arguments([*flags, *more])[0], ["test"], print).splits["test"]
        for more in ([], ["--source_prefix", "to english "])
    )
    tokenizer = pretrained_tokenizer(parse_translation_arguments(flags)[0])
    prefix = tokenizer("to english", add_special_tokens=False)["input_ids"]
    assert with_prefix["input_ids"][:] == [prefix + ids for ids in without["input_ids"]]
    assert with_prefix["labels"][:] == without["labels"][:]
