"""Generation metrics are those of the definitions worked out by hand, and miss what they are said to miss."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cift.corpora import load_corpus
from cift.errors import InputError
from cift.generation import BERTSCORE, PROBES, ROUGE, blind_spots, corpus_bleu, score
from cift.models import resolve

METRICS = [*ROUGE, "bleu", *BERTSCORE]


@pytest.fixture(scope="module")
def probed():
    """What differs -> each metric on the three references."""
    table = score(PROBES["candidate"], PROBES["reference"])
    return {differs: table[PROBES["differs"] == differs].reset_index(drop=True) for differs in PROBES["differs"]}


@pytest.fixture
def folder(monkeypatch):
    """The encoder's folder, by a short name: bert-score takes a path with "t5" anywhere in it for a T5."""
    place = Path(resolve("minilm"))
    monkeypatch.chdir(place.parent)
    return place.name


def test_overlap_is_counted_as_defined():
    table = score(["a b c d e", "a b x y", "a b c d", "Hi"], ["a b c d f", "a b c d", "a b c d e", "Hi"])
    assert list(table) == METRICS
    assert table.loc[0, [*ROUGE]].tolist() == pytest.approx([4 / 5, 3 / 4, 4 / 5])
    assert table.loc[2, [*ROUGE]].tolist() == pytest.approx([8 / 9, 6 / 7, 8 / 9])  # precision 1, recall 4/5 and 3/4
    n_grams = [
        4 / 5 * 3 / 4 * 2 / 3 * 1 / 2,
        2 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1,  # no three or four words in common: half and a quarter of a match
        np.exp(1 - 5 / 4) ** 4,  # too short
        1,  # one word: pairs of words and more do not count
    ]
    assert table["bleu"].to_numpy() == pytest.approx(np.power(n_grams, 1 / 4))
    assert np.isnan(table.loc[3, "rouge2"]) and table.drop(columns="rouge2").loc[3].to_numpy() == pytest.approx(1)


def test_rouge_reads_no_case_and_bleu_does():
    table = score(["THE CAT SAT ON IT"], ["the cat sat on it"])
    assert table.loc[0, [*ROUGE]].tolist() == [1, 1, 1] and table.loc[0, "bleu"] == 0


def test_corpus_bleu_pools_the_counts_and_says_what_it_is():
    candidates, references = ["a b c d e", "a b x y"], ["a b c d f", "a b c d"]
    found, signature = corpus_bleu(candidates, references)
    assert found == pytest.approx((6 / 9 * 4 / 7 * 2 / 5 * 1 / 3) ** (1 / 4))
    assert found != pytest.approx(score(candidates, references)["bleu"].mean(), abs=0.01)
    assert signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_bertscore_is_that_of_bert_score_on_the_last_layer(folder):
    from bert_score import score as reference

    found = score(PROBES["candidate"], PROBES["reference"])[[*BERTSCORE]]
    texts = PROBES["candidate"].tolist(), PROBES["reference"].tolist()
    wanted = np.stack(reference(*texts, model_type=folder, num_layers=6), axis=1)
    assert found.to_numpy() == pytest.approx(wanted, abs=1e-6)
    turned = score(PROBES["reference"], PROBES["candidate"])[[*BERTSCORE]]
    assert turned.to_numpy() == pytest.approx(found.to_numpy()[:, [1, 0, 2]], abs=1e-6)
    p, r, f1 = found.to_numpy().T
    assert f1 == pytest.approx(2 * p * r / (p + r), abs=1e-6)


def test_a_silent_model_scores_nothing_and_the_others_keep_theirs():
    table = score(["A dog.", " ", "", "A dog."], ["A dog."] * 4)
    assert (table.loc[[1, 2], METRICS] == 0).all(axis=None)
    assert table.loc[[0, 3], METRICS].to_numpy() == pytest.approx(1)
    assert (score([""], ["A dog."]) == 0).all(axis=None)


def test_nothing_is_asked_of_the_network(monkeypatch):
    import socket

    from huggingface_hub import constants

    from cift import generation

    asked = []

    def refused(*address, **_):
        asked.append(address)
        raise OSError("no network")

    generation._encoder.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    assert score(["A dog."], ["A dog."]).notna().all(axis=None) and not asked


