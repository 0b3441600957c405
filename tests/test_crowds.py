import gzip
import json
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest

from cift import crowds
from cift.agreement import fleiss_kappa
from cift.corpora import LABELS, load_corpus
from cift.errors import InputError

E, N, C = LABELS
CSV = "user,i1,i2,i3\nann,e,Neutral,C\nbob,E,na,\ncy,contradiction,n,NaN\n"
GOLD = pd.Series({"i1": E, "i2": N, "i3": C, "i4": N})


@pytest.fixture
def responses(file):
    return crowds.read_responses(file(CSV))


def test_crowd_in_a_folder_has_the_form_of_the_published_zip(tmp_path, monkeypatch):
    monkeypatch.setattr(crowds, "data_dir", lambda: tmp_path)
    (tmp_path / "probes").mkdir()
    for n in (5, 4):
        (tmp_path / "probes" / f"group_{n}.txt").write_text("i1 entailment\ni2 neutral\n")
        (tmp_path / "probes" / f"irt_file_{n}.csv").write_text("userid,i1,i2\r\nu1,e,na\r\nu2,n,n\r\n")
    crowd = crowds.load_crowd("probes")
    assert list(crowd) == ["G5", "G4"] and crowd["G4"].responses.shape == (2, 2)
    with pytest.raises(InputError, match="no crowd is called 'mturk'; there are probes, lalor2016 and snow2008"):
        crowds.load_crowd("mturk")


def test_embedded_crowd_answers_the_embedded_items():
    probes = load_corpus("probes").to_pandas()
    for stratum, (responses, gold) in crowds.load_crowd("probes").items():
        items = probes[probes["stratum"] == stratum].set_index("item_id")
        assert responses.columns.tolist() == gold.index.tolist() and set(gold.index) == set(items.index)
        assert [LABELS[code] for code in items["label"].loc[gold.index]] == gold.tolist()
        assert crowds.groups(gold, stratum).keys() == set(items["group"])


def test_wide_and_long_say_the_same(responses):
    long = crowds.to_long(responses)
    assert long.columns.tolist() == ["respondent", "item_id", "answer"] and len(long) == 6
    pd.testing.assert_frame_equal(crowds.to_wide(long), responses.rename_axis(columns="item_id"))
    with pytest.raises(InputError, match="answers: 'ann' answers 'i1' twice. Give"):
        crowds.to_wide(pd.concat([long, long[:1]]))


# scores and counts


def test_score_leaves_missing_cells_missing(responses):
    scored = crowds.score(responses, GOLD)
    np.testing.assert_array_equal(scored, [[1, 1, 1], [1, np.nan, np.nan], [0, 1, np.nan]])
    assert scored.index.equals(responses.index) and set(scored.dtypes) == {np.dtype(float)}
    with pytest.raises(InputError, match="item 'i1' has no gold label; item 'i3' has no gold label"):
        crowds.score(responses, GOLD[["i2"]])


def test_label_distributions(responses):
    table = crowds.label_distributions(responses.assign(i4=None))
    assert table.columns.tolist() == [*LABELS, "n_responses"] and table.index.name == "item_id"
    assert table["n_responses"].tolist() == [3, 2, 1, 0]
    np.testing.assert_allclose(table.loc["i1", list(LABELS)].astype(float), [2 / 3, 0, 1 / 3])
    assert table.loc["i4", list(LABELS)].isna().all()
    with pytest.raises(InputError, match="the answer 'contradiction' occurs; .*'neutral'"):
        crowds.label_distributions(responses, labels=("entailment", "not_entailment"))


def test_consensus_has_no_label_for_ties():
    table = pd.DataFrame({"i1": [E, E, C], "i2": [N, None, N], "i3": [C, E, None], "i4": [None] * 3})
    found = crowds.consensus(table)
    assert found[:2].tolist() == [E, N] and found[2:].isna().all()


def test_label_counts(responses):
    assert crowds.label_counts(responses).loc["i1"].to_dict() == {E: 2, N: 0, C: 1}
    assert crowds.label_counts(responses[["i2"]], None).to_dict() == {N: {"i2": 2}}


def test_groups_keep_the_order_of_gold():
    found = crowds.groups(pd.Series({"x": N, "b": E, "a": E}), "G5")
    assert found == {"5GS-E": ["b", "a"], "5GS-N": ["x"]}


# the published crowds, on the mirror

PUBLISHED = {  # stratum: shape, missing cells, accuracy on contradiction, entailment, neutral, kappa
    "G5": ((983, 90), 3, (0.671, 0.929, 0.842), 0.600),
    "G4": ((976, 90), 4, (0.535, 0.798, 0.747), 0.431),
}


@pytest.fixture
def lalor2016(mirror):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return crowds.load_crowd("lalor2016")


