import gzip
import hashlib
import json
import zipfile

import pandas as pd
import pytest

from cift import fetch, public
from cift.corpora import LABELS, load_corpus, overlap
from cift.errors import InputError

PAIRS = pd.DataFrame(
    {
        "item_id": ["a", "b", "c"],
        "premise": ["A dog runs.", "He spoke.", "It rains."],
        "hypothesis": ["An animal moves.", "He left.", "It is dry."],
        "label": ["entailment", "neutral", "contradiction"],
        "phenomenon": ["hypernym", "", "negation"],
    }
)

# embedded


def test_data_dir_of_a_wheel_and_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(public, "__file__", str(tmp_path / "cift" / "public.py"))
    with pytest.raises(InputError, match="embedded data is neither in .*; install the package again"):
        public.data_dir()
    (tmp_path / "data").mkdir()
    assert public.data_dir() == tmp_path / "data"
    (tmp_path / "cift" / "data").mkdir(parents=True)
    assert public.data_dir() == tmp_path / "cift" / "data"


def test_embedded_forms(tmp_path, monkeypatch):
    monkeypatch.setattr(public, "data_dir", lambda: tmp_path)
    (tmp_path / "scenes").mkdir()
    (tmp_path / "probes").mkdir()
    PAIRS.to_parquet(tmp_path / "scenes" / "validation.parquet")
    PAIRS.assign(stratum=["G5", "G4", "G5"]).to_csv(tmp_path / "probes" / "probes.csv", index=False)
    assert load_corpus("scenes", "validation")["phenomenon"][:] == ["hypernym", "", "negation"]
    assert load_corpus("probes")["group"][:] == ["5GS-E", "4GS-N", "5GS-C"]


# public corpora, on the mirror


@pytest.mark.parametrize(
    ("split", "rows", "first", "labels"),
    [
        ("train", 18000, "cat-train-00001", [6015, 5899, 6086]),
        ("train_extra", 2000, "cat-extra-00001", [652, 663, 685]),
        ("validation", 9842, "4705552913.jpg#2r1n", [3329, 3235, 3278]),
        ("test", 9824, "2677109430.jpg#1r1n", [3368, 3219, 3237]),
        ("test_hard", 3261, "2677109430.jpg#1r1n", [1058, 1068, 1135]),
    ],
)
def test_snli(mirror, split, rows, first, labels):
    corpus = load_corpus("snli", split)
    assert len(corpus) == rows and corpus[0]["item_id"] == first
    assert [corpus["label"][:].count(code) for code in range(3)] == labels
    assert not any(premise.startswith('"') for premise in corpus["premise"])  # quoted cells are unquoted


def test_label_codes_of_snli_train_mean_what_they_say(mirror):
    """Hypotheses about nobody contradict; hypotheses made of the premise's own words are entailed."""
    table = load_corpus("snli", "train").to_pandas()
    said = table["hypothesis"].str.casefold().str.split().map(set)
    seen = table["premise"].str.casefold().str.split().map(set)
    nobody = said.map(lambda words: "nobody" in words)
    inside = pd.Series([h <= p for h, p in zip(said, seen, strict=True)])
    assert (table["label"][nobody] == LABELS.index("contradiction")).mean() > 0.9
    assert (table["label"][inside] == LABELS.index("entailment")).mean() > 0.7


def test_chaosnli(mirror):
    table = load_corpus("chaosnli").to_pandas()
    assert len(table) == 1514 and (table["n_responses"] == 100).all()
    shares = table[[f"p_{label}" for label in LABELS]]
    assert shares.sum(axis=1).sub(1).abs().max() < 1e-12
    top = shares.max(axis=1) == [row[f"p_{row['majority']}"] for row in table.to_dict("records")]
    assert top.all()
    gold = load_corpus("snli", "validation").to_pandas().set_index("item_id")["label"]
    assert (gold.loc[table["item_id"]].to_numpy() == table["label"]).all()  # chaosnli is part of SNLI dev


# the SNLI zip, in a small copy of its form


