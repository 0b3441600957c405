"""DIF tests hold their level, see planted DIF of both kinds, its direction and size, and agree with other counts."""

import numpy as np
import pandas as pd
import pytest

from cift import irt
from cift.dif import dif
from cift.errors import InputError


def simulate(
    people: int, items: int, seed: int, harder: float = 0.0, flatter: float = 1.0, missing: float = 0.0
) -> tuple[pd.DataFrame, pd.Series]:
    """Two groups of equal ability; for the focal one i0 is `harder` and the slope of i1 `flatter` times as steep."""
    rng = np.random.default_rng(seed)
    truth = pd.DataFrame({"a": rng.uniform(1, 2, items), "b": rng.normal(0, 0.7, items), "c": 0.0, "d": 1.0})
    truth.loc[1, "b"] = 0.0
    for_focal = truth.copy()
    for_focal.loc[0, "b"] += harder
    for_focal.loc[1, "a"] *= flatter
    theta, focal = rng.standard_normal(people), rng.random(people) < 0.4
    p = np.where(focal[:, None], irt.probability(theta, for_focal), irt.probability(theta, truth))
    right = (rng.random(p.shape) < p).astype(float)
    right[rng.random(right.shape) < missing] = np.nan
    names = [f"person {i}" for i in range(people)]
    return pd.DataFrame(right, names, [f"i{j}" for j in range(items)]), pd.Series(focal, names)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_levels_when_there_is_none(missing):
    found = pd.concat([dif(*simulate(800, 25, seed, missing=missing)) for seed in range(12)])
    for name in ("mh_p", "lr_p", "nonuniform_p"):
        assert 0.02 < (found[name] < 0.05).mean() < 0.08
    assert found["mh_delta"].mean() == pytest.approx(0, abs=0.1)
    assert (found["ets_class"] == "A").mean() > 0.9
    assert (found["mh_delta"] / found["mh_se"]).std() == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_planted_dif_is_seen(missing):
    found = dif(*simulate(3000, 25, seed=1, harder=0.8, flatter=0.3, missing=missing)).set_index("item_id")
    assert found.loc["i0", "mh_delta"] < -1.5 and found.loc["i0", "ets_class"] == "C"
    assert found.loc["i0", "mh_p_holm"] < 1e-4 and found.loc["i0", "lr_p_holm"] < 1e-4
    assert found.loc["i0", "nonuniform_p"] > 0.001
    assert found.loc["i1", "lr_p_holm"] < 1e-4 and found.loc["i1", "nonuniform_p"] < 1e-4
    assert abs(found.loc["i1", "mh_delta"]) < 1  # crossing curves cancel in Mantel-Haenszel
    others = found.drop(["i0", "i1"])
    assert (others["lr_p_holm"] > 0.05).all() and (others["ets_class"] != "C").all()
    assert found.loc[["i0", "i1"], "r2_change"].min() > others["r2_change"].max()


def test_swapped_groups_turn_the_sign():
    scored, focal = simulate(1500, 12, seed=2, harder=0.6)
    one, other = dif(scored, focal), dif(scored, ~focal)
    assert one["mh_delta"].to_numpy() == pytest.approx(-other["mh_delta"].to_numpy())
    for name in ("mh_x2", "mh_se", "lr_x2", "r2_change"):
        assert one[name].to_numpy() == pytest.approx(other[name].to_numpy(), rel=1e-4, abs=1e-6)


def test_an_anchor_keeps_fair_items_fair():
    """With many items harder for one group, matching on all of them blames the fair ones."""
    scored, focal = simulate(4000, 12, seed=3)
    unfair = [f"i{j}" for j in range(6)]
    rng = np.random.default_rng(4)
    spoilt = scored.copy()
    spoilt[unfair] = spoilt[unfair].mask((rng.random((4000, 6)) < 0.35) & focal.to_numpy()[:, None], 0.0)
    fair = [item for item in scored.columns if item not in unfair]
    blamed, cleared = (dif(spoilt, focal, anchor).set_index("item_id") for anchor in (None, fair))
    assert (blamed.loc[fair, "mh_p_holm"] < 0.05).mean() > 0.5 and (blamed.loc[fair, "mh_delta"] > 0).all()
    assert (cleared.loc[fair, "mh_p_holm"] > 0.05).all()
    assert (cleared.loc[unfair, "ets_class"] == "C").all()


