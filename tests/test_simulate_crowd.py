"""The simulated crowd: its files are what the code writes, and its truth can be recovered."""

import numpy as np
import pandas as pd
import pytest

from cift import crowds, irt, simulate_crowd
from cift.corpora import data_dir
from cift.errors import InputError

PROBES = data_dir() / "probes"


def test_the_committed_files_are_what_the_code_writes(tmp_path):
    simulate_crowd.write_crowd(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (PROBES / path.name).read_bytes(), path.name
    assert len(list(tmp_path.iterdir())) == 6


def test_the_truth_comes_back():
    truth = pd.read_csv(PROBES / "truth_items.csv", index_col=0)
    abilities = pd.read_csv(PROBES / "truth_respondents.csv", index_col=0)["theta"]
    correlations = []
    for name, stratum in crowds.load_crowd("probes").items():
        scored = crowds.score(stratum.responses, stratum.gold)
        assert scored.shape == (1000, 90)
        assert 0.001 < scored.isna().to_numpy().mean() < 0.003
        bank = irt.calibrate(scored, name)
        error = bank.items["b"].to_numpy() - truth.loc[bank.items["item_id"], "b"].to_numpy()
        assert np.mean(np.abs(error) < 1.96 * bank.items["b_se"]) > 0.85
        correlations.append(np.corrcoef(bank.population["theta"], abilities[bank.population.index])[0, 1])
        for group, items in crowds.groups(stratum.gold, name).items():
            assert scored[items].stack().mean() == pytest.approx(simulate_crowd.ACCURACY[group], abs=0.03)
    assert min(correlations) > 0.95


def test_wrong_answers_follow_the_distractor():
    probes = pd.read_csv(PROBES / "probes.csv").set_index("item_id")
    for stratum in crowds.load_crowd("probes").values():
        shares = crowds.label_distributions(stratum.responses)
        wrong = shares.drop(columns="n_responses").mask(
            pd.get_dummies(stratum.gold.loc[shares.index])[list(shares.columns[:3])].to_numpy()
        )
        often = shares.index[wrong.sum(axis=1) > 0.2]  # enough wrong answers to tell
        assert (wrong.loc[often].idxmax(axis=1) == probes.loc[often, "distractor"]).mean() > 0.95


# the sparse crowd

GOLD = pd.Series(np.random.default_rng(0).choice(["yes", "no"], 800), index=[f"i{i}" for i in range(800)])


def test_sparse_answers_have_the_shape_of_snow2008():
    answers, truth = simulate_crowd.sparse_answers(GOLD)
    assert answers.columns.tolist() == ["respondent", "item_id", "answer", "order", "seconds"]
    assert not answers.duplicated(["respondent", "item_id"]).any()
    assert answers.groupby("item_id").size().eq(10).all() and answers["item_id"].nunique() == 800
    assert len(truth) == 164 and truth["n"].sum() == 8000 and truth["n"].min() == 20 and truth["n"].max() <= 800
    assert truth["n"].nlargest(10).sum() > 3000 and (truth["n"] == 20).sum() > 80
    orders = answers.groupby("respondent")["order"]
    assert orders.min().eq(1).all() and (orders.max() == truth["n"]).all() and (orders.nunique() == truth["n"]).all()
    pd.testing.assert_frame_equal(answers, simulate_crowd.sparse_answers(GOLD)[0])
    assert not answers.equals(simulate_crowd.sparse_answers(GOLD, seed=1)[0])


def test_kinds_answer_as_they_are_said_to():
    equal = dict.fromkeys(simulate_crowd.KINDS, 1.0)
    answers, truth = simulate_crowd.sparse_answers(GOLD, 80, 40, kinds=equal)
    assert truth["kind"].value_counts().eq(10).all()
    kind, right = answers["respondent"].map(truth["kind"]), answers["answer"] == answers["item_id"].map(GOLD)
    share = right.groupby(kind).mean()
    assert share["careful"] > share["average"] > share["hasty"] > 0.6
    assert share[["constant", "random"]].to_numpy() == pytest.approx(0.5, abs=0.03)
    late = right[answers["order"] > 80].groupby(kind).mean() - right[answers["order"] <= 20].groupby(kind).mean()
    assert late["learning"] > 0.15 and late["tiring"] < -0.15 and abs(late["average"]) < 0.06
    most = answers.groupby("respondent")["answer"].agg(lambda cells: cells.value_counts(normalize=True).iloc[0])
    assert most[truth["kind"] == "constant"].eq(1).all() and most[truth["kind"] == "random"].max() < 0.8
    assert truth["spammer"].eq(truth["kind"].isin(["constant", "random"])).all()
    seconds = answers["seconds"].groupby(kind).median()
    assert seconds["careful"] == pytest.approx(25, rel=0.1) and seconds["random"] == pytest.approx(3, rel=0.1)


def test_sparse_answers_that_cannot_be():
    with pytest.raises(InputError) as caught:
        simulate_crowd.sparse_answers(pd.Series("yes", index=range(20)), 10, 11, kinds={"lazy": 1.0})
    for part in ("'lazy' is unknown", "all the same", "10 respondents cannot give an item 11 answers"):
        assert part in str(caught.value)
    with pytest.raises(InputError, match="1 batches x 2 are not one batch for each of 10"):
        simulate_crowd.sparse_answers(GOLD[:20], 10, 2)
