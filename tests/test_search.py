"""The learning-rate finder and the search: what they find, that they repeat, resume, keep to a budget, and refuse."""

import copy
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cift import finetuning, models, strategies
from cift.errors import Diverged, InputError
from cift.losses import one_hot
from cift.recipe import Recipe
from cift.search import find_learning_rate, search, suggest

RECIPE = Recipe(batch_size=8, epochs=3, precision="fp32", learning_rate=2e-3)
SPACE = {"learning_rate": (1e-5, 1e-1, "log"), "batch_size": [8, 16], "dropout": (0.0, 0.3)}


def lesson(folder, pairs):
    model, tokenizer = models.load(folder)
    return model, finetuning.encode(pairs, tokenizer), one_hot(pairs["label"], 3)


@pytest.fixture
def calls(monkeypatch):
    """A stand-in for training, whose loss has its minimum at a learning rate of 1e-3; the recipes that it was given."""
    given = []

    def fine_tune(corpus, recipe, seed, model, *, validation, progress, after_evaluation):
        given.append(recipe)
        if recipe.learning_rate > 0.05:
            raise Diverged("training diverged: the loss is nan in step 1")
        for epoch in range(1, recipe.epochs + 1):
            miss = abs(math.log10(recipe.learning_rate) + 3) + (recipe.dropout or 0.0)
            loss = 0.1 + miss / epoch + (0.5 if epoch == recipe.epochs else 0.0)
            after_evaluation({"epoch": epoch, "validation_loss": loss, "validation_accuracy": 1 - loss / 10})

    monkeypatch.setattr(finetuning, "fine_tune", fine_tune)
    return given


