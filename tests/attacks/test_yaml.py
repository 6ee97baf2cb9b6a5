"""Suite files and recipes that anyone may have written: a plan or one short line, in little time, and never a hang."""

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_vasso.suite.planning import grid_runs
from hf_vasso.suite.selection import planned_trials
from hf_vasso.suite.suite_file import read_suite_file
from hf_vasso.tasks.errors import UserError, user_errors
from hf_vasso.tasks.glue.arguments import GlueArguments, parse_glue_arguments
from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, write_agreement
from hf_vasso.tasks.recipes import recipe_arguments
from hf_vasso.training.arguments import VassoTrainingArguments

MOST_LETTERS = 2000
MOST_SECONDS = 2.0  # of this process' own time, so that a busy machine is no failure
MOST_PLANNED = 12  # each run that is planned costs milliseconds, however the file is written

VALID = """\
name: small
output_dir: runs
tasks: [agreement]
methods: {none: null, sam: {rho: 0.1}}
seeds: [0, 1]
select:
  stages: [{learning_rate: [1.0e-3, 3e-3]}, {rho: [0.1, 0.2]}]
  seeds: [99999]
  holdout_samples: 8
contrasts: [[sam, none]]
threads_per_run: 1
defaults: &common
  config_name: CONFIG
  data_dir: DATA
  num_train_epochs: 1
  per_device_train_batch_size: 16
  max_seq_length: 32
  use_cpu: true
"""


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> str:
    """The text of a suite's file that can be planned."""
    folder = tmp_path_factory.mktemp("materials")
    write_agreement(folder / "data", train_examples=48, validation_examples=24)
    write_small_bert(folder / "config", VOCABULARY, hidden_size=8, num_hidden_layers=1)
    return VALID.replace("CONFIG", str(folder / "config")).replace("DATA", str(folder / "data"))


