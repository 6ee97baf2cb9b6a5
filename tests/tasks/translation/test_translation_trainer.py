"""Training and decoding of translations with a tiny model: against loops by hand, in other splits, and resumed."""

import math
from collections import Counter

import datasets
import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax
from transformers import DataCollatorForSeq2Seq

from hf_vasso import VassoSeq2SeqTrainingArguments
from hf_vasso.tasks.translation.model import Architecture, new_model
from hf_vasso.tasks.translation.subwords import encode_words, learn_tokenizer, mirrored, moses_words
from hf_vasso.tasks.translation.trainer import TranslationTrainer

SIZE = Architecture(layers=1, width=16, feed_forward=32, heads=2, dropout=0.0)
GERMAN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht"]
ENGLISH = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


def sentence(words, number):
    return " ".join(words[(number + 3 * step) % 8] for step in range(1 + number % 5))


PAIRS = {
    "de": [sentence(GERMAN, number) for number in range(60)],
    "en": [sentence(ENGLISH, number) for number in range(60)],
}


@pytest.fixture(scope="module")
def tokenizer():
    words = {language: [moses_words(text, language, False) for text in texts] for language, texts in PAIRS.items()}
    return learn_tokenizer(datasets.Dataset.from_dict(words), "de", "en", 60, lower_case=False)


@pytest.fixture(scope="module")
def data(tokenizer):
    target = mirrored(tokenizer)
    return datasets.Dataset.from_dict(
        {
            "input_ids": [encode_words(tokenizer, text) for text in PAIRS["de"]],
            "labels": [encode_words(target, text) for text in PAIRS["en"]],
        }
    )


