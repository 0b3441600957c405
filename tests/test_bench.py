"""A cell: what is learnt once is not learnt again, and what is measured is of the right model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_study import small_study

from cift import evaluation, finetuning, reliability
from cift.bench import Bench
from cift.errors import Diverged
from cift.recipe import Recipe


@pytest.fixture
def study():
    return small_study()


@pytest.fixture
def bench(study, tiny_model):
    return Bench(study, tiny_model, study.recipe)


@pytest.fixture
def trainings(monkeypatch):
    """Grows by a learning rate with every training."""
    found, real = [], finetuning.train

    def train(model, rows, targets, recipe, *others, **named):
        found.append(recipe.learning_rate)
        return real(model, rows, targets, recipe, *others, **named)

    monkeypatch.setattr(finetuning, "train", train)
    return found


def test_what_does_not_train_is_the_base_model(study, tiny_model, trainings):
    bench = Bench(study, tiny_model, study.recipe)
    answers = [
        bench._predict(bench.base, half) for half in (study.held_out["first"].items, study.held_out["second"].items)
    ]
    people = evaluation.probabilities(reliability.scale(pd.concat(answers), 0.5))  # as the model, but surer
    bench.study = replace(study, distributions=people.assign(n_responses=10))
    plain, scaled = (bench.cell(arm, "first", 0, None, None) for arm in ("no fine-tuning", "temperature"))
    assert not trainings and plain["n_train"] == scaled["n_train"] == 0
    for same in ("theta", "accuracy", "test_accuracy", "test_f1", "base_accuracy"):
        assert plain[same] == scaled[same]
    assert scaled["jsd"] < plain["jsd"] / 10  # found on the items of the other scale
    assert scaled["test_log_loss"] != plain["test_log_loss"]


def test_where_no_temperature_fits_the_model_is_left_as_it_is(bench):
    plain, scaled = (bench.cell(arm, "first", 0, None, None) for arm in ("no fine-tuning", "temperature"))
    assert scaled["diverged"] and scaled["test_log_loss"] == plain["test_log_loss"]


def test_a_lesson_that_two_scales_share_is_learnt_once(bench, trainings):
    first, second = (bench.cell("random items", held_out, 0, 1e-3, 2) for held_out in ("first", "second"))
    assert trainings == [1e-3]  # the pool has as many pairs as are asked for: the same lesson
    assert first["test_accuracy"] == second["test_accuracy"] and first["n_items"] == second["n_items"] == 12
    bench.cell("CIFT-CCE", "first", 0, 1e-3, 2), bench.cell("CIFT-CCE", "second", 0, 1e-3, 2)
    assert len(trainings) == 3
    again = bench.cell("random items", "first", 0, 1e-3, 2)
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in first.items() if k != "seconds"}


def test_learning_the_lesson_shows(bench):
    before = bench.cell("no fine-tuning", "first", 0, None, None)
    after = bench.cell("CIFT-CCE", "first", 0, 3e-2, 20)  # the label can be read off the hypothesis
    assert after["accuracy"] > before["accuracy"] and after["theta"] > before["theta"]
    assert after["test_log_loss"] < before["test_log_loss"] and after["n_train"] == 12


def test_a_cut_model_learns_what_the_whole_one_does(study, tiny_model):
    """With the prefix's states cached, in float32: training at every depth sees the same numbers."""
    recipe = replace(study.recipe, precision="fp32", dropout=0.0)
    cut = Bench(study, tiny_model, recipe)
    whole = Bench(study, tiny_model, replace(recipe, strategy="full", options={}))
    whole.recipe = recipe  # freezes the same layers, but runs them
    assert cut.cut and not whole.cut
    numbers = [bench.cell("CIFT-MSE", "first", 0, 1e-2, 3) for bench in (cut, whole)]
    for name in ("jsd", "test_log_loss"):
        assert numbers[0][name] == pytest.approx(numbers[1][name], abs=2e-3)


def test_a_trial_is_judged_on_both(bench, study, monkeypatch):
    seen = []
    real = evaluation.log_loss
    monkeypatch.setattr(evaluation, "log_loss", lambda found: seen.append(found) or real(found))
    found = bench.trial("CIFT-MSE", "first", 1000, 1e-3, 1)
    aside, validation = (set(table["item_id"]) for table in seen)
    assert found["log_loss"] == pytest.approx(np.mean([real(table) for table in seen]))
    assert aside < set(study.held_out["first"].supplement["item_id"])
    assert validation == set(study.validation["item_id"])
    measured = set(study.held_out["first"].items["item_id"])
    assert not (aside | validation) & measured


def test_a_training_that_diverges_leaves_the_base_model(bench, monkeypatch):
    def diverge(*_, **__):
        raise Diverged("training diverged")

    before = bench.cell("no fine-tuning", "first", 0, None, None)
    monkeypatch.setattr(finetuning, "train", diverge)
    after = bench.cell("CIFT-CCE", "first", 0, 1e-3, 2)
    assert after["diverged"] and after["theta"] == before["theta"]
    assert bench.trial("CIFT-CCE", "first", 1000, 1e-3, 2) == {"log_loss": None}


def test_a_test_of_another_task_tells_parts_and_the_base_task(study, tiny_model):
    test = study.test.add_column("part", ["a"] * 10 + ["b"] * 14)
    other = replace(study, test=test, base_test=study.base, recipe=Recipe(strategy="features"))
    found = Bench(other, tiny_model, other.recipe).cell("no fine-tuning", "first", 0, None, None)
    parts = found["test_accuracy: a"] * 10 + found["test_accuracy: b"] * 14
    assert parts / 24 == pytest.approx(found["test_accuracy"])
    assert 0 <= found["base_accuracy"] <= 1 and found["n_test"] == 24
