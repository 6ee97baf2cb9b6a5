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


@pytest.mark.parametrize(
    ("name", "layers", "width", "feed_forward", "heads", "dropout"),
    [
        ("tiny", 2, 128, 256, 4, 0.1),
        ("small", 3, 256, 1024, 4, 0.1),
        ("transformer_iwslt_de_en", 6, 512, 1024, 4, 0.3),
    ],
)
def test_the_weights_of_the_recipe(tokenizer, name, layers, width, feed_forward, heads, dropout):
    model = new_model(ARCHITECTURES[name], tokenizer, longest=64)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trainable == count_of_recipe(layers, width, feed_forward, len(tokenizer))
    assert model.lm_head.weight is model.model.decoder.embed_tokens.weight
    assert model.model.encoder.embed_tokens.weight is not model.lm_head.weight
    for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
        assert (layer.self_attn.num_heads, layer.dropout, layer.activation_dropout) == (heads, dropout, 0.0)
        assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(width**-0.5, rel=0.05)
    assert ARCHITECTURES.keys() == {"tiny", "small", "transformer_iwslt_de_en"}


def sines(positions, width):
    """(positions, width): all sines, then all cosines, of Vaswani et al. 2017, section 3.5."""
    angles = torch.arange(positions)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def copied(layer, other):
    """A layer of torch, which normalises after each block, with the weights of one of Transformers'."""
    pairs = [(layer.self_attn, other.self_attn), (layer.linear1, other.fc1), (layer.linear2, other.fc2)]
    norms = [other.self_attn_layer_norm, other.final_layer_norm]
    if hasattr(other, "encoder_attn"):
        pairs.append((layer.multihead_attn, other.encoder_attn))
        norms.insert(1, other.encoder_attn_layer_norm)
    pairs += [(getattr(layer, f"norm{number}"), norm) for number, norm in enumerate(norms, start=1)]
    for to, source in pairs:
        weights = source.state_dict()
        if isinstance(to, torch.nn.MultiheadAttention):
            for kind in ("weight", "bias"):
                weights[f"in_proj_{kind}"] = torch.cat([weights.pop(f"{part}_proj.{kind}") for part in "qkv"])
        to.load_state_dict(weights)
    return layer


def test_the_network_is_the_transformer_of_vaswani(tokenizer):
    """Torch's own layers with the same weights give the same logits: post-norm, ReLU, sines, scaled embeddings."""
    torch.manual_seed(0)
    model = new_model(ARCHITECTURES["tiny"], tokenizer, longest=64).eval()
    source, target = torch.randint(5, len(tokenizer), (2, 7)), torch.randint(5, len(tokenizer), (2, 9))

    def embed(side, ids):
        return side.embed_tokens.weight[ids] * 128**0.5 + sines(ids.shape[1], 128)

    encoder, decoder = model.model.encoder, model.model.decoder
    size = {"d_model": 128, "nhead": 4, "dim_feedforward": 256, "batch_first": True}
    with torch.no_grad():
        memory = embed(encoder, source)
        for layer in encoder.layers:
            memory = copied(torch.nn.TransformerEncoderLayer(**size).eval(), layer)(memory)
        state, causal = embed(decoder, target), torch.nn.Transformer.generate_square_subsequent_mask(9)
        for layer in decoder.layers:
            state = copied(torch.nn.TransformerDecoderLayer(**size).eval(), layer)(state, memory, tgt_mask=causal)
        expected = state @ decoder.embed_tokens.weight.T
        found = model(input_ids=source, decoder_input_ids=target).logits
    assert torch.allclose(found, expected, atol=1e-4)


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
