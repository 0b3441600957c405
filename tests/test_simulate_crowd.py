"""The simulated crowd: its files are what the code writes, and its truth can be recovered."""

import numpy as np
import pandas as pd
import pytest

from cift import crowds, irt, questionnaire, simulate_crowd
from cift.corpora import data_dir, load_corpus
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


# a class with a questionnaire


def test_a_class_hands_in_what_the_form_reads(tmp_path, recwarn):
    probes = load_corpus("probes")
    truth = pd.read_csv(PROBES / "truth_items.csv", index_col="item_id")
    parts = {"practice": probes.select(range(2)), "checks": probes.select(range(2, 5))}
    words = {"title": "A title", "contact": "A contact"}
    form = questionnaire.write(probes.select(range(5, 65)), tmp_path, **words, **parts, per_person=20)
    folder = simulate_crowd.hand_in(form, truth, 30, seed=3)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(first) == 30
    long = questionnaire.read(folder, form)
    assert not recwarn.list
    assert long.groupby("respondent").size().eq(25).all()
    assert long[long["kind"] == "item"].groupby("item_id").size().eq(10).all(), "student k has the k-th part"
    assert long.loc[long["order"] <= 2, "kind"].eq("practice").all() and (long["kind"] == "practice").sum() == 60
    gold = pd.read_csv(PROBES / "probes.csv", index_col="item_id")["label"]
    right = long["answer"].eq(long["item_id"].map(gold)).groupby(long["respondent"]).mean()
    seconds = long.groupby("respondent")["seconds"].median()
    assert right.idxmin() == seconds.idxmin() == "student-30"
    assert right.drop("student-30").mean() > 0.7 and seconds.drop("student-30").min() > 9 > 4 > seconds["student-30"]
    again = simulate_crowd.hand_in(form, truth, 30, seed=3)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == first
    assert simulate_crowd.hand_in(form, truth, 30, seed=4) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} != first


def test_a_class_that_cannot_be(tmp_path):
    probes = load_corpus("probes").select(range(4))
    truth = pd.read_csv(PROBES / "truth_items.csv", index_col="item_id")
    form = questionnaire.write(probes, tmp_path, title="A title", contact="A contact")
    with pytest.raises(InputError, match="item 'g5e01' has no row"):
        simulate_crowd.hand_in(form, truth.drop(index="g5e01"), 2)
    with pytest.raises(InputError, match="n is 0"):
        simulate_crowd.hand_in(form, truth, 0)
    assert len(questionnaire.read(simulate_crowd.hand_in(form, truth, 2), form)) == 8, "a form without parts"


def test_sparse_answers_keep_the_labels_own_type():
    gold = pd.Series([0, 1] * 20)
    assert set(simulate_crowd.sparse_answers(gold, 5, 5)[0]["answer"]) == {0, 1}
    with pytest.raises(InputError, match=r"the kinds have the shares \[0\].*item 0 has no gold label"):
        simulate_crowd.sparse_answers(gold.map({1: "x"}), 5, 5, kinds={"careful": 0})
