"""The recipes: one per GLUE task, of flags that exist on every supported transformers."""

from importlib.resources import files

import pytest
import yaml
from transformers import TrainingArguments

from hf_vasso.tasks.glue.table import HUB_ID, TASKS

RECIPES = {path.name.removesuffix(".yaml"): path for path in (files("hf_vasso") / "recipes" / "glue").iterdir()}
TASK_FLAGS = {"task_name", "max_seq_length"}
METHOD_FLAGS = {"method", "rho", "theta"}


def test_each_glue_task_has_a_recipe():
    trained = {task.name for task in TASKS.values() if task.hub_id == HUB_ID and not task.trained_on}
    assert set(RECIPES) == trained | {"rte-vasso"}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_accepted_without_a_warning(name, tmp_path):
    text = RECIPES[name].read_text()
    recipe = yaml.safe_load(text)
    assert recipe["task_name"] == name.split("-")[0]
    training = {flag: value for flag, value in recipe.items() if flag not in TASK_FLAGS | METHOD_FLAGS}
    arguments = TrainingArguments(output_dir=str(tmp_path), **training)
    assert arguments.learning_rate == 2e-5
    assert "# Source: " in text
    assert ("method" in recipe) == name.endswith("-vasso")
