"""Adaptive tests and short forms: fewer items for the same precision, rules obeyed."""

import numpy as np
import pandas as pd
import pytest

from cift.ability import eap
from cift.adaptive import administer, by_length, items_needed, short_form, short_form_error, simulate_answers
from cift.errors import InputError
from cift.irt import ItemBank, information

RNG = np.random.default_rng(0)
ITEMS = pd.DataFrame(
    {
        "item_id": [f"i{j}" for j in range(120)],
        "a": np.exp(RNG.normal(0.3, 0.4, 120)),
        "b": RNG.normal(0, 1.2, 120),
        "c": 0.0,
        "d": 1.0,
    }
)
BANK = ItemBank(ITEMS, pd.DataFrame(), {})
THETA = pd.Series(np.random.default_rng(1).standard_normal(200), index=[f"p{i}" for i in range(200)])
ANSWERS = simulate_answers(THETA, BANK, seed=2).set_index(THETA.index)


def test_adaptive_needs_fewer_items_than_random_for_the_same_error():
    chosen, at_random = (administer(ANSWERS, BANK, order, stop_se=0.35) for order in ("information", "random"))
    few, many = items_needed(chosen, 0.35).median(), items_needed(at_random, 0.35).median()
    assert few < 0.6 * many
    for sequence in (chosen, at_random):  # fewer, and as good as announced
        last = sequence.groupby("respondent").last().loc[THETA.index]
        assert (last["theta_se"] <= 0.35).all()
        assert np.sqrt(np.mean((last["theta"] - THETA) ** 2)) == pytest.approx(0.35, rel=0.15)
    closeness = by_length(administer(ANSWERS, BANK, max_items=20), THETA).set_index("n_items")
    assert closeness["rmse"].loc[20] < closeness["rmse"].loc[5] and len(closeness) == 20
    by_chance = by_length(administer(ANSWERS, BANK, "random", max_items=20), THETA).set_index("n_items")
    assert closeness["spearman"].loc[10] > by_chance["spearman"].loc[10] + 0.03


@pytest.mark.parametrize("order", ["information", "random"])
def test_full_length_ends_at_the_eap_of_all_answers(order):
    answers = ANSWERS.head(6).mask(np.random.default_rng(3).random((6, 120)) < 0.3)
    sequence = administer(answers, BANK, order)
    expected = eap(answers, BANK)
    last = sequence.groupby("respondent").last().loc[answers.index]
    assert np.allclose(last[["theta", "theta_se"]], expected[["theta", "theta_se"]], atol=1e-8)
    assert last["step"].tolist() == expected["n_items"].tolist()
    asked = sequence.set_index(["respondent", "item_id"])["answer"]
    assert asked.index.is_unique
    assert (asked == answers.stack().loc[asked.index]).all()  # only what was answered, with that answer


def test_each_item_is_the_most_informative_one_left():
    sequence = administer(ANSWERS.head(1), BANK, max_items=10)
    theta, asked = 0.0, []
    for _, row in sequence.iterrows():
        told = pd.Series(information(np.array([theta]), ITEMS)[0], index=ITEMS["item_id"]).drop(asked)
        assert row["item_id"] == told.idxmax()
        theta, asked = row["theta"], [*asked, row["item_id"]]


def test_exposure_control_shows_different_items():
    always = administer(ANSWERS, BANK, max_items=3)
    varied = administer(ANSWERS, BANK, max_items=3, among=10, seed=1)
    assert always.loc[always["step"] == 1, "item_id"].nunique() == 1
    first = varied.loc[varied["step"] == 1, "item_id"].value_counts()
    assert len(first) == 10 and first.max() < 45  # 200 people, 10 items: 20 each expected, SD 4.2
    best = pd.Series(information(np.array([0.0]), ITEMS)[0], index=ITEMS["item_id"]).nlargest(10)
    assert set(first.index) == set(best.index)
    pd.testing.assert_frame_equal(varied, administer(ANSWERS, BANK, max_items=3, among=10, seed=1))
    assert not varied.equals(administer(ANSWERS, BANK, max_items=3, among=10, seed=2))


def test_an_examinee_is_tested_alike_whoever_else_stops_when():
    alone = administer(ANSWERS, BANK, stop_se=0.4, among=3, seed=5)
    longer = administer(ANSWERS, BANK, stop_se=0.3, among=3, seed=5)
    shared = longer.merge(alone, on=["respondent", "step"], suffixes=("", "_alone"))
    assert len(shared) == len(alone) and (shared["item_id"] == shared["item_id_alone"]).all()