def test_mantel_haenszel_by_hand():
    scored, focal = simulate(300, 6, seed=5, harder=0.5)
    top = bottom = gap = variance = 0.0
    total = scored.sum(axis=1)
    for level in range(7):
        reference, other = (scored.loc[(total == level) & (focal == side), "i0"] for side in (False, True))
        n, right = len(reference) + len(other), reference.sum() + other.sum()
        if n > 1:
            top += reference.sum() * (1 - other).sum() / n
            bottom += (1 - reference).sum() * other.sum() / n
            gap += reference.sum() - len(reference) * right / n
            variance += len(reference) * len(other) * right * (n - right) / (n**2 * (n - 1))
    row = dif(scored, focal).iloc[0]
    assert row["mh_delta"] == pytest.approx(-2.35 * np.log(top / bottom))
    assert row["mh_x2"] == pytest.approx((abs(gap) - 0.5) ** 2 / variance)


def test_likelihood_ratio_agrees_with_an_independent_fit():
    from sklearn.linear_model import LogisticRegression

    scored, focal = simulate(600, 8, seed=6, harder=0.4)
    ability, group = scored.sum(axis=1).to_numpy(), focal.to_numpy().astype(float)
    ability = (ability - ability.mean()) / ability.std()
    y = scored["i0"].to_numpy()

    def log_likelihood(*columns: np.ndarray) -> float:
        x = np.stack(columns, axis=1)
        fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, y)
        return float(fit.predict_log_proba(x)[np.arange(len(y)), y.astype(int)].sum())

    full, matched = log_likelihood(ability, group, ability * group), log_likelihood(ability)
    share = y.mean()
    null = len(y) * (share * np.log(share) + (1 - share) * np.log(1 - share))
    r2 = [(1 - np.exp(2 * (null - value) / len(y))) / (1 - np.exp(2 * null / len(y))) for value in (full, matched)]
    row = dif(scored, focal).iloc[0]
    assert row["lr_x2"] == pytest.approx(2 * (full - matched), abs=1e-3)
    assert row["r2_change"] == pytest.approx(r2[0] - r2[1], abs=1e-5)


def test_order_of_people_and_items_changes_nothing():
    scored, focal = simulate(500, 10, seed=7, missing=0.2)
    one = dif(scored, focal).set_index("item_id")
    other = dif(scored.sample(frac=1, random_state=1)[scored.columns[::-1]], focal).set_index("item_id")
    pd.testing.assert_frame_equal(one, other.loc[one.index])


def test_an_item_that_one_group_did_not_answer_is_left_open():
    scored, focal = simulate(200, 6, seed=8)
    scored.loc[focal, "i2"] = np.nan
    row = dif(scored, focal).set_index("item_id").loc["i2"]
    assert row["n_focal"] == 0 and np.isnan(row["mh_p"]) and np.isnan(row["lr_p"]) and row["ets_class"] == ""


def test_bad_input_is_named():
    scored, focal = simulate(40, 4, seed=9)
    with pytest.raises(InputError, match="its index is not that of the responses"):
        dif(scored, focal.iloc[1:])
    with pytest.raises(InputError, match="give a pandas Series of True and False"):
        dif(scored, focal.map({True: "model", False: "person"}))
    with pytest.raises(InputError, match="0 people in the focal group, 40 others"):
        dif(scored, focal & False)
    with pytest.raises(InputError, match="anchor: item 'i9' has no column"):
        dif(scored, focal, anchor=["i0", "i9"])
    with pytest.raises(InputError, match="item 'i1': .*2.0.* is not 1, 0 or missing"):
        dif(scored.assign(i1=2.0), focal)
