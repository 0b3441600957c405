import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from cift import agreement, crowds
from cift.corpora import LABELS
from cift.errors import InputError

E, N, C = LABELS


def by_person(**answers):
    """Responses from one string a person, a character an answer, "." where it is missing."""
    cells = [[None if answer == "." else answer for answer in text] for text in answers.values()]
    return pd.DataFrame(cells, index=list(answers))


def simulated(rng, people=12, items=60, missing=0.0):
    """Items with label probabilities from a Dirichlet distribution: kappa is known for an endless supply of both."""
    shares = rng.dirichlet([0.6, 0.4, 0.2], items)
    answers = (rng.random((people, items, 1)) > shares.cumsum(axis=1)[:, :-1]).sum(axis=2)
    table = pd.DataFrame(np.array(LABELS, dtype=object)[answers])
    return table.mask(rng.random(table.shape) < missing, None)


# people who answer an item agree with probability E[sum p^2] = sum a (a + 1) / (A (A + 1)), A = sum a
ALPHA = np.array([0.6, 0.4, 0.2])
ALIKE = (ALPHA * (ALPHA + 1)).sum() / (1.2 * 2.2)
CHANCE = ((ALPHA / 1.2) ** 2).sum()
KAPPA = (ALIKE - CHANCE) / (1 - CHANCE)


def test_krippendorffs_two_observers_by_hand():
    """Krippendorff (2011, Computing alpha-reliability): alpha .095. 6 of 10 alike; 14 of 20 answers are 0."""
    table = by_person(meg="0100000010", owen="1110010000")
    assert agreement.percent_agreement(table) == 0.6
    kappa = (0.6 - 0.58) / (1 - 0.58)
    assert agreement.fleiss_kappa(table) == pytest.approx(kappa)
    alpha = 1 - (1 - kappa) * 19 / 20  # chance without replacement, of 20 answers
    assert agreement.krippendorff_alpha(table) == pytest.approx(alpha) and alpha == pytest.approx(0.0952, abs=1e-4)
    # Cohen takes each one's own shares: chance .8 x .6 + .2 x .4 = .56
    assert agreement.cohen_kappas(table)["kappa"].tolist() == pytest.approx([0.04 / 0.44])


def test_krippendorffs_four_observers_with_missing_values():
    """The same paper's example C: nominal alpha .743."""
    table = by_person(a="123321412...", b="1233224125.3", c=".3332342251.", d="12332441251.")
    assert agreement.krippendorff_alpha(table) == pytest.approx(0.743, abs=0.0005)


def test_fleiss_kappa_by_hand():
    agree = pd.DataFrame({"i1": [E, E, E], "i2": [N, N, N]})
    assert agreement.fleiss_kappa(agree) == 1.0
    # P_1 = 1/3 and P_2 = 1; shares 2/5 and 3/5, so P_e = 0.52; the single answer to i3 does not count
    mixed = pd.DataFrame({"i1": [E, E, N], "i2": [N, N, None], "i3": [C, None, None]})
    assert agreement.fleiss_kappa(mixed) == pytest.approx((2 / 3 - 0.52) / 0.48)
    assert agreement.percent_agreement(mixed) == pytest.approx(2 / 3)


def test_cohen_is_scikit_learns_for_every_pair(monkeypatch):
    monkeypatch.setattr(agreement, "BLOCK", 3)
    table = simulated(np.random.default_rng(1), people=8, items=40, missing=0.4)
    found = agreement.cohen_kappas(table)
    assert len(found) == 8 * 7 / 2
    for row in found.itertuples():
        pair = table.loc[[row.respondent_1, row.respondent_2]].dropna(axis=1)
        assert row.n_items == pair.shape[1]
        assert row.kappa == pytest.approx(cohen_kappa_score(*pair.to_numpy(str)), abs=1e-5)


def test_pairs_without_shared_items_have_no_row():
    found = agreement.cohen_kappas(by_person(a="xy..", b="xx..", c="..xy", d="..yy"))
    assert found[["respondent_1", "respondent_2", "n_items"]].to_numpy().tolist() == [["a", "b", 2], ["c", "d", 2]]


