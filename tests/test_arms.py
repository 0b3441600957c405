"""Which items an arm learns from, and by what labels."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_study import small_study

from cift import arms
from cift.errors import InputError

LABELS = ["entailment", "neutral", "contradiction"]


@pytest.fixture
def study():
    return small_study()


def ids(name, study, seed=0, theta=None):
    found = arms.lesson(name, study, study.held_out["first"], seed, theta)
    return list(found["item_id"])


def test_what_each_source_gives(study):
    held = study.held_out["first"]
    assert arms.lesson(arms.BASELINE, study, held, 0) is None
    assert (
        ids("CIFT-CCE", study)
        == ids("CIFT-MSE", study)
        == ids("temperature", study)
        == list(held.supplement["item_id"])
    )
    control = arms.lesson(arms.CONTROL, study, held, 0)
    assert set(control["item_id"]) <= set(study.pool["item_id"])
    assert sorted(control["label"]) == sorted(held.supplement["label"])
    with pytest.raises(InputError, match="20 are asked for; give more pairs"):
        ids("5x random items", study)
    with pytest.raises(InputError, match="study tiny: it has no independent corpus"):
        ids("SICK items", study)
    other = replace(study, other=study.base)
    assert set(ids("SICK items", other)) == set(study.base["item_id"])


def test_random_items_differ_by_seed_and_repeat(study):
    larger = replace(study, pool=study.test)
    drawn = [ids(arms.CONTROL, larger, seed) for seed in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert len(ids("10 items", study)) == 10


def test_selections_take_what_they_name(study):
    held = study.held_out["first"]
    b = held.banks[0].items.set_index("item_id")["b"]
    label = dict(zip(held.supplement["item_id"], held.supplement["label"], strict=True))
    for name in ("third: easy", "third: hard", "third: information", "third: random"):
        assert sorted(label[item] for item in ids(name, study)) == [0, 1, 2]  # 12 // 3, as many of each label
    for code in range(3):
        of_label = b[[item for item in b.index if label[item] == code]]
        assert of_label.idxmin() in ids("third: easy", study)
        assert of_label.idxmax() in ids("third: hard", study)


def test_information_at_the_models_own_ability(study):
    scale = study.held_out["first"].banks[0].info["scale"]
    assert ids("third: own information", study, theta=pd.Series({scale: 0.0})) == ids("third: information", study)
    assert ids("third: own information", study, theta=pd.Series({scale: 9.0})) == ids("third: hard", study)
    assert ids("third: own information", study, theta=pd.Series({scale: -9.0})) == ids("third: easy", study)
    with pytest.raises(InputError, match="needs that ability as theta"):
        ids("third: own information", study)


def test_the_labels_that_arms_match(study):
    corpus = study.held_out["first"].supplement.select(range(3))  # one of each label
    people = pd.DataFrame([[0.6, 0.3, 0.1], [0.4, 0.2, 0.4], [0.0, 0.0, 1.0]], list(corpus["item_id"]), LABELS)
    assert arms.targets("CIFT-CCE", corpus, people).tolist() == np.eye(3).tolist()
    assert arms.targets("CIFT-soft", corpus, people) == pytest.approx(people.to_numpy())
    majority = [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]]  # people of the second item are divided
    assert arms.targets("CIFT-CCE majority", corpus, people) == pytest.approx(np.array(majority))
    smoothed = arms.targets("label smoothing", corpus, people)
    assert smoothed.sum(axis=1) == pytest.approx(1)
    assert np.diag(smoothed) == pytest.approx([(0.6 + 0.2 + 1.0) / 3] * 3)  # as sure of gold as people, on average


def test_arms_of_a_kind_share_their_settings():
    assert arms.tuned_as("third: hard") == arms.tuned_as("label smoothing") == "CIFT-CCE"
    assert arms.tuned_as("5x random items") == arms.CONTROL
    assert arms.tuned_as("CIFT-MSE") == "CIFT-MSE"
