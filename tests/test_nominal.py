"""The nominal model: true parameters come back, and so does who chooses which wrong answer."""

import numpy as np
import pandas as pd
import pytest

from cift import irt
from cift.ability import eap
from cift.adaptive import short_form
from cift.crowds import load_crowd
from cift.errors import InputError
from cift.linking import mean_sigma
from cift.selection import discriminating

LABELS = np.array(["yes", "perhaps", "no"])


def simulate(people: int, items: int, seed: int) -> tuple[pd.DataFrame, pd.Series, np.ndarray, np.ndarray, np.ndarray]:
    """Answers, gold labels, slopes and intercepts (items, 3; in the order of LABELS), theta."""
    rng = np.random.default_rng(seed)
    right = rng.integers(0, 3, items)
    slope, intercept = -np.exp(rng.normal(0, 0.4, (items, 3))), rng.normal(-0.3, 0.8, (items, 3))
    each = np.arange(items)
    slope[each, right] = intercept[each, right] = 0
    theta = rng.standard_normal(people)
    z = theta[:, None, None] * slope + intercept
    chosen = (z + rng.gumbel(size=z.shape)).argmax(axis=2)
    names = [f"q{j}" for j in each]
    return pd.DataFrame(LABELS[chosen], columns=names), pd.Series(LABELS[right], names), slope, intercept, theta


def test_true_parameters_come_back_with_honest_intervals():
    covered, errors = [], []
    for seed in range(4):
        answers, gold, slope, intercept, theta = simulate(1500, 25, seed)
        bank = irt.calibrate(
            answers.mask(np.random.default_rng(seed).random(answers.shape) < 0.05), model="nominal", gold=gold
        )
        found = bank.items.set_index(["item_id", "label"])
        for j, item in enumerate(answers):
            for k, label in enumerate(LABELS):
                if gold[item] == label:
                    assert found.loc[(item, label), "slope"] == 0
                    continue
                row = found.loc[(item, label)]
                for name, truth in (("slope", slope[j, k]), ("intercept", intercept[j, k])):
                    errors.append(row[name] - truth)
                    covered.append(abs(errors[-1]) < 1.96 * row[f"{name}_se"])
        assert np.corrcoef(bank.population["theta"], theta)[0, 1] > 0.9
    assert 0.92 < np.mean(covered) < 0.985
    assert np.sqrt(np.mean(np.square(errors))) < 0.15


def test_wrong_answers_tell_more_than_that_they_are_wrong():
    answers, gold, _, _, theta = simulate(1500, 25, seed=9)
    raw = irt.calibrate(answers, model="nominal", gold=gold)
    scored = irt.calibrate(answers.eq(gold).astype(int))
    assert raw.population["theta_se"].mean() < scored.population["theta_se"].mean()
    assert np.allclose(eap(answers, raw)["theta"], raw.population["theta"], atol=1e-4)


def test_a_label_that_nobody_chose_has_no_row():
    answers, gold, *_ = simulate(300, 8, seed=3)
    other = next(label for label in LABELS if label != gold["q0"])
    answers.loc[answers["q0"] == other, "q0"] = gold["q0"]
    bank = irt.calibrate(answers, model="nominal", gold=gold)
    assert other not in set(bank.items.loc[bank.items["item_id"] == "q0", "label"])
    assert np.isfinite(bank.items[["slope", "intercept", "slope_se", "intercept_se"]].to_numpy()).all()


def test_the_simulated_crowd_of_the_probes():
    responses, gold = load_crowd("probes")["G5"]
    bank = irt.calibrate(responses, model="nominal", gold=gold)
    wrong = bank.items[bank.items["slope"] != 0]
    assert bank.info["converged"] and (wrong["slope"] < 0).mean() > 0.95


def test_a_nominal_bank_is_saved_and_loaded(tmp_path):
    answers, gold, *_ = simulate(200, 5, seed=4)
    bank = irt.calibrate(answers, model="nominal", gold=gold)
    bank.save(tmp_path / "bank.json")
    again = irt.ItemBank.load(tmp_path / "bank.json")
    pd.testing.assert_frame_equal(again.items, bank.items)
    assert again.info == bank.info


def test_labels_of_any_kind_and_scales_that_are_not_for_it():
    answers, gold, *_ = simulate(200, 5, seed=6)
    some = answers.mask(np.random.default_rng(0).random(answers.shape) < 0.1)
    bank = irt.calibrate(some, model="nominal", gold=gold)
    pd.testing.assert_frame_equal(irt.calibrate(some.astype("string"), model="nominal", gold=gold).items, bank.items)
    for refused in (
        discriminating,
        lambda nominal: short_form(nominal, 3),
        lambda nominal: mean_sigma(nominal, nominal),
    ):
        with pytest.raises(InputError, match="a nominal scale"):
            refused(bank)


def test_gold_labels_are_needed():
    answers, gold, *_ = simulate(20, 3, seed=5)
    with pytest.raises(InputError, match="give the items' gold labels"):
        irt.calibrate(answers, model="nominal")
    with pytest.raises(InputError, match="item 'q2' has no gold label"):
        irt.calibrate(answers, model="nominal", gold=gold.drop("q2"))