def test_probes_differ_in_what_they_say_they_do():
    assert PROBES["reference"].nunique() == 3 and PROBES.groupby("differs").size().eq(3).all()

    def words(text):
        return sorted(text.lower().removesuffix(".").split())

    for differs, candidate, reference in PROBES.itertuples(index=False):
        c, r = words(candidate), words(reference)
        extra, lacking = set(c) - set(r), set(r) - set(c)
        if differs in ("paraphrase, no shared word", "off topic"):
            assert not set(c) & set(r)
        elif differs in ("roles swapped", "words scrambled"):
            assert c == r and candidate != reference
        elif differs == "truncated":
            assert reference.startswith(candidate) and not candidate.endswith(".")
        elif differs == "negation":
            assert (extra, lacking) == ({"never"}, set())
        else:
            assert differs in ("number changed", "entity swapped") and len(extra) == len(lacking) == 1


def test_no_metric_prefers_what_is_true(probed):
    paraphrase = probed["paraphrase, no shared word"]
    for falsehood in ("negation", "number changed", "entity swapped"):
        assert (probed[falsehood] > paraphrase).all(axis=None)
    assert (paraphrase[[*ROUGE]] == 0).all(axis=None) and (probed["off topic"][[*ROUGE]] == 0).all(axis=None)
    assert (paraphrase["bleu"] < probed["off topic"]["bleu"]).all()


def test_what_each_metric_does_not_see(probed):
    for order in ("roles swapped", "words scrambled"):
        assert (probed[order]["rouge1"] == 1).all()
        assert (probed[order]["bertscore_f1"] > 0.85).all()
        assert (probed[order][["rouge2", "rougeL", "bleu"]] < 0.8).all(axis=None)
    assert (probed["roles swapped"]["bertscore_f1"] > 0.95).all()
    assert (probed["negation"]["rougeL"] > 0.9).all() and (probed["negation"]["bertscore_f1"] > 0.8).all()
    assert (probed["truncated"]["bertscore_precision"] > probed["truncated"]["bertscore_recall"] + 0.15).all()


def test_bertscore_alone_sees_the_topic(probed):
    paraphrase, off_topic = (probed[differs]["bertscore_f1"] for differs in ("paraphrase, no shared word", "off topic"))
    assert (paraphrase > 0.5).all() and (off_topic < 0.2).all()


def test_blind_spots_are_the_means_that_the_docstring_gives(probed):
    table = blind_spots()
    assert table.index.tolist() == list(probed)
    for differs, each in probed.items():
        pd.testing.assert_series_equal(table.loc[differs], each.mean(), check_names=False)
    said = {"negation": 0.82, "roles swapped": 0.96, "words scrambled": 0.89, "off topic": 0.08}
    assert table["bertscore_f1"][[*said]].to_numpy() == pytest.approx([*said.values()], abs=0.006)


def test_the_last_layer_is_nearest_to_people_and_words_do_not_tell_contradiction(mirror, folder):
    from bert_score import score as reference
    from sklearn.metrics import roc_auc_score

    sick = load_corpus("sick", "train").select(range(0, 4500, 20)).to_pandas()
    texts = sick["hypothesis"].tolist(), sick["premise"].tolist()
    layers = reference(*texts, model_type=folder, num_layers=6, all_layers=True)[2].numpy()
    r = [np.corrcoef(f1, sick["relatedness"])[0, 1] for f1 in layers]
    assert np.argmax(r) == 6 and r[6] == pytest.approx(0.825, abs=0.05) and r[6] > r[5] + 0.04

    sure = sick[sick["label"] != 1]  # not neutral
    found = score(sure["hypothesis"], sure["premise"])
    entailed = (sure["label"] == 0).to_numpy()
    area = {metric: roc_auc_score(entailed, found[metric]) for metric in ("rouge1", "rougeL", "bleu", "bertscore_f1")}
    assert max(area["rouge1"], area["rougeL"], area["bleu"]) < 0.65 < area["bertscore_f1"]


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([], [], "0 candidates, 0 references; give two lists of equal length, one pair at least"),
        (["a", "b"], ["a"], "2 candidates, 1 references; give two lists"),
        ("dog", "cat", "1 candidates, 1 references; give two lists"),
        (["a", None], ["a", "b"], "candidate 1 is None. Give strings"),
        (["a", "b"], ["a", float("nan")], "reference 1 is nan. Give strings, and references with a word"),
        (["Да", "b"], ["Да", "!"], "reference 0 is 'Да'; reference 1 is '!'. Give strings, and references with a word"),
    ],
)
@pytest.mark.parametrize("metric", [score, corpus_bleu])
def test_what_cannot_be_scored_is_one_message(metric, candidates, references, message):
    with pytest.raises(InputError, match=message):
        metric(candidates, references)


def test_importing_the_module_is_light():
    code = "import sys, cift.generation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "transformers", "datasets", "sklearn", "nltk", "rouge_score", "sacrebleu", "bert_score"}
    assert "cift.generation" in loaded and not heavy & set(loaded)