def snli_line(pair_id, gold="neutral", hypothesis="H."):
    record = {"gold_label": gold, "pairID": pair_id, "sentence1": f"P {pair_id}", "sentence2": hypothesis}
    return json.dumps(record | {"sentence1_parse": "(ROOT)", "annotator_labels": [gold]}) + "\n"


@pytest.fixture
def small_snli(mirror, tmp_path, monkeypatch):
    """small_snli(lines): put a zip with these training lines in the cache, and its hash in the registry."""

    def build(lines):
        path = fetch.cache_dir() / "snli" / "snli_1.0.zip"
        path.parent.mkdir()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("snli_1.0/snli_1.0_train.jsonl", "".join(lines))
        digest = hashlib.sha1(path.read_bytes()).hexdigest()
        source = fetch.REGISTRY["snli/snli_1.0.zip"]._replace(hash=f"sha1:{digest}", bytes=None)
        monkeypatch.setitem(fetch.REGISTRY, source.name, source)

    return build


@pytest.fixture
def scale_ids(mirror):
    with zipfile.ZipFile(mirror / "lalor2016" / "data_emnlp2016.zip") as archive:
        lists = [archive.read(f"group_{n}.txt").decode().split()[::2] for n in (5, 4)]
    return lists[0] + lists[1]


def test_lalor2016_joins_sentences_in_the_published_order(small_snli, scale_ids):
    small_snli([snli_line("other#1n"), *map(snli_line, sorted(scale_ids)), snli_line("other#2n")])
    table = load_corpus("lalor2016").to_pandas()
    assert table["item_id"].tolist() == scale_ids
    assert table["premise"].tolist() == [f"P {item_id}" for item_id in scale_ids]
    assert (table["label"].value_counts() == 60).all()  # the published gold, not the "neutral" of the zip
    positions = {name: rows["position"].tolist() for name, rows in table.groupby("group")}
    scales = ["4GS-C", "4GS-E", "4GS-N", "5GS-C", "5GS-E", "5GS-N"]
    assert positions == dict.fromkeys(scales, list(range(1, 31)))
    assert (table["stratum"].str[1] == table["group"].str[0]).all()
    assert table.loc[table["group"] == "5GS-E", "item_id"].iloc[1] == "374104006.jpg#0r1e"


def test_lalor2016_items_that_the_zip_lacks(small_snli, scale_ids):
    small_snli(map(snli_line, scale_ids[2:]))
    with pytest.raises(InputError, match="1.0.zip: no sentence pair 24987.*; no .* 22297") as caught:
        load_corpus("lalor2016")
    assert scale_ids[2] not in str(caught.value)


def test_snli_full_holds_the_scales_out(small_snli, scale_ids):
    keep = [snli_line("a#1n"), snli_line("b#1e", gold="entailment")]
    drop = [snli_line("c#1n", gold="-"), snli_line("d#1n", hypothesis=" "), *map(snli_line, scale_ids)]
    small_snli([keep[0], *drop, keep[1]])
    corpus = load_corpus("snli-full")
    assert corpus["item_id"][:] == ["a#1n", "b#1e"] and corpus["label"][:] == [1, 0]
    assert load_corpus("snli-full", "train").column_names == ["item_id", "premise", "hypothesis", "label"]


def test_public_test_pairs_are_not_in_the_training_pairs(mirror):
    train, test = load_corpus("snli", "train"), load_corpus("snli", "test")
    assert overlap(test, train) == []
    with gzip.open(mirror / "snli" / "snli_1.0_test.jsonl.gz") as lines:
        assert sum(1 for _ in lines) > len(test)  # pairs without a gold label are left out


