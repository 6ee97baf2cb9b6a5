"""Grids of a selection: equal budgets, by hand."""

import pytest

from hf_vasso.suite.grids import at_edge, combinations, count_trials, filled, method_grids

PRESETS = {"none": "none", "none-2x": "none", "sam": "sam", "vasso-02": "vasso"}


def test_each_method_tries_as_many_values_in_one_grid():
    grids = method_grids([{"learning_rate": [1e-4, 1e-3], "rho": [0.05, 0.1, 0.2]}], PRESETS)
    assert grids["sam"] == grids["vasso-02"] == [{"learning_rate": [1e-4, 1e-3], "rho": [0.05, 0.1, 0.2]}]
    # 2 + 4: means of 1e-4 and 1e-3, then of the lower and the upper half, then of the first of four equal quarters
    assert grids["none"] == [{"learning_rate": [1e-4, 1.33e-4, 1.78e-4, 3.16e-4, 5.62e-4, 1e-3]}]
    assert {count_trials(grid) for grid in grids.values()} == {6}


def test_each_method_tries_as_many_values_in_stages():
    stages = [{"learning_rate": [1e-4, 1e-3]}, {"rho": [0.05, 0.2]}, {"theta": [0.2, 0.4]}]
    grids = method_grids(stages, PRESETS)
    assert grids["vasso-02"] == stages
    assert grids["sam"] == [{"learning_rate": [1e-4, 1e-3]}, {"rho": [0.05, 0.0707, 0.1, 0.2]}]
    assert [len(grid["learning_rate"]) for grid in grids["none"]] == [6]
    assert {count_trials(grid) for grid in grids.values()} == {6}


def test_a_method_without_a_perturbation_tries_nothing_about_one():
    stages = [{"learning_rate": [1e-4], "rho": [0.1, 0.2], "rho_warmup_steps": [0.0, 0.1], "ascent_every": [1, 2]}]
    assert method_grids(stages, PRESETS)["none"] == [{"learning_rate": [1e-4]}]
    assert method_grids(stages, PRESETS)["sam"] == stages


def test_a_budget_that_no_grid_can_meet_is_not_exceeded():
    grids = method_grids(
        [{"learning_rate": [1e-4, 1e-3], "weight_decay": [0.0, 0.1], "theta": [0.1, 0.2, 0.4]}], PRESETS
    )
    assert count_trials(grids["vasso-02"]) == 12
    assert count_trials(grids["none"]) == 12
    single = method_grids([{"weight_decay": [0.1], "learning_rate": [1e-4, 1e-2], "rho": [0.1, 0.2]}], PRESETS)
    assert single["none"] == [{"weight_decay": [0.1], "learning_rate": [1e-4, 3.16e-4, 1e-3, 1e-2]}]
    only_rho = method_grids([{"rho": [0.1, 0.2]}], PRESETS)
    assert only_rho["none"] == []
    odd = method_grids([{"per_device_train_batch_size": [8, 16], "rho": [0.1]}, {"theta": [0.1]}], PRESETS)
    assert odd["none"] == [{"per_device_train_batch_size": [8, 16]}]  # whole numbers have no means between them
    assert odd["sam"] == [{"per_device_train_batch_size": [8, 16], "rho": [0.1]}]  # one value has no gap


def test_geometric_means_go_into_the_widest_gap():
    assert filled([1.0, 100.0, 200.0], 4) == [1.0, 10.0, 100.0, 200.0]
    assert filled([2.0, 1.0], 2) == [1.0, 2.0]
    assert filled([1.0], 3) == [1.0]
    assert filled([1.0, 1.001], 9) == [1.0, 1.001]  # nothing between them has three digits


def test_combinations_change_the_last_flag_fastest():
    assert combinations({"a": [1, 2], "b": [3, 4]}) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (0.1, ["rho 0.1 is the smallest value tried; better ones may lie beyond"]),
        (0.2, []),
        (0.4, ["rho 0.4 is the largest value tried; better ones may lie beyond"]),
    ],
)
def test_a_choice_at_the_edge_is_said(chosen, words):
    grid = {"rho": [0.1, 0.4, 0.2], "lr_scheduler_type": ["linear", "cosine"], "learning_rate": [1e-3]}
    assert at_edge(grid, {"rho": chosen, "lr_scheduler_type": "linear", "learning_rate": 1e-3}) == words
