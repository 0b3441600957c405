"""Local dependence holds its level when the model is true, and sees planted pairs with their sign."""

import itertools

import numpy as np
import pandas as pd
import pytest

from cift import irt
from cift.ability import eap
from cift.dependence import holm, local_dependence
from cift.errors import InputError


def simulate(people: int, items: int, seed: int, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    truth = pd.DataFrame({"a": np.exp(rng.normal(0.3, 0.3, items)), "b": rng.normal(0, 0.8, items), "c": 0.0, "d": 1.0})
    right = (rng.random((people, items)) < irt.probability(rng.standard_normal(people), truth)).astype(float)
    right[rng.random(right.shape) < missing] = np.nan
    return pd.DataFrame(right, columns=[f"i{j}" for j in range(items)])


@pytest.fixture(scope="module")
def scored() -> pd.DataFrame:
    return simulate(1500, 15, seed=0)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_levels_when_the_model_is_true(missing):
    """LD-X2 rejects at most 8 % of 1,140 pairs at 5 %, and far fewer of complete data, as its text warns."""
    pairs = []
    for seed in range(6):
        crowd = simulate(1000, 20, seed, missing)
        pairs.append(local_dependence(crowd, irt.calibrate(crowd)))
    found = pd.concat(pairs)
    assert (found["p"] < 0.05).mean() < (0.03 if missing == 0 else 0.08)
    assert found["q3"].mean() == pytest.approx(-1 / 19, abs=0.02)


def test_planted_dependence_is_seen_with_its_sign(scored):
    rng = np.random.default_rng(1)
    copied = rng.random(len(scored)) < 0.35
    planted = scored.assign(
        i1=scored["i1"].where(~copied, scored["i0"]), i3=scored["i3"].where(~copied, 1 - scored["i2"])
    )
    pairs = local_dependence(planted, irt.calibrate(planted)).set_index(["item_1", "item_2"])
    assert set(pairs.index[:2]) == {("i0", "i1"), ("i2", "i3")}
    assert (pairs.loc[("i0", "i1"), ["ld_x2", "q3"]] > [20, 0.1]).all()
    assert (pairs.loc[("i2", "i3"), ["ld_x2", "q3"]] < [-20, -0.1]).all()
    assert (pairs["p_holm"].iloc[:2] < 1e-4).all() and (pairs["p_holm"].iloc[2:] > 0.05).all()


def test_a_pair_by_hand(scored):
    bank = irt.calibrate(scored)
    pair = local_dependence(scored, bank).set_index(["item_1", "item_2"]).loc[("i3", "i7")]
    items = bank.items.iloc[[3, 7]]
    nodes, log_weight = irt.grid(bank.items)
    p, q = irt.probability(nodes, items).T
    x2 = 0.0
    for (u, x), (v, y) in itertools.product([(1, p), (0, 1 - p)], [(1, q), (0, 1 - q)]):
        expected = len(scored) * np.exp(log_weight) @ (x * y)
        x2 += (((scored["i3"] == u) & (scored["i7"] == v)).sum() - expected) ** 2 / expected
    residual = scored[["i3", "i7"]].to_numpy() - irt.probability(eap(scored, bank)["theta"].to_numpy(), items)
    assert abs(pair["ld_x2"]) == pytest.approx(x2)
    assert pair["q3"] == pytest.approx(np.corrcoef(residual.T)[0, 1])


def test_missing_answers_leave_pairs_out(scored):
    bank = irt.calibrate(scored)
    split = scored.copy()
    split.loc[:700, "i0"] = np.nan
    split.loc[701:, "i1"] = np.nan
    pairs = local_dependence(split, bank).set_index(["item_1", "item_2"])
    assert pairs.loc[("i0", "i1"), "n"] == 0 and pairs.loc[("i0", "i1")].drop("n").isna().sum() >= 4
    assert pairs.loc[("i0", "i2"), "n"] == 799 and pairs.drop(("i0", "i1")).notna().all(axis=None)


def test_order_of_people_and_items_changes_nothing(scored):
    bank = irt.calibrate(scored)
    turned = irt.ItemBank(bank.items.iloc[::-1].reset_index(drop=True), bank.population, bank.info)
    first, second = local_dependence(scored, bank), local_dependence(scored.sample(frac=1, random_state=1), turned)
    for pairs in (first, second):
        pairs.index = pd.Index([frozenset(pair) for pair in zip(pairs["item_1"], pairs["item_2"], strict=True)])
    numbers = first.columns[2:]
    pd.testing.assert_frame_equal(first[numbers], second.loc[first.index, numbers])


def test_holm():
    adjusted = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True)


def test_bad_input_is_named(scored):
    bank = irt.calibrate(scored)
    with pytest.raises(InputError, match="no column for item 'i3'"):
        local_dependence(scored.drop(columns="i3"), bank)
