"""Translation models from scratch: the recipe's architecture, and folders that Transformers' classes load."""

import pytest
import torch
import transformers
from datasets import Dataset
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from hf_vasso.tasks.translation.model import ARCHITECTURES, new_model
from hf_vasso.tasks.translation.subwords import learn_tokenizer, mirrored


@pytest.fixture(scope="module")
def tokenizer():
    words = Dataset.from_dict({"de": ["Der Hund läuft ."], "en": ["The dog runs ."]})
    return learn_tokenizer(words, "de", "en", 60, lower_case=False)


def count_of_recipe(layers, width, feed_forward, vocabulary):
    """Weights of the Transformer of Vaswani et al. 2017, with biases, by hand."""
    attention = 4 * (width * width + width)
    block = 2 * width * feed_forward + feed_forward + width
    norm = 2 * width
    encoder, decoder = attention + block + 2 * norm, 2 * attention + block + 3 * norm
    return layers * (encoder + decoder) + 2 * vocabulary * width


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_weights_of_the_recipe(tokenizer, name):
    size = ARCHITECTURES[name]
    model = new_model(size, tokenizer, longest=64)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trainable == count_of_recipe(size.layers, size.width, size.feed_forward, len(tokenizer))
    assert model.lm_head.weight is model.model.decoder.embed_tokens.weight
    assert model.model.encoder.embed_tokens.weight is not model.lm_head.weight
    assert model.model.encoder.layers[0].dropout == size.dropout
    inner = model.model.encoder.layers[0].self_attn.q_proj.weight
    assert inner.std().item() == pytest.approx(size.width**-0.5, rel=0.05)


def test_a_saved_folder_is_whole(tokenizer, tmp_path):
    torch.manual_seed(0)
    model = new_model(ARCHITECTURES["tiny"], tokenizer, longest=64).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert loaded.lm_head.weight is loaded.model.decoder.embed_tokens.weight
    inputs = AutoTokenizer.from_pretrained(tmp_path)(["Der Hund läuft."], return_tensors="pt")
    labels = mirrored(tokenizer)(["The dog runs."], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(loaded(**inputs, labels=labels).logits, model(**inputs, labels=labels).logits)


@pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) > 4, reason="Transformers 5 has no such pipeline any more"
)
def test_the_pipeline_of_transformers_4(tokenizer, tmp_path):
    new_model(ARCHITECTURES["tiny"], tokenizer, longest=64).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    translate = transformers.pipeline("translation", model=str(tmp_path))
    assert set(translate("Der Hund läuft.", max_new_tokens=5)[0]) == {"translation_text"}