def test_no_agreement_beyond_chance():
    rng = np.random.default_rng(0)
    table = agreement.agreement(pd.DataFrame(rng.choice(LABELS, size=(30, 200), p=[0.5, 0.3, 0.2])), draws=50)
    assert table["value"].iloc[0] == pytest.approx(0.38, abs=0.02)
    assert (table["value"].iloc[1:].abs() < 0.02).all()


def test_measures_that_are_not_defined():
    same = by_person(a="xx", b="xx")
    assert agreement.percent_agreement(same) == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for measure in (agreement.fleiss_kappa, agreement.krippendorff_alpha):
            assert np.isnan(measure(same)) and np.isnan(measure(by_person(a="xy", b="..")))
    assert np.isnan(agreement.cohen_kappas(same)["kappa"]).all()
    with pytest.raises(InputError, match="no item has two answers"):
        agreement.agreement(by_person(a="xy..", b="..xy"))


def test_the_table_repeats_and_holds_the_functions_values():
    table = simulated(np.random.default_rng(2), items=120, missing=0.3)
    found = agreement.agreement(table, seed=4, draws=60)
    pd.testing.assert_frame_equal(found, agreement.agreement(table, seed=4, draws=60))
    values = [
        agreement.percent_agreement(table),
        agreement.cohen_kappas(table)["kappa"].mean(),
        agreement.fleiss_kappa(table),
        agreement.krippendorff_alpha(table),
    ]
    assert found["value"].tolist() == pytest.approx(values, abs=1e-6)
    assert (found["low"] < found["value"]).all() and (found["value"] < found["high"]).all()


def test_cohen_has_no_interval_where_pairs_share_few_items():
    found = agreement.agreement(simulated(np.random.default_rng(2), people=30, items=100, missing=0.7), draws=60)
    cohen = found.loc["Cohen's kappa, mean of pairs"]
    assert np.isfinite(cohen["value"]) and cohen[["low", "high"]].isna().all()
    assert cohen["value"] < found.loc["Fleiss' kappa", "value"]
    assert found.drop(index=cohen.name).notna().all(axis=None)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(5)
    tables = [agreement.agreement(simulated(rng), seed, draws=200) for seed in range(60)]
    truth = pd.Series([ALIKE, KAPPA, KAPPA, KAPPA], tables[0].index)
    covered = sum((table["low"] <= truth) & (truth <= table["high"]) for table in tables) / len(tables)
    assert covered.between(0.85, 1.0).all(), covered
    width = np.mean([table["high"] - table["low"] for table in tables], axis=0)
    assert (width < 0.25).all()


@pytest.mark.parametrize(("stratum", "kappa"), [("G5", 0.600), ("G4", 0.431)])
def test_published_kappas(mirror, stratum, kappa):
    """Lalor, Wu and Yu (2016), table 1."""
    found = agreement.agreement(crowds.load_crowd("lalor2016")[stratum].responses, draws=5)
    assert found.loc["Fleiss' kappa", "value"] == pytest.approx(kappa, abs=0.001)
    assert found.loc["Krippendorff's alpha", "value"] == pytest.approx(kappa, abs=0.001)
    assert found.loc["Cohen's kappa, mean of pairs", "value"] == pytest.approx(kappa, abs=0.006)


def test_cohen_is_exact_on_many_items():
    people = pd.DataFrame(np.where(np.random.default_rng(0).random((2, 20_001)) < 0.9995, "a", "b"))
    people.iloc[:, :3] = "b"
    assert agreement.cohen_kappas(people)["kappa"][0] == pytest.approx(cohen_kappa_score(*people.to_numpy()), abs=1e-9)


def test_types_of_cells_do_not_matter_and_nobody_agrees_with_nobody():
    people = pd.DataFrame({"i1": ["x", "y", "x"], "i2": ["y", None, "y"]})
    expected = agreement.agreement(people, draws=5)
    for dtype in ("category", "string", "string[pyarrow]"):
        pd.testing.assert_frame_equal(agreement.agreement(people.astype(dtype), draws=5), expected)
    with pytest.raises(InputError, match="nobody answered anything"):
        agreement.cohen_kappas(people.iloc[:0])
