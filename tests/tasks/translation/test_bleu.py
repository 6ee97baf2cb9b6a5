"""Scores of translations, against sacreBLEU's own command and multi-bleu written anew."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import sacrebleu
import sacremoses
from multi_bleu import multi_bleu

from hf_vasso.tasks.translation.bleu import default_tokenizer, score_translations

HYPOTHESES = [
    "The dog's running across a street.",
    "Two men are, as it seems, in the garden!",
    "A woman sells flowers on the market.",
    "Children play outside.",
]
REFERENCES = [
    "The dog's running across the street.",
    "Two Men, it seems, are in the garden.",
    "A woman is selling flowers at the market.",
    "Children are playing outside the house.",
]


WORDS = tuple(
    [sacremoses.MosesTokenizer("en").tokenize(text, return_str=True) for text in texts]
    for texts in (HYPOTHESES, REFERENCES)
)


def test_tokenized_is_multi_bleu():
    tokens = [[line.lower().split() for line in lines] for lines in WORDS]
    scores = score_translations((HYPOTHESES, REFERENCES), WORDS)
    assert scores.metrics["bleu_tokenized"] == pytest.approx(multi_bleu(*tokens), abs=1e-9)
    assert "case:lc" in scores.signatures["bleu_tokenized"] and "tok:none" in scores.signatures["bleu_tokenized"]


def test_the_others_are_those_of_the_command(tmp_path):
    files = {"hypotheses": HYPOTHESES, "references": REFERENCES}
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    words = ["references", "-i", "hypotheses", "-m", "bleu", "chrf", "-w", "10"]
    printed = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    scores = score_translations((HYPOTHESES, REFERENCES), WORDS)
    for found, name in zip(json.loads(printed), ("bleu", "chrf"), strict=True):
        assert scores.metrics[name] == pytest.approx(found["score"], abs=1e-9)
        assert scores.signatures[name] == found["signature"]


def test_ends_of_the_scale():
    same, none = (REFERENCES, REFERENCES), ([""], ["A dog ."])
    assert score_translations(same, (WORDS[1], WORDS[1])).metrics == pytest.approx(
        {"bleu": 100, "bleu_tokenized": 100, "chrf": 100}
    )
    assert score_translations(none, none).metrics == {"bleu": 0, "bleu_tokenized": 0, "chrf": 0}


def test_other_numbers_of_lines_are_refused():
    with pytest.raises(ValueError, match="1 translations cannot be scored against 2 references"):
        score_translations((["a"], ["a"]), (["a"], ["a", "b"]))


def test_tokenized_is_not_smoothed():
    """A corpus without four right words in a row scores 0, as with multi-bleu.perl."""
    words = ["The dog runs here ."], ["A dog runs there ."]
    tokens = [[line.lower().split() for line in lines] for lines in words]
    scores = score_translations(words, words)
    assert scores.metrics["bleu_tokenized"] == multi_bleu(*tokens) == 0 < scores.metrics["bleu"]
    expected = f"nrefs:1|case:lc|eff:no|tok:none|smooth:none|version:{sacrebleu.__version__}"
    assert scores.signatures["bleu_tokenized"] == expected


# Other words in the middle of sentences, so that every tokenizer finds something right and something wrong.
OTHER_SCRIPTS = {
    "zh": (
        ["今天天气很好，我们去公园散步。", "他昨天买了一本新书。"],
        ["今天天气很好，我们去河边散步。", "他昨天买了两本新书。"],
    ),
    "ja": (["今日は天気がいいので公園に行きます。"], ["今日は天気がいいので川に行きました。"]),
    "ko": (["오늘은 날씨가 좋아서 공원에 갑니다."], ["오늘은 날씨가 좋아서 강에 갔습니다."]),
}
PACKAGES = {"ja": "MeCab", "ko": "mecab_ko"}


def score_of_command(folder: Path, texts: tuple[list[str], list[str]], *words: str) -> dict:
    """What sacreBLEU's command finds for translations and references."""
    for name, lines in zip(("hypotheses", "references"), texts, strict=True):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    command = [sys.executable, "-m", "sacrebleu", "references", "-i", "hypotheses", "-w", "10", *words]
    return json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("language", OTHER_SCRIPTS)
def test_languages_have_the_tokenizer_of_the_command(tmp_path, language):
    if language in PACKAGES:
        pytest.importorskip(PACKAGES[language])
    texts = OTHER_SCRIPTS[language]
    scores = score_translations(texts, None, default_tokenizer(language))
    found = score_of_command(tmp_path, texts, "-l", f"en-{language}")
    assert scores.metrics["bleu"] == pytest.approx(found["score"], abs=1e-9)
    assert scores.signatures["bleu"] == found["signature"]
    assert 10 < scores.metrics["bleu"] < 90
    words = score_of_command(tmp_path, texts, "-tok", default_tokenizer(language), "-lc", "-s", "none")
    assert scores.metrics["bleu_tokenized"] == pytest.approx(words["score"], abs=1e-9)
    assert scores.signatures["bleu_tokenized"] == words["signature"]


def test_a_language_without_blanks_and_without_a_tokenizer_is_scored_by_characters(tmp_path):
    texts = ["วันนี้อากาศดีเราไปสวน"], ["วันนี้อากาศดีมากเราไปสวน"]
    scores = score_translations(texts, None, default_tokenizer("th"))
    found = score_of_command(tmp_path, texts, "-tok", "char")
    assert scores.metrics["bleu"] == pytest.approx(found["score"], abs=1e-9) and scores.metrics["bleu"] > 50
    assert "tok:char" in scores.signatures["bleu"]


@pytest.mark.parametrize(
    ("languages", "tokenizer"),
    [
        ("zh zh_CN zh-cn zh-TW zh_Hant zho_Hans yue_Hant cmn ZH", "zh"),
        ("ja ja_XX jpn_Jpan jpn", "ja-mecab"),
        ("ko ko_KR kor_Hang", "ko-mecab"),
        ("th th_TH tha_Thai km km_KH khm_Khmr lo lao_Laoo my_MM mya_Mymr bod_Tibt dzo_Tibt shn_Mymr", "char"),
        ("de deu_Latn en_XX eng_Latn vi fr az jav_Latn", "13a"),
    ],
)
def test_the_codes_of_multilingual_models_name_languages(languages, tokenizer):
    assert {default_tokenizer(language) for language in languages.split()} == {tokenizer}


@pytest.mark.parametrize(
    ("tokenizer", "module"), [("ja-mecab", "tokenizer_ja_mecab"), ("ko-mecab", "tokenizer_ko_mecab")]
)
def test_a_package_that_is_missing_is_named(monkeypatch, tokenizer, module):
    monkeypatch.setattr(import_module(f"sacrebleu.tokenizers.{module}"), "MeCab", None)
    with pytest.raises(ValueError, match=rf"{tokenizer} cannot be used: .*pip install sacrebleu\[{tokenizer[:2]}\]"):
        score_translations((["a"], ["a"]), None, tokenizer)