@pytest.fixture(autouse=True)
def same_place(tmp_path, monkeypatch):
    """Flags of the Trainer set variables of the environment, and the output folder is a relative path."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def plan(path: Path) -> int:
    """Read the file of a suite, and plan it as far as that is quick; return the number of runs."""
    with user_errors():
        suite = read_suite_file(path)
        stages = suite.select.stages if suite.select else []
        values = sum(len(values) for stage in stages for values in stage.values())
        if len(suite.tasks) * len(suite.methods) * (len(suite.seeds) + values**2) > MOST_PLANNED**2:
            return 0
        return len(planned_trials(suite)[0]) + len(grid_runs(suite, {}))


def outcome(read: Callable[[Path], Any], path: Path) -> str:
    """What came of a file: a result, or its message, which must be short and have come soon."""
    begin = time.process_time()
    try:
        read(path)
        message = ""
    except (UserError, ValueError) as error:
        message = str(error)
    seconds = time.process_time() - begin
    assert seconds < MOST_SECONDS, f"{seconds:.1f} s: {message[:200]}"
    assert len(message) < MOST_LETTERS and message.isprintable(), message[:MOST_LETTERS]
    assert not message or path.name in message, message
    return message


def bomb(opening: str, closing: str) -> str:
    """Ten flags, each with nine aliases of the one before."""
    lines = [f"  a0: &a0 {opening}{', '.join(map(str, range(9)))}{closing}"]
    lines += [f"  a{n}: &a{n} {opening}{', '.join([f'*a{n - 1}'] * 9)}{closing}" for n in range(1, 10)]
    return "\n".join([VALID, *lines])


MERGES = "\n".join(
    [
        VALID,
        "  a0: &a0 {k: 1}",
        *(f"  a{n}: &a{n} {{<<: *a{n - 1}, x{n}: *a{n - 1}, y{n}: *a{n - 1}}}" for n in range(1, 30)),
    ]
)

HOSTILE = {
    "lists of aliases": bomb("[", "]"),
    "mappings of aliases": bomb("{x: [", "]}"),
    "merged again and again": MERGES,
    "20,000 keys": "".join(f"key{n}: {n}\n" for n in range(20_000)),
    "20,000 keys alike": "".join(f"methodsmethods{n}: {n}\n" for n in range(9_000)),
    "20,000 methods": "methods:\n" + "".join(f"  label{n}: {{method: sam}}\n" for n in range(20_000)),
    "20,000 seeds": VALID.replace("[0, 1]", f"[{', '.join(map(str, range(20_000)))}]"),
    "a list in itself": VALID.replace("[agreement]", "&a [agreement, *a]"),
    "a mapping in itself": f"{VALID}  method_args: &a {{b: *a}}",
    "merged into itself": f"{VALID}  method_args: &a {{<<: *a}}",
    "3,000 brackets": "name: " + "[" * 3_000,
    "3,000 closed brackets": "name: " + "[" * 3_000 + "]" * 3_000,
    "3,000 braces": "name: " + "{a: " * 3_000,
    "3,000 lines deep": "\n".join(f"{' ' * n}a:" for n in range(600)),
    "3,000 dashes": "- " * 3_000,
    "3,000 question marks": "? " * 3_000,
    "empty number": VALID.replace("small", "!!int ''"),
    "empty float": VALID.replace("small", "!!float ''"),
    "no boolean": VALID.replace("small", "!!bool maybe"),
    "no time": VALID.replace("small", "!!timestamp never"),
    "no base 64": VALID.replace("small", "!!binary '@'"),
    "a Python object": VALID.replace("small", "!!python/object/apply:os.system [true]"),
    "a long tag": VALID.replace("small", f"!<{'x' * 100_000}> a"),
    "a long alias": VALID.replace("small", f"*{'x' * 100_000}"),
    "a long name": VALID.replace("small", "x" * 200_000),
    "a long list as the name": VALID.replace("small", f"[{', '.join(['x' * 100] * 2_000)}]"),
    "a long method": VALID.replace("{none: null, sam: {rho: 0.1}}", f"[{'sam' * 50_000}]"),
    "a long method in a label": VALID.replace("rho: 0.1", f"method: {'sam' * 50_000}"),
    "a long number": VALID.replace("[0, 1]", f"[{'9' * 50_000}]"),
    "a long hexadecimal number": VALID.replace("[0, 1]", f"[0x{'f' * 50_000}]"),
    "a long number to the base of 60": VALID.replace("[0, 1]", f"[1{':59' * 50_000}]"),
    "a letter beyond Unicode": VALID.replace("small", '"\\UFFFFFFFF"'),
    "half a surrogate pair": VALID.replace("small", '"\\ud800"'),
    "a version with many digits": f"%YAML 1.{'9' * 5_000}\n---\n{VALID}",
    "a mebibyte of comments": "# comment\n" * 100_000,
    "a mebibyte of lines": "\n" * 2**20,
    "52 mebibytes": "name: " + "x" * 52 * 2**20,
    "millions of trials": VALID.replace("0.2", ", ".join(f"0.2{n:03}" for n in range(5_000))).replace(
        "}, {", ", weight_decay: [" + ", ".join(f"0.{n:03}1" for n in range(1, 900)) + "]}, {"
    ),
    "sixty flags of two values": VALID.replace(
        "[{learning_rate: [1.0e-3, 3e-3]}", "[{" + ", ".join(f"flag{n}: [1, 2]" for n in range(60)) + "}"
    ),
    "millions of runs": VALID.replace("[0, 1]", f"[{', '.join(map(str, range(4_000)))}]").replace(
        "methods: {", "methods: {" + ", ".join(f"m{n}: {{method: sam}}" for n in range(1_000)) + ", "
    ),
    "a wide gap to fill": VALID.replace("1.0e-3, 3e-3", "1.0e-300, 1.0e+90").replace(
        "0.2]", f"{', '.join(f'0.{n}' for n in range(2000, 4000))}]"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_little_and_say_why(tmp_path, name):
    path = tmp_path / "hostile.yaml"
    path.write_text(HOSTILE[name])
    assert outcome(plan, path) or name == "a wide gap to fill"


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("per_device_train_batch_size", "0", "per_device_train_batch_size must be from 1 to 2,147,483,647, got 0"),
        ("per_device_train_batch_size", "-3", "per_device_train_batch_size must be from 1 to 2,147,483,647, got -3"),
        ("per_device_train_batch_size", "1" + "0" * 200, "per_device_train_batch_size must be a finite number"),
        ("gradient_accumulation_steps", "0", "gradient_accumulation_steps must be from 1"),
        ("num_train_epochs", ".nan", "num_train_epochs must be a finite number of the size of a measurement, got nan"),
        ("num_train_epochs", ".inf", "num_train_epochs must be a finite number"),
        ("num_train_epochs", "-1", "num_train_epochs must be at least 0, got -1"),
        ("learning_rate", "-1e-3", "learning_rate must be at least 0, got -0.001"),
        ("learning_rate", "1e400", "learning_rate must be a finite number of the size of a measurement, got inf"),
        ("max_steps", "0", "max_steps must be at least 1, or -1 for all epochs, got 0"),
        ("max_train_samples", "0", "max_train_samples must be at least 1, got 0"),
        ("adam_beta2", "1.5", "adam_beta2 must be from 0 to 1, got 1.5"),
    ],
)
def test_numbers_out_of_range_are_named_with_flag_and_range(tmp_path, valid, flag, value, words):
    path = tmp_path / "suite.yaml"
    lines = [line for line in valid.splitlines() if not line.strip().startswith(f"{flag}:")]
    path.write_text("\n".join([*lines, f"  {flag}: {value}", ""]))
    message = outcome(plan, path)
    assert words in message and "task agreement with method none" in message, message


@pytest.mark.parametrize("name", ["mappings of aliases", "a list in itself", "3,000 braces", "empty number"])
def test_hostile_recipes(tmp_path, name):
    path = tmp_path / "hostile.yaml"
    path.write_text(HOSTILE[name])
    assert outcome(lambda recipe: recipe_arguments(str(recipe)), path)


def test_anchors_and_merge_keys_are_read(tmp_path, valid):
    """The values by hand: a mapping's own entries overrule merged ones, the first of several the later ones."""
    path = tmp_path / "suite.yaml"
    path.write_text(
        valid.replace(
            "methods: {none: null, sam: {rho: 0.1}}",
            "methods: {none: null, sam: &sam {rho: 0.1, no_perturb: a}, low: {<<: *sam, method: sam, rho: 0.05}, "
            "both: {method: sam, <<: [{rho: 0.2}, *sam]}, nested: {<<: {<<: *sam, rho: 0.3}, method: sam}}",
        )
    )
    methods = read_suite_file(path).methods
    assert {label: flags.get("rho") for label, flags in methods.items()} == {
        "none": None,
        "sam": 0.1,
        "low": 0.05,
        "both": 0.2,
        "nested": 0.3,
    }
    assert methods["both"]["no_perturb"] == methods["low"]["no_perturb"] == methods["nested"]["no_perturb"] == "a"
    assert outcome(plan, path) == ""