def test_published_crowd(lalor2016):
    assert list(lalor2016) == list(PUBLISHED)
    for stratum, (shape, missing, accuracy, kappa) in PUBLISHED.items():
        responses, gold = lalor2016[stratum]
        assert responses.shape == shape and responses.isna().sum().sum() == missing
        assert responses.columns.tolist() == gold.index.tolist()
        by_label = crowds.score(responses, gold).mean().groupby(gold).mean()
        assert by_label[[C, E, N]].tolist() == pytest.approx(accuracy, abs=0.0006)
        assert fleiss_kappa(responses) == pytest.approx(kappa, abs=0.0006)
        scales = crowds.groups(gold, stratum)
        assert [len(items) for items in scales.values()] == [30, 30, 30]


def test_scores_equal_the_published_scores(lalor2016, mirror):
    """The published coded files give 0 where the answer is missing; here it stays missing."""
    with zipfile.ZipFile(mirror / "lalor2016" / "data_emnlp2016.zip") as archive:
        for stratum, (responses, gold) in lalor2016.items():
            with archive.open(f"irt_file_{stratum[1]}_coded.csv") as file:
                coded = pd.read_csv(file, index_col=0).astype(float)
            scored = crowds.score(responses, gold)
            assert (coded.index == scored.index).all() and (coded.columns == scored.columns).all()
            both = scored.notna().to_numpy()
            assert (coded.to_numpy()[both] == scored.to_numpy()[both]).all()


def test_gold_is_not_the_majority(lalor2016):
    responses, gold = lalor2016["G4"]
    items = crowds.groups(gold, "G4")["4GS-C"]
    majority = crowds.consensus(responses[items])
    assert (majority != C).sum() == 13 and majority.notna().all()


def test_rte_answers(mirror):
    """Snow et al. (2008): 164 people, 800 items, 10 answers each; right by majority, ties by lot: .897."""
    responses, gold = crowds.load_crowd("snow2008")["RTE-1"]
    assert responses.shape == (164, 800) and set(responses.notna().sum()) == {10}
    assert gold.value_counts().to_dict() == {E: 400, "not_entailment": 400}
    assert responses.columns.tolist() == gold.index.tolist() and responses.index[0] == "w001"
    majority = crowds.consensus(responses)
    right = (majority == gold).mean() + majority.isna().mean() / 2
    assert right == pytest.approx(0.897, abs=0.0006)
    pairs = load_corpus("snow2008", "test")
    labels = pairs.features["label"].int2str(pairs["label"][:])
    assert gold.to_dict() == dict(zip(pairs["item_id"], labels, strict=True))


def test_model_crowd(mirror):
    scored = crowds.load_model_crowd()
    assert scored.shape == (90, 9824) and set(np.unique(scored)) == {0.0, 1.0}
    assert scored.columns.tolist() == load_corpus("snli", "test")["item_id"][:]


def test_model_crowd_is_in_the_order_of_snli_test(mirror):
    """Models fail where people disagree: so only if the columns belong to these pairs, not shifted by one."""
    success = crowds.load_model_crowd().mean()
    agreement = {}
    with gzip.open(mirror / "snli" / "snli_1.0_test.jsonl.gz", "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            votes = [label for label in record["annotator_labels"] if label]
            agreement[record["pairID"]] = votes.count(record["gold_label"]) / len(votes)
    people = np.array([agreement[item] for item in success.index])
    assert np.corrcoef(success, people)[0, 1] > 0.35
    assert abs(np.corrcoef(np.roll(success, 1), people)[0, 1]) < 0.05


def test_long_answers_without_a_respondent_are_nobodys():
    answers = pd.DataFrame({"respondent": ["ann", None, "bob"], "item_id": "i1", "answer": ["a", "b", "c"]})
    with pytest.raises(InputError, match="row 1 has no respondent"):
        crowds.to_wide(answers)
    with pytest.raises(InputError, match="there is no column 'answer'"):
        crowds.to_wide(answers[["respondent", "item_id"]])


@pytest.mark.parametrize("dtype", ["category", "string", "string[pyarrow]"])
def test_missing_cells_are_none_whatever_the_type(dtype):
    answers = pd.DataFrame({"respondent": ["ann", "bob"], "item_id": "i1", "answer": ["a", None]}).astype(dtype)
    wide = crowds.to_wide(answers)
    assert wide["i1"].tolist() == ["a", None] and wide.columns.dtype == object
    assert crowds.label_counts(wide.astype(dtype), None)["a"].dtype == int


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ({"i1": "a", "i2": None}, "item 'i2' has no gold label"),
        ({"i1": 0, "i2": 1}, "labels such as 0 are compared with answers such as 'a'"),
    ],
)
def test_gold_that_would_make_every_answer_wrong(gold, message):
    responses = pd.DataFrame({"i1": ["a", "b"], "i2": ["b", None]})
    with pytest.raises(InputError, match=message):
        crowds.score(responses, pd.Series(gold))
    with pytest.raises(InputError, match="item 'i1' has two gold labels"):
        crowds.score(responses, pd.Series(["a", "a", "b"], ["i1", "i1", "i2"]))


def test_consensus_of_items_that_nobody_answered():
    assert crowds.consensus(pd.DataFrame({"i1": ["a", "a"], "i2": [None, None]})).tolist() == ["a", None]
    assert crowds.consensus(pd.DataFrame({"i1": [None, None]})).tolist() == [None]
