import numpy as np
import pandas as pd
import pytest

from cift import crowds, simulate_crowd, spam, workers

GOLD = pd.Series(np.random.default_rng(0).choice(["yes", "no"], 400), index=[f"i{i:03d}" for i in range(400)])
LONG = ["respondent", "item_id", "answer"]


@pytest.fixture(scope="module")
def sparse():
    return simulate_crowd.sparse_answers(GOLD, 80, 10, seed=0)


def answered(rows, columns=LONG):
    return pd.DataFrame(rows, columns=columns)


def verdicts(seeds, columns):
    found = []
    for seed in seeds:
        answers, truth = simulate_crowd.sparse_answers(GOLD, 80, 10, seed=seed)
        found.append(spam.suspects(answers[columns]).join(truth[["kind", "spammer"]]))
    return pd.concat(found, ignore_index=True)


def test_spammers_are_found_by_what_they_answer():
    """Precision and recall on simulated crowds; more answers, more certainty."""
    found = verdicts(range(8), LONG)
    suspect = found["verdict"] == "suspect"
    assert found.loc[suspect, "spammer"].mean() > 0.9
    recall = suspect[found["spammer"]].groupby(found["n"] >= 40).mean()
    assert recall[True] > 0.85 and 0.4 < recall[False] < recall[True]
    assert suspect[found["kind"].isin(["careful", "average"])].mean() < 0.01
    assert (found.loc[found["spammer"] & ~suspect, "verdict"] == "unclear").mean() > 0.7
    assert suspect.eq(found["reasons"] != "").all()


def test_time_helps():
    few, more = (verdicts(range(4), columns) for columns in (LONG, [*LONG, "seconds"]))
    recall = [((f["verdict"] == "suspect") & f["spammer"]).sum() / f["spammer"].sum() for f in (few, more)]
    assert recall[1] > recall[0] + 0.05
    assert more["reasons"].str.contains("less than a third of their item's median time").any()


def test_p_typical_holds_its_level_among_equals(monkeypatch):
    monkeypatch.setitem(simulate_crowd.KINDS, "equal", simulate_crowd.Kind(2.0, 0.0, 0.0, False, 10.0))
    crowds_ = [simulate_crowd.sparse_answers(GOLD, 80, 10, seed, {"equal": 1.0})[0] for seed in range(6)]
    found = pd.concat([spam.suspects(answers) for answers in crowds_])
    for p in ("p_typical", "p_pattern"):
        assert 0.02 < (found[p] < 0.05).mean() < 0.09
    assert (found["verdict"] == "suspect").mean() < 0.01


def test_p_chance_against_permutations():
    rng = np.random.default_rng(1)
    answers, _ = simulate_crowd.sparse_answers(GOLD, 80, 10, seed=3, kinds={"random": 0.5, "average": 0.5})
    found = spam.suspects(answers)
    name = found.index[(found["p_chance"] > 0.02) & (found["p_chance"] < 0.5)][0]
    own, rest = answers[answers["respondent"] == name], answers[answers["respondent"] != name]
    shares = rest.groupby("item_id")["answer"].value_counts(normalize=True).unstack(fill_value=0.0).loc[own["item_id"]]
    labels = shares.columns.get_indexer(own["answer"])
    observed = shares.to_numpy()[np.arange(len(own)), labels].sum()
    dealt = [shares.to_numpy()[np.arange(len(own)), rng.permutation(labels)].sum() for _ in range(20000)]
    assert found.loc[name, "p_chance"] == pytest.approx(np.mean(np.array(dealt) >= observed - 1e-9), abs=0.05)


def patterned(pattern):
    answers, _ = simulate_crowd.sparse_answers(GOLD, 80, 10, seed=0, kinds={"careful": 1.0})
    name = answers["respondent"].value_counts().index[20]
    mine = answers["respondent"] == name
    answers.loc[mine, "answer"] = pattern(int(mine.sum()))
    return spam.suspects(answers), name


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (lambda n: ["yes", "no"] * (n // 2), "follow each other in a pattern"),
        (lambda n: ["yes"] * (n // 2) + ["no"] * (n // 2), "follow each other in a pattern"),
        (lambda n: ["yes"] * n, "100% of the answers are one label"),
    ],
)
def test_patterns_and_one_label(pattern, reason):
    found, name = patterned(pattern)
    assert found.index[0] == name and reason in found.loc[name, "reasons"]
    assert (found["verdict"] == "suspect").sum() == 1


def test_nobody_to_compare_with_is_unclear():
    found = spam.suspects(answered([("a", f"i{i}", "yes" if i % 2 else "no") for i in range(30)]))
    assert found["verdict"].tolist() == ["unclear"] and np.isnan(found["agreement"].iloc[0])


def test_spammers_of_snow2008(mirror):
    """Without gold labels: the four who gave most of the bad answers are no better than chance against gold either."""
    responses, gold = crowds.load_crowd("snow2008")["RTE-1"]
    answers = crowds.to_long(responses)
    found = spam.suspects(answers).join(workers.quality(answers, gold)[["accuracy"]])
    suspects = found[found["verdict"] == "suspect"]
    assert suspects["n"].nlargest(4).tolist() == [800, 760, 540, 180] and len(suspects) == 5
    assert suspects["accuracy"].max() < 0.57 and found[found["verdict"] == "reads"]["accuracy"].mean() > 0.85