def test_a_merged_mapping_has_its_keys_once(tmp_path):
    """The mapping is deeper than the place where it is merged, so it is built later."""
    path = tmp_path / "recipe.yaml"
    path.write_text("method_args: {deep: &m {<<: {eta: 1, xi: 2}, eta: 3}}\naccelerator_config: {<<: *m}\n")
    words = recipe_arguments(str(path))
    assert words[1::2] == ['{"deep": {"eta": 3, "xi": 2}}', '{"eta": 3, "xi": 2}']


def test_words_stay_words(tmp_path):
    """What YAML 1.1 takes for numbers to the base of 60 or 8, or for dates."""
    path = tmp_path / "recipe.yaml"
    path.write_text("a: 1:30\nb: 0100\nc: 2020-01-01\nd: 1e-4\ne: 1_000\nf: no\n")
    assert recipe_arguments(str(path)) == "--a 1:30 --b 0100 --c 2020-01-01 --d 1e-4 --e 1000 --f no".split()


@pytest.mark.parametrize(
    "line",
    [
        "'trust_remote_code=true': []",
        "fp16: --trust_remote_code",
        "include_for_metrics: [inputs, --trust_remote_code]",
        "include_for_metrics: [inputs, -h]",
        "'': x",
        "'a b': x",
    ],
)
def test_no_other_flag_is_smuggled_in(tmp_path, valid, line):
    path = tmp_path / "suite.yaml"
    path.write_text(f"{valid}  {line}\n")
    assert "flag" in outcome(plan, path)
    path.write_text(line)
    with pytest.raises(ValueError, match="flag"):
        parse_glue_arguments(["--config", str(path), "--task_name", "rte", "--model_name_or_path", "org/bert"])