def test_annotators_of_snli(mirror):
    table = load_corpus("snli", "validation").to_pandas().set_index("item_id")
    shares = table[[f"p_{label}" for label in LABELS]]
    assert table["n_responses"].value_counts().to_dict() == {5: 9831, 4: 11}
    assert shares.sum(axis=1).sub(1).abs().max() < 1e-12
    assert (shares.to_numpy().argmax(axis=1) == table["label"]).all()  # the gold label is the majority's
    assert shares.loc["4705552913.jpg#2r1n"].tolist() == [0.2, 0.8, 0.0]  # one of five said entailment
    hard = load_corpus("snli", "test_hard").to_pandas()
    test = load_corpus("snli", "test").to_pandas().set_index("item_id")
    assert hard.set_index("item_id").equals(test.loc[hard["item_id"]])


@pytest.mark.parametrize(
    ("split", "labels"),
    [("train", [1299, 2536, 665]), ("validation", [144, 282, 74]), ("test", [1414, 2793, 720])],
)
def test_sick(mirror, split, labels):
    table = load_corpus("sick", split).to_pandas()
    assert table["label"].value_counts(sort=False).sort_index().tolist() == labels
    assert table["relatedness"].between(1, 5).all()
    means = table.groupby("label")["relatedness"].mean()
    assert means[0] > means[1] and means[0] > means[2]  # what follows is related
    assert not table[["premise", "hypothesis"]].apply(lambda texts: texts.str.contains("\r|\t")).any(axis=None)


def test_sick_item_ids_are_unique_across_splits(mirror):
    ids = [item_id for split in ("train", "validation", "test") for item_id in load_corpus("sick", split)["item_id"]]
    assert len(ids) == len(set(ids)) == 9927


RTE = {  # split: entailment, not_entailment
    "rte1_dev": [283, 284],
    "rte1_test": [400, 400],
    "rte2_dev": [210, 190],
    "rte2_test": [400, 400],
    "rte3_dev": [412, 388],
    "rte3_test": [410, 390],
}


def test_rte(mirror):
    table = pd.concat([load_corpus("rte", split).to_pandas().assign(split=split) for split in RTE])
    counts = table.groupby("split")["label"].value_counts().unstack()
    assert {split: row.tolist() for split, row in counts.iterrows()} == RTE
    assert table["item_id"].is_unique and load_corpus("rte", "rte3_dev")[0]["item_id"] == "rte3_dev-1"
    assert (table["challenge"].str[-1] == table["split"].str[3]).all()
    assert set(table["task"]) == {"CD", "IE", "IR", "MT", "PP", "QA", "RC", "SUM"}
    first = load_corpus("rte", "rte1_dev")[0]
    assert first["hypothesis"] == "Crude oil prices rose to $37.80 per barrel" and first["label"] == 1  # FALSE


@pytest.mark.parametrize(("name", "split"), [*(("rte", split) for split in RTE), ("snow2008", "test")])
def test_no_markup_or_damaged_encoding_is_left(mirror, name, split):
    table = load_corpus(name, split).to_pandas()
    texts = pd.concat([table["premise"], table["hypothesis"]])
    assert not texts.str.contains(r"&\w+;|&#|<[a-zA-Z/]|[\x00-\x1f\x7f-\x9f\ufffd]|\u00e2|\u00c2").any()
    assert (texts == texts.str.strip()).all() and not texts.str.contains("  ").any()


def test_damaged_texts_of_rte1_are_mended(mirror):
    premises = {row["item_id"]: row["premise"] for row in load_corpus("rte", "rte1_dev")}
    assert "Iraq\u2019s interim" in premises["rte1_dev-941"] and "\u00a335 million" in premises["rte1_dev-972"]


def test_snow2008_is_the_test_set_of_rte1(mirror):
    ours = load_corpus("snow2008").to_pandas()
    rte = load_corpus("rte", "rte1_test").to_pandas()
    assert ours["item_id"].radd("rte1_test-").tolist() == rte["item_id"].tolist()
    assert ours.drop(columns="item_id").equals(rte[["premise", "hypothesis", "label", "task"]])
    gold = pd.read_csv(mirror / "snow2008" / "rte.standardized.tsv", sep="\t", dtype=str).groupby("orig_id")["gold"]
    assert (gold.first().loc[ours["item_id"]].map({"1": 0, "0": 1}).to_numpy() == ours["label"]).all()