@pytest.mark.parametrize("order", ["information", "random"])
def test_content_is_balanced_all_along(order):
    labels = {item: "ABC"[min(j // 30, 2)] for j, item in enumerate(ITEMS["item_id"])}  # shares 1/4, 1/4, 1/2
    sequence = administer(ANSWERS.head(20), BANK, order, groups=labels, max_items=40)
    given = pd.get_dummies(sequence["item_id"].map(labels)).groupby(sequence["respondent"]).cumsum()
    behind = given.sub(np.outer(sequence["step"], [0.25, 0.25, 0.5]))
    assert behind.abs().to_numpy().max() <= 1
    unbalanced = administer(ANSWERS.head(20), BANK, order, max_items=40)["item_id"].map(labels)
    assert (unbalanced.value_counts() != [400, 200, 200]).any()


def test_short_form_keeps_more_than_a_random_one():
    crowd = ItemBank(ITEMS, eap(ANSWERS, BANK)[["theta", "theta_se"]], {})
    fresh = simulate_answers(np.random.default_rng(4).standard_normal(400), BANK, seed=5)
    best, at_random = (short_form_error(fresh, crowd, (5, 20, 60), order) for order in ("information", "random"))
    assert list(best["n_items"]) == [5, 20, 60]
    assert (best["spearman"] > at_random["spearman"]).all() and (best["rmse"] < at_random["rmse"]).all()
    assert best["rmse"].is_monotonic_decreasing and best["spearman"].is_monotonic_increasing
    whole = short_form_error(fresh, crowd, (120,)).iloc[0]
    assert whole["rmse"] == pytest.approx(0, abs=1e-9) and whole["spearman"] == pytest.approx(1)


def test_short_form_measures_where_the_people_are():
    able = ItemBank(ITEMS, pd.DataFrame({"theta": np.full(50, 2.0), "theta_se": 0.3}), {})
    form, general = short_form(able, 10), short_form(BANK, 10)
    items = ITEMS.set_index("item_id")
    assert items.loc[form, "b"].mean() > 1 > items.loc[general, "b"].mean() + 0.5
    told = pd.Series(information(np.array([2.0]), ITEMS)[0], index=ITEMS["item_id"])
    assert set(form) == set(told.nlargest(10).index)  # for people all alike, simply the most informative
    assert short_form(able, 4) == form[:4]
    spread = items.loc[general, "b"]
    assert spread.min() < -0.5 and spread.max() > 0.5


def test_a_short_form_ranks_model_checkpoints(mirror):
    """Chosen on 9 of the 18 models of `model-crowd`, tried on the other 9: ranks hold with 20 of 150 items."""
    from cift import crowds, irt

    crowd = crowds.load_model_crowd()
    model = pd.Series(crowd.index.str.rsplit("_", n=1).str[0], index=crowd.index)
    learnt = crowd[model.isin(model.unique()[::2])]
    share = learnt.mean()
    usable = share.index[share.between(0.2, 0.8)]
    chosen = np.random.default_rng(0).choice(usable, 150, replace=False)
    bank = irt.calibrate(learnt[chosen], method="map")
    tried = crowd[~model.isin(model.unique()[::2])]
    found = short_form_error(tried, bank, (20,)).iloc[0]
    assert found["spearman"] > 0.85
    elsewhere = tried.drop(columns=chosen).mean(axis=1)  # accuracy on items that had no part in it
    form = ItemBank(bank.items[bank.items["item_id"].isin(short_form(bank, 20))], bank.population, {})
    assert elsewhere.corr(eap(tried, form)["theta"], method="spearman") > 0.85


def test_errors_are_said():
    with pytest.raises(InputError, match="order 'best': unknown; choose from information, random"):
        administer(ANSWERS, BANK, "best")
    with pytest.raises(InputError, match="stop_se is 0; it must be above 0"):
        administer(ANSWERS, BANK, stop_se=0)
    with pytest.raises(InputError, match=r"groups: none for item 'i1' \(119 missing\)"):
        administer(ANSWERS, BANK, groups={"i0": "A"})
    with pytest.raises(InputError, match=r"no column for item 'i7' \(1 of"):
        administer(ANSWERS.drop(columns="i7"), BANK)
    with pytest.raises(InputError, match="no theta for respondent 'p0'"):
        by_length(administer(ANSWERS, BANK, max_items=2), THETA.iloc[1:])
    with pytest.raises(InputError, match="short form: 121 items of 120; ask for 1 to 120"):
        short_form(BANK, 121)
    silent = administer(ANSWERS.head(1) * np.nan, BANK)
    assert silent.empty and list(silent) == ["respondent", "step", "item_id", "answer", "theta", "theta_se"]