# --- fuzzing ---

PIECES = (
    """\
!!int !!float !!null !!str !!map !!seq !!set &a *a <<: {<<: *a} [ ] { } , : - ? | > ' " # % @ ` ~ .nan .inf -.inf -1 0
1e400 0x0 true null 1:30 2020-01-01 "\\ud800" "\\e" "\\0" --- ... ${HOME} ${NOT_SET} -h --fresh ../.. method seed
select stages task_name tasks sam vasso""".split()
    + ["\n", "\t", "  ", "\n  ", "\r", "\x00", "\ufeff", "\u2028", "é", "\U0001f600"]
)


def mutated(text: str, number: int) -> bytes:
    """Some places of a text cut, doubled, swapped or replaced, drawn by a seed."""
    draw = random.Random(number)
    content = bytearray(text.encode())
    for _ in range(draw.choice([1, 1, 2, 3, 8])):
        begin = draw.randrange(len(content) + 1)
        end = min(begin + draw.choice([0, 1, 2, 8, 40]), len(content))
        piece = draw.choice(
            [
                b"",
                draw.choice(PIECES).encode("utf-8", "surrogatepass"),
                bytes([draw.randrange(256)]),
                bytes(content[begin:end]) * 2,
                content[draw.randrange(len(content) or 1) :][:20],
                str(draw.choice([0, -1, 2**31, 2**63, 10**30, 1e-300])).encode(),
            ]
        )
        content[begin:end] = piece
    return bytes(content)


def test_mutated_suites(tmp_path, valid, attacks):
    attack = attacks(60)
    path = tmp_path / "suite.yaml"
    for number in range(attack.attempts):
        path.write_bytes(mutated(valid, number))
        outcome(plan, path)
        attack.count("survived")
    attack.check()


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["sam", "none", "rte", "agreement", "../..", "-h", "~", "1e-3", "${HOME}", "${X}", "A" * 300])
)
KEYS = st.text(max_size=8) | st.sampled_from(
    "method rho theta task_name source_lang stages seeds holdout_samples learning_rate method_args".split()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
SUITE_KEYS = ("name", "output_dir", "tasks", "methods", "seeds", "defaults", "select", "contrasts", "threads_per_run")


def test_random_values_of_a_suite(tmp_path, valid, attacks):
    attack = attacks(60)
    path = tmp_path / "suite.yaml"
    sound = yaml.safe_load(valid)

    @settings(max_examples=attack.attempts, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.dictionaries(st.sampled_from(SUITE_KEYS), VALUES, min_size=1, max_size=2))
    def attempt(changes: Mapping[str, Any]) -> None:
        path.write_text(yaml.safe_dump({**sound, **changes}))
        outcome(plan, path)
        attack.count("survived")

    attempt()
    attack.check()


FLAGS = sorted(
    {entry.name for group in (GlueArguments, VassoTrainingArguments) for entry in fields(group) if entry.init}
)


@pytest.mark.filterwarnings("ignore")  # of Transformers, about flags that it is going to give up
def test_random_values_of_flags(tmp_path, valid, attacks):
    attack = attacks(80)
    path = tmp_path / "suite.yaml"
    sound = yaml.safe_load(valid)

    @settings(max_examples=attack.attempts, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.sampled_from(FLAGS), VALUES)
    def attempt(flag: str, value: Any) -> None:
        defaults = {**sound["defaults"], flag: value}
        path.write_text(
            yaml.safe_dump({**sound, "select": None, "methods": ["sam"], "contrasts": None, "defaults": defaults})
        )
        outcome(plan, path)
        attack.count("survived")

    attempt()
    attack.check()
