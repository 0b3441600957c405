"""No group in two folds, every item answered by a model that has not met it, folds that are not trained twice."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from cift import cross_validation, finetuning
from cift.corpora import LABELS
from cift.errors import InputError
from cift.evaluation import accuracy
from cift.fetch import cache_dir
from cift.recipe import Recipe

RECIPE = Recipe(epochs=1, batch_size=8, learning_rate=1e-3, precision="fp32")


@pytest.fixture
def trainings(monkeypatch):
    """What was trained on: the item_ids, targets and seed of each fine-tuning."""
    seen, real = [], finetuning.fine_tune

    def fine_tune(corpus, recipe, seed, model, targets=None, **given):
        seen.append((corpus["item_id"][:], targets, seed))
        return real(corpus, recipe, seed, model, targets=targets, **given)

    monkeypatch.setattr(finetuning, "fine_tune", fine_tune)
    return seen


def test_items_are_answered_by_models_that_saw_neither_them_nor_their_premise(tiny_model, pairs, trainings):
    found = cross_validation.cross_validate(pairs, RECIPE, tiny_model, folds=3, seed=2)
    assert list(found["item_id"]) == pairs["item_id"][:]
    assert list(found["label"]) == [LABELS[code] for code in pairs["label"][:]]
    assert set(found["fold"]) == {1, 2, 3} and len({seed for *_, seed in trainings}) == 3
    premise = dict(zip(pairs["item_id"][:], pairs["premise"][:], strict=True))
    for fold, (learnt, *_) in enumerate(trainings, start=1):
        answered = found.loc[found["fold"] == fold, "item_id"]
        assert {*learnt, *answered} == set(premise) and len(learnt) + len(answered) == len(pairs)
        assert {premise[item] for item in learnt}.isdisjoint(premise[item] for item in answered)
        counts = found.loc[found["fold"] == fold, "label"].value_counts()
        assert counts.max() - counts.min() <= 1
    learnt, _, seed = trainings[1]  # the second fold, by hand
    lesson = pairs.filter(lambda row: row["item_id"] in learnt)
    model, tokenizer, _ = finetuning.fine_tune(lesson, RECIPE, seed, tiny_model, progress=False)
    exam = pairs.filter(lambda row: row["item_id"] not in learnt)
    alone = finetuning.predict(model, finetuning.encode(exam, tokenizer), exam)
    pd.testing.assert_frame_equal(
        found[found["fold"] == 2].drop(columns="fold").reset_index(drop=True), alone, check_exact=True
    )


def test_an_interrupted_run_goes_on_and_another_one_does_not_take_its_folds(tiny_model, pairs, monkeypatch, trainings):
    few, finish = pairs.select(range(12)), finetuning.fine_tune

    def interrupted(*given, **named):
        if trainings:
            raise KeyboardInterrupt
        return finish(*given, **named)

    monkeypatch.setattr(finetuning, "fine_tune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cross_validation.cross_validate(few, RECIPE, tiny_model, folds=2)
    monkeypatch.setattr(finetuning, "fine_tune", finish)
    found = cross_validation.cross_validate(few, RECIPE, tiny_model, folds=2)
    assert len(trainings) == 2  # the second only
    pd.testing.assert_frame_equal(found, cross_validation.cross_validate(few, RECIPE, tiny_model, folds=2))
    assert len(trainings) == 2
    for entry in (cache_dir() / "folds").iterdir():
        entry.unlink()
    again = cross_validation.cross_validate(few, RECIPE, tiny_model, folds=2)
    pd.testing.assert_frame_equal(found, again, check_exact=True)
    assert len(trainings) == 4
    other = cross_validation.cross_validate(few, replace(RECIPE, epochs=2), tiny_model, folds=2)
    assert len(trainings) == 6 and not other["logit_neutral"].equals(found["logit_neutral"])


def test_groups_are_any_column_or_none(tiny_model, pairs, trainings):
    few = pairs.select(range(18)).add_column("topic", list("aabbccabcabcccaabb"))
    found = cross_validation.cross_validate(few, RECIPE, tiny_model, folds=2, groups="topic")
    assert (found.assign(topic=few["topic"]).groupby("topic")["fold"].nunique() == 1).all()
    found = cross_validation.cross_validate(few, RECIPE, tiny_model, folds=2, groups=None)
    assert pd.crosstab(found["fold"], found["label"]).to_numpy().tolist() == [[3, 3, 3]] * 2


def test_people_s_distributions_are_what_is_learnt(tiny_model, pairs, trainings):
    few = pairs.select(range(18))
    rng = np.random.default_rng(0)
    people = pd.DataFrame(rng.dirichlet([1, 1, 1], 18), few["item_id"][:], ["neutral", "contradiction", "entailment"])
    soft = cross_validation.cross_validate(few, RECIPE, tiny_model, folds=2, distributions=people)
    for items, targets, _ in trainings:
        assert targets == pytest.approx(people.loc[items, list(LABELS)].to_numpy())
    hard = cross_validation.cross_validate(few, RECIPE, tiny_model, folds=2)
    assert len(trainings) == 4 and (soft["fold"] == hard["fold"]).all()
    assert not np.allclose(soft["logit_neutral"], hard["logit_neutral"])
    with pytest.raises(InputError, match="no column 'entailment'; item 'pair-17' has none. Give each item a share"):
        cross_validation.cross_validate(
            few, RECIPE, tiny_model, folds=2, distributions=people[["neutral", "contradiction"]].iloc[:17]
        )


def test_what_cannot_be_folded_is_said_before_any_training(tiny_model, pairs, trainings):
    with pytest.raises(InputError, match="folds: k is 20, but there are too few groups.*48 pairs with 16 premises"):
        cross_validation.cross_validate(pairs, RECIPE, tiny_model, folds=20)
    with pytest.raises(InputError, match="no column 'topic'"):
        cross_validation.cross_validate(pairs, RECIPE, tiny_model, groups="topic")
    assert not trainings


def folded(right, k):
    """Predictions of len(right) items, in turn in k folds."""
    predicted = np.where(right, "x", "y")
    return pd.DataFrame({"label": "x", "predicted": predicted, "fold": np.arange(len(right)) % k + 1})


def test_summary_by_hand():
    table = folded(np.array([1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1]) == 1, 3)  # 4/4, 3/4, 0/3
    found = cross_validation.summary(table)
    assert found["folds"] == 3 and found["pooled"] == 7 / 11 and found["mean"] == pytest.approx(7 / 12)
    sd = np.std([1, 0.75, 0], ddof=1)
    assert found["sd"] == pytest.approx(sd)
    assert found["high"] - found["mean"] == pytest.approx(t.ppf(0.975, 2) * sd * np.sqrt(1 / 3 + 1 / 2))
    wrong = cross_validation.summary(table, lambda part: 1 - accuracy(part))
    assert [wrong[name] for name in ("mean", "low", "pooled")] == pytest.approx([5 / 12, 1 - found["high"], 4 / 11])
    json.dumps(found)
    for other in (table.drop(columns="fold"), table.assign(fold=1)):
        with pytest.raises(InputError, match="they are of [01] folds; give cross_validate's table"):
            cross_validation.summary(other)


def test_the_interval_holds_what_learning_gives_on_average_and_one_of_independent_folds_does_not():
    """The nearest of two class means, learnt from 80 of 100 points in 20 dimensions."""
    rng, k, shift = np.random.default_rng(0), 5, np.r_[0.5, np.zeros(19)]

    def data(n):
        y = rng.integers(0, 2, n)
        return rng.normal(size=(n, 20)) + np.outer(2 * y - 1, shift), y

    def right(x, y, others, of_others):
        zero, one = x[y == 0].mean(axis=0), x[y == 1].mean(axis=0)
        return ((others - (zero + one) / 2) @ (one - zero) > 0) == of_others

    truth = np.mean([right(*data(80), *data(200)).mean() for _ in range(1000)])
    held, independent = 0, 0
    for _ in range(400):
        x, y = data(100)
        fold = np.arange(100) % k
        answers = np.empty(100, bool)
        for i in range(k):
            answers[fold == i] = right(x[fold != i], y[fold != i], x[fold == i], y[fold == i])
        found = cross_validation.summary(folded(answers, k))
        held += found["low"] <= truth <= found["high"]
        independent += abs(found["mean"] - truth) <= t.ppf(0.975, k - 1) * found["sd"] / np.sqrt(k)
    assert held / 400 >= 0.93 > 0.91 > independent / 400
