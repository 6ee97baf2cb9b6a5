"""The translation recipes parse, and that of IWSLT14 has the numbers of its source."""

import pytest

from hf_vasso.tasks.recipes import recipe_names
from hf_vasso.tasks.translation.arguments import parse_translation_arguments


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("translation/")])
def test_recipes_parse(name):
    translation, training = parse_translation_arguments(["--config", name, "--use_cpu"])
    assert translation.corpus.languages == ("de", "en")
    assert training.label_smoothing_factor == 0.1 and training.lr_scheduler_type == "inverse_sqrt"


def test_iwslt14_is_the_recipe_of_the_paper():
    translation, training = parse_translation_arguments(["--config", "translation/iwslt14", "--use_cpu"])
    assert (translation.config_name, translation.max_tokens, translation.num_beams) == (
        "transformer_iwslt_de_en",
        4096,
        5,
    )
    assert (translation.vocab_size, translation.max_source_length, translation.max_target_length) == (
        10000,
        1024,
        1024,
    )
    assert (training.adam_beta1, training.adam_beta2, training.learning_rate) == (0.9, 0.98, 5e-4)
    assert (training.get_warmup_steps(training.max_steps), training.weight_decay, training.max_grad_norm) == (
        4000,
        1e-4,
        0,
    )
    assert training.greater_is_better and training.load_best_model_at_end