@pytest.fixture
def build(tokenizer, data, tmp_path):
    def build(size=SIZE, num_beams=1, max_tokens=40, double=True, output_dir=tmp_path, **arguments):
        torch.manual_seed(0)
        model = new_model(size, tokenizer, longest=64)
        given = {"save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True, "method": "vasso"}
        return TranslationTrainer(
            model=model.double() if double else model,
            args=VassoSeq2SeqTrainingArguments(str(output_dir), **given | arguments),
            train_dataset=data,
            eval_dataset=data,
            data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
            processing_class=tokenizer,
            max_tokens=max_tokens,
            num_beams=num_beams,
            score=lambda data, ids: {"right": sum(map(is_right(tokenizer), data["labels"], ids)) / len(ids)},
        )

    return build


def is_right(tokenizer):
    return lambda labels, ids: tokenizer.decode(labels, True) == tokenizer.decode(ids, True)


def weights(trainer):
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


def distance(first, second):
    return max((first[name] - second[name]).abs().max().item() for name in first)


def test_the_loss_is_a_mean_over_tokens(build, data):
    trainer = build(max_tokens=20)
    model, total, count = trainer.model.eval(), 0.0, 0
    with torch.no_grad():
        for pair in data:
            ids, labels = torch.tensor([pair["input_ids"]]), torch.tensor([pair["labels"]])
            total += cross_entropy(model(input_ids=ids, labels=labels).logits[0], labels[0], reduction="sum").item()
            count += labels.numel()
    assert trainer.token_loss(data) == pytest.approx(total / count, rel=1e-6)  # logits are made fp32 there
    metrics = build(max_tokens=20, label_smoothing_factor=0.3).evaluate()
    assert metrics["eval_perplexity"] == pytest.approx(math.exp(total / count), rel=1e-6)  # smoothing does not count


def test_one_beam_is_greedy(build, data, tokenizer):
    trainer = build()
    model, found = trainer.model.eval(), trainer.translate(data)
    for pair, ids in zip(data, found, strict=True):
        source, greedy = torch.tensor([pair["input_ids"]]), [model.config.decoder_start_token_id]
        with torch.no_grad():
            for _ in range(int(1.2 * source.shape[1]) + 10):
                greedy.append(int(model(source, decoder_input_ids=torch.tensor([greedy])).logits[0, -1].argmax()))
                if greedy[-1] == tokenizer.eos_token_id:
                    break
        assert ids[: len(greedy)] == greedy


def test_a_translation_has_at_most_a_fifth_more_tokens_than_its_source_and_ten(build, data, monkeypatch):
    trainer = build()
    monkeypatch.setattr(trainer.model.generation_config, "eos_token_id", None)  # never ends
    for row in range(5):  # each in a batch of its own
        (ids,) = trainer.translate(data.select([row]))
        assert len(ids) == 1 + int(1.2 * len(data[row]["input_ids"])) + 10


def test_beams_find_a_likelier_translation(build, data, tokenizer):
    """By its mean log-probability, which is what beam search with length penalty 1 looks for."""
    trainer = build()
    model = trainer.model.eval()

    def likelihood(pair, ids):
        ids = ids[: ids.index(tokenizer.eos_token_id, 1) + 1] if tokenizer.eos_token_id in ids[1:] else ids
        target = torch.tensor([ids])
        with torch.no_grad():
            logits = model(torch.tensor([pair["input_ids"]]), decoder_input_ids=target[:, :-1]).logits
        return log_softmax(logits, -1).gather(-1, target[:, 1:, None]).mean().item()

    means = []
    for beams in (1, 5):
        trainer.num_beams = beams
        means.append(sum(map(likelihood, data, trainer.translate(data))) / len(data))
    assert means[1] > means[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_accumulated_is_one_large_batch(build, smoothing):
    """Batches by tokens have other numbers of them; the step is a mean over all."""
    common = {"label_smoothing_factor": smoothing, "max_steps": 1, "optim": "sgd", "learning_rate": 1.0}
    whole = build(max_tokens=10_000, **common)
    before = weights(whole)
    whole.train()
    parts = build(max_tokens=40, gradient_accumulation_steps=1000, **common)
    assert len(parts.get_train_dataloader()) > 5
    parts.train()
    assert distance(weights(whole), weights(parts)) < 1e-6  # smoothed losses are fp32
    assert distance(weights(whole), before) > 1e-3


def test_resumed_is_straight(build, tmp_path):
    arguments = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 1, "label_smoothing_factor": 0.1}
    size = Architecture(layers=1, width=16, feed_forward=32, heads=2, dropout=0.1)
    straight = build(size, max_tokens=60, **arguments)
    straight.train()
    steps = straight.state.global_step
    for step in (steps // 4, steps // 2, steps - 2):
        resumed = build(size, max_tokens=60, output_dir=tmp_path / "resumed", **arguments | {"save_strategy": "no"})
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert distance(weights(resumed), weights(straight)) == 0.0


def test_sixty_pairs_come_back_word_for_word(build):
    size = Architecture(layers=1, width=64, feed_forward=128, heads=4, dropout=0.0)
    trainer = build(size, max_tokens=200, double=False, num_train_epochs=60, learning_rate=3e-3, rho=0.01, num_beams=5)
    assert trainer.evaluate()["eval_right"] == 0
    trainer.train()
    assert trainer.evaluate()["eval_right"] == 1


def test_mixed_precision_holds_for_a_model_that_this_trainer_has_not_trained(build, data):
    trained = build(double=False, bf16=True, max_steps=1)
    trained.train()
    loaded = build(double=False, bf16=True)
    loaded.model.load_state_dict(trained.model.state_dict())
    single = build(double=False)
    single.model.load_state_dict(trained.model.state_dict())
    assert loaded.token_loss(data) == trained.token_loss(data) != single.token_loss(data)
    assert loaded.translate(data) == trained.translate(data)


@pytest.mark.parametrize("stage", ["token_loss", "translate"])
def test_full_evaluation_casts_the_model(build, data, stage):
    trainer = build(double=False, bf16_full_eval=True)
    getattr(trainer, stage)(data)
    assert trainer.model.dtype == torch.bfloat16


def test_each_epoch_of_a_training_draws_its_batches(build, data):
    trainer, batches = build(num_train_epochs=2), []
    collate = trainer.data_collator

    def observed(pairs):
        batches.append(sorted((tuple(pair["input_ids"]), tuple(pair["labels"])) for pair in pairs))
        return collate(pairs)

    trainer.data_collator = observed
    trainer.train()
    half = len(batches) // 2
    first, second = batches[:half], batches[half:]
    everything = Counter((tuple(pair["input_ids"]), tuple(pair["labels"])) for pair in data)
    assert Counter(pair for batch in first for pair in batch) == everything
    assert Counter(pair for batch in second for pair in batch) == everything
    assert sorted(first) != sorted(second)  # other pairs stand together, too