def test_the_finder_repeats_and_leaves_the_model_as_it_was(tiny_model, pairs):
    model, rows, targets = lesson(tiny_model, pairs)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, again = (find_learning_rate(model, rows, targets, RECIPE, seed=1, steps=31) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(find_learning_rate(model, rows, targets, RECIPE, seed=2, steps=31))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training and all(weights.grad is None for weights in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert first["learning_rate"].iloc[0] == pytest.approx(1e-7)
    assert first["learning_rate"].iloc[12] == pytest.approx(1e-7 * 10 ** (7 * 12 / 30))


def test_training_at_the_suggested_rate_learns_and_at_a_hundredth_does_not(tiny_model, pairs):
    model, rows, targets = lesson(tiny_model, pairs)
    rate = suggest(find_learning_rate(model, rows, targets, RECIPE, seed=0))
    right = []
    for factor in (1, 0.01):
        learner = copy.deepcopy(model)
        finetuning.train(learner, rows, targets, replace(RECIPE, learning_rate=rate * factor, epochs=20), 0)
        right.append((finetuning.logits(learner, rows, 3).argmax(1) == pairs["label"]).mean())
    assert right[0] > 0.9 and right[1] < 0.5


def test_batches_accumulated_are_one_large_batch(tiny_model, pairs):
    model, rows, targets = lesson(tiny_model, pairs)
    recipe = replace(RECIPE, dropout=0.0, class_weights=(1.0, 2.0, 3.0), label_smoothing=0.1)
    whole = find_learning_rate(model, rows, targets, recipe, 0, high=1e-3, steps=30)
    parts = find_learning_rate(
        model, rows, targets, replace(recipe, batch_size=2, accumulation=4), 0, high=1e-3, steps=30
    )
    np.testing.assert_allclose(parts["loss"], whole["loss"], rtol=1e-4)
    assert whole["loss"].iloc[-1] < 0.9 * whole["loss"].iloc[0]


def test_the_finder_trains_what_the_strategy_trains_in_the_end(tiny_model, pairs):
    model, rows, targets = lesson(tiny_model, pairs)
    recipe = replace(RECIPE, strategy="gradual", dropout=0.0)
    gradual = find_learning_rate(
        strategies.prepare(copy.deepcopy(model), "gradual"), rows, targets, recipe, 0, steps=31
    )
    full = find_learning_rate(model, rows, targets, replace(recipe, strategy="full"), 0, steps=31)
    pd.testing.assert_frame_equal(gradual, full)


def test_the_finder_stops_where_the_loss_explodes(tiny_model, pairs):
    model, rows, targets = lesson(tiny_model, pairs)
    table = find_learning_rate(model, rows, targets, replace(RECIPE, optimizer="sgd", clip=None), 0, high=1e6)
    assert len(table) < 100 and 1e-4 < suggest(table) < 1


@pytest.mark.parametrize("noise", [0.001, 0.05, 0.4])
@pytest.mark.parametrize("dip", [0.0, 0.3])
def test_the_suggestion_stands_noise(noise, dip):
    """A loss that explodes from 1e-3 on, after a fall or none: a tenth of that, to a factor of four."""
    decade = np.linspace(-7, 0, 100)
    mean = 0.6 - dip * np.clip(decade + 4.5, 0, 1) + 3 * np.maximum(0, decade + 3) ** 2
    found = []
    for seed in range(50):
        loss = pd.Series(mean * (1 + noise * np.random.default_rng(seed).normal(size=100)))
        smoothed = loss.rolling(15, center=True, min_periods=8).median()
        found.append(suggest(pd.DataFrame({"learning_rate": 10**decade, "loss": loss, "smoothed": smoothed})))
    assert np.mean([1e-4 / 4 < rate < 1e-4 * 4 for rate in found]) >= 0.9


@pytest.mark.parametrize("end", [[9.0] * 3, [math.nan]])
def test_a_loss_that_explodes_at_once_is_one_that_rises(end):
    loss = pd.Series(np.ones(50)).mask(lambda values: values.index == 20, 9.0)  # one bad batch is no explosion
    loss = pd.concat([loss, pd.Series(end)], ignore_index=True)
    rates = np.geomspace(1e-7, 1, 100)[: len(loss)]
    smoothed = loss.rolling(15, center=True, min_periods=8).median()
    assert suggest(pd.DataFrame({"learning_rate": rates, "loss": loss, "smoothed": smoothed})) == rates[49] / 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_the_finder_sees_on_the_gpu_what_it_sees_on_the_cpu(tiny_model, pairs, monkeypatch):
    model, rows, targets = lesson(tiny_model, pairs)
    recipe = replace(RECIPE, dropout=0.0, class_weights=(1.0, 2.0, 3.0), accumulation=2)
    on_gpu = find_learning_rate(model, rows, targets, recipe, 0, high=1e-3, steps=30)
    monkeypatch.setattr(finetuning, "device", lambda: torch.device("cpu"))
    on_cpu = find_learning_rate(model, rows, targets, recipe, 0, high=1e-3, steps=30)
    np.testing.assert_allclose(on_gpu["loss"], on_cpu["loss"], rtol=1e-3)


def test_what_the_finder_refuses(tiny_model, pairs):
    model, rows, targets = lesson(tiny_model, pairs)
    with pytest.raises(InputError, match="20 steps from 0.1 to 0.01; give at least 30 steps, and a range that rises"):
        find_learning_rate(model, rows, targets, RECIPE, 0, low=0.1, high=0.01, steps=20)
    with pytest.raises(InputError, match="48 items with 47 targets"):
        find_learning_rate(model, rows, targets[1:], RECIPE, 0)
    table = find_learning_rate(model, rows, targets, RECIPE, 0, high=1e-3, steps=31)
    with pytest.raises(InputError, match="the loss does not rise up to 0.001; raise high"):
        suggest(table)
    with pytest.raises(InputError, match="the loss rises from 10 on; lower low"):
        suggest(find_learning_rate(model, rows, targets, replace(RECIPE, clip=None), 0, low=10, high=1e5))


def test_a_search_over_real_training_finds_a_rate_that_learns(tiny_model, pairs):
    given = replace(RECIPE, metric="accuracy", epochs=20)
    recipe, table = search(pairs, pairs, {"learning_rate": [1e-7, 4e-3]}, trials=2, model=tiny_model, recipe=given)
    assert list(table) == ["trial", "learning_rate", "value", "state", "seconds", "epochs_seen"]
    assert recipe == replace(given, learning_rate=4e-3)
    values = table.set_index("learning_rate")["value"]
    assert values[4e-3] > 0.9 and values[1e-7] < 0.5
    cost = finetuning.fine_tune(pairs, recipe, model=tiny_model, validation=pairs, progress=False)[2]
    assert cost["history"][-1]["validation_accuracy"] == values[4e-3]


def test_the_search_goes_to_where_the_loss_is_low_and_gives_up_what_is_worse(calls, pairs):
    recipe, table = search(pairs, pairs, SPACE, trials=40, recipe=RECIPE)
    assert 2e-4 < recipe.learning_rate < 5e-3 and recipe.dropout < 0.15 and recipe.batch_size in (8, 16)
    assert set(table["state"]) == {"complete", "pruned", "diverged"}
    complete = table[table["state"] == "complete"]
    assert (complete["epochs_seen"] == 3).all() and (table.loc[table["state"] == "pruned", "epochs_seen"] < 3).all()
    assert table["value"].isna().equals(table["state"] == "diverged")
    assert complete["value"].min() == pytest.approx(complete.set_index("learning_rate")["value"][recipe.learning_rate])
    assert not (table["state"][:5] == "pruned").any()
    assert (np.log10(table["learning_rate"][20:]) + 3).abs().median() < 0.6  # 1 for rates drawn at random


def test_a_search_repeats_and_goes_on_where_it_was_interrupted(calls, pairs, monkeypatch, tmp_path):
    def values(**settings):
        return search(pairs, pairs, SPACE, recipe=RECIPE, **settings)[1].drop(columns="seconds")

    interrupted = values(trials=7)
    assert len(calls) == 7
    resumed = values(trials=14)
    assert len(calls) == 14  # the first seven came from the cache
    monkeypatch.setenv("CIFT_CACHE", str(tmp_path))
    whole = values(trials=14)
    pd.testing.assert_frame_equal(whole, resumed)
    pd.testing.assert_frame_equal(whole[:7], interrupted)
    assert not whole["learning_rate"].equals(values(trials=14, seed=1)["learning_rate"])


def test_other_spaces_with_the_same_numbers_take_nothing_from_the_cache(calls, pairs):
    spaces = [SPACE | {"batch_size": values} for values in ((8, 16), [8, 16])]  # any number between, or one of the two
    whole, listed = (search(pairs, pairs, space, trials=8, recipe=RECIPE)[1] for space in spaces)
    assert set(listed["batch_size"]) <= {8, 16} and not set(whole["batch_size"]) <= {8, 16}
    search(pairs, pairs, dict(reversed(SPACE.items())), trials=8, recipe=RECIPE)
    assert len(calls) == 24


def test_the_budget_in_minutes_ends_a_search(calls, pairs, monkeypatch):
    from cift import search as module

    clock = iter(range(0, 10**6, 25))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    # a trial looks at the clock twice, and once more before it: it takes 25 of 75 seconds
    assert len(search(pairs, pairs, SPACE, trials=20, minutes=5, recipe=RECIPE)[1]) == 4
    assert len(search(pairs, pairs, SPACE, trials=20, minutes=0.01, seed=1, recipe=RECIPE)[1]) == 1


def test_with_patience_the_best_epoch_counts_and_lists_hold_any_value(calls, pairs):
    space = {"options": [{"rank": 4}, {"rank": 8}], "betas": [(0.9, 0.98), (0.9, 0.999)], "epochs": (2, 5)}
    recipe = replace(RECIPE, strategy="lora")
    chosen, table = search(pairs, pairs, space, trials=8, recipe=recipe)
    assert chosen.options in space["options"] and chosen.betas in space["betas"]
    assert set(table["epochs"]) <= {2, 3, 4, 5}
    complete = table[table["state"] == "complete"]
    patient = search(pairs, pairs, space, trials=8, recipe=replace(recipe, patience=3))[1]
    assert patient["value"][complete.index[0]] < complete["value"].iloc[0]


def test_a_search_in_which_all_diverges_says_so(calls, pairs):
    with pytest.raises(InputError, match="training diverged in every trial; search lower learning rates"):
        search(pairs, pairs, {"learning_rate": (0.1, 1.0)}, trials=2, recipe=RECIPE)
    with pytest.raises(InputError, match="prefix"):  # any other error is the user's to see
        search(pairs, pairs, {"options": [{"prefix": 3}]}, trials=2, recipe=RECIPE)


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        ({}, {}, "search: the space is empty"),
        ({"lr": (1e-5, 1e-3)}, {}, "search: 'lr' is not among accumulation, batch_size,"),
        ({"metric": ["loss", "accuracy"]}, {}, "'metric' is not among"),
        ({"dropout": (0.3, 0.0)}, {}, r"dropout \(0.3, 0.0\) is neither a list of values nor \(low, high\)"),
        ({"dropout": (0.0, 0.3, "log")}, {}, "is neither"),
        ({"dropout": (0.0, 0.3, "linear")}, {}, "is neither"),
        ({"batch_size": []}, {}, "is neither"),
        ({"batch_size": [8, 0]}, {}, "batch_size is 0; it must be"),
        ({"dropout": (0.0, 1.5)}, {}, "dropout is 1.5; it must be"),
        ({"loss": ["cce", "mse"]}, {}, "losses cannot be compared by their own values: take a recipe with metric='acc"),
        ({"epochs": (1, 3)}, {"trials": 0}, "a budget of 0 trials and None minutes lets nothing start"),
        ({"epochs": (1, 3)}, {"minutes": 0}, "a budget of 20 trials and 0 minutes"),
    ],
)
def test_spaces_that_cannot_be_meant(space, settings, message, calls, pairs):
    with pytest.raises(InputError, match=message):
        search(pairs, pairs, space, recipe=RECIPE, **settings)
    assert not calls
