"""Linking: two crowds that differ in mean and spread are brought on one scale."""

import numpy as np
import pandas as pd
import pytest

from cift import irt
from cift.ability import score
from cift.adaptive import simulate_answers
from cift.errors import InputError
from cift.irt import ItemBank, probability
from cift.linking import mean_sigma, stocking_lord, transform


def truth(n: int, c: float = 0.0) -> ItemBank:
    rng = np.random.default_rng(0)
    items = {"a": np.exp(rng.normal(0.2, 0.3, n)), "b": rng.normal(0, 1, n), "c": c, "d": 1.0}
    errors = {"a_se": 0.1, "b_se": 0.2}
    population = pd.DataFrame({"theta": rng.standard_normal(5), "theta_se": 0.4})
    return ItemBank(pd.DataFrame({"item_id": [f"i{j}" for j in range(n)], **items, **errors}), population, {})


def test_two_crowds_meet():
    """The second crowd is abler by 0.6 and spread 1.3 times as wide; half of the items are common."""
    items = truth(60)
    rng = np.random.default_rng(1)
    abler = 0.6 + 1.3 * rng.standard_normal(4000)
    first = simulate_answers(rng.standard_normal(4000), items, seed=2).iloc[:, :45]
    second = simulate_answers(abler, items, seed=3).iloc[:, 15:]
    reference, bank = irt.calibrate(first), irt.calibrate(second)
    for link in (mean_sigma, stocking_lord):
        A, B = link(bank, reference)
        assert A == pytest.approx(1.3, abs=0.06) and B == pytest.approx(0.6, abs=0.06)
    linked = transform(bank, A, B)
    assert np.corrcoef(linked.items["b"], items.items["b"].iloc[15:])[0, 1] > 0.99
    assert np.mean(linked.items["b"] - items.items["b"].iloc[15:].to_numpy()) == pytest.approx(0, abs=0.06)
    assert linked.population["theta"].mean() == pytest.approx(0.6, abs=0.06)


def test_known_transformation_is_undone_exactly():
    bank = truth(20, c=0.2)
    moved = transform(bank, 1.4, -0.7)
    for link in (mean_sigma, stocking_lord):
        assert link(bank, moved) == pytest.approx((1.4, -0.7), abs=1e-5)
        assert link(moved, bank) == pytest.approx((1 / 1.4, 0.7 / 1.4), abs=1e-5)


def test_stocking_lord_withstands_an_item_whose_difficulty_is_badly_known():
    bank = truth(20)
    reference = transform(bank, 1.2, 0.5)
    reference.items.loc[0, ["a", "b"]] = [0.05, 9.0]
    bank.items.loc[0, ["a", "b"]] = [0.05, -9.0]
    naive, robust = mean_sigma(bank, reference), stocking_lord(bank, reference)
    assert abs(robust.B - 0.5) < 0.1 < abs(naive.B - 0.5)


def test_transformed_bank_says_the_same():
    bank = truth(20, c=0.2)
    moved = transform(bank, 1.4, -0.7)
    theta = np.linspace(-2, 2, 9)
    assert np.allclose(probability(1.4 * theta - 0.7, moved.items), probability(theta, bank.items))
    assert np.allclose(moved.population["theta"], 1.4 * bank.population["theta"] - 0.7)
    assert np.allclose(moved.population["theta_se"], 1.4 * 0.4)
    assert np.allclose(moved.items[["a_se", "b_se"]], [0.1 / 1.4, 0.2 * 1.4])
    assert moved.info["linked"] == {"A": 1.4, "B": -0.7} and "linked" not in bank.info
    answers = simulate_answers(theta, bank, seed=4)
    before, after = score(answers, bank, "wle"), score(answers, moved, "wle")
    assert np.allclose(after["theta"], 1.4 * before["theta"] - 0.7, atol=1e-6)
    assert np.allclose(after["theta_se"], 1.4 * before["theta_se"])


def test_what_cannot_be_linked_is_said():
    bank = truth(5)
    other = ItemBank(bank.items.assign(item_id=["i0", "p", "q", "r", "s"]), bank.population, {})
    with pytest.raises(InputError, match="the banks share 1 of 5 and 5 items"):
        stocking_lord(bank, other)
    with pytest.raises(InputError, match="all equally difficult"):
        mean_sigma(bank, ItemBank(bank.items.assign(b=1.0), bank.population, {}))
    with pytest.raises(InputError, match="A = -1.0 and B = 0.0; A must be above 0"):
        transform(bank, -1.0, 0.0)
