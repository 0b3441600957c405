import gzip
import hashlib
import json
import zipfile

import pandas as pd
import pytest

from cift import corpora, fetch
from cift.corpora import LABELS, load_corpus, overlap, to_dataset, validate, without
from cift.errors import InputError
from cift.files import read_table

PAIRS = pd.DataFrame(
    {
        "item_id": ["a", "b", "c"],
        "premise": ["A dog runs.", 'He said "no", twice.', "Une fée\nrit."],
        "hypothesis": ["An animal moves.", "He spoke.", "Nobody laughs."],
        "label": ["entailment", "neutral", "contradiction"],
        "phenomenon": ["hypernym", "", "negation"],
    }
)


def write(table, path):
    """The table as a file of the form that its suffix names."""
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


# reading files


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_users_file_in_every_form(tmp_path, suffix):
    corpus = load_corpus(write(PAIRS, tmp_path / f"pairs.{suffix}"))
    assert corpus.features["label"].names == list(LABELS) == ["entailment", "neutral", "contradiction"]
    assert corpus["label"][:] == [0, 1, 2]
    assert corpus.to_pandas().drop(columns="label").equals(PAIRS.drop(columns="label"))


def test_cells_are_text_and_missing_cells_are_empty(tmp_path):
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"a": 1, "b": null}\n\n{"a": [1, "é"], "c": true}\n', encoding="utf-8")
    table = read_table(path)
    assert table.to_dict("list") == {"a": ["1", '[1, "é"]'], "b": ["", ""], "c": ["", "True"]}
    assert table.index.tolist() == [1, 3]
    numbers = pd.DataFrame({"a": [1.5, None], "b": ["NA", None]})
    table = read_table(write(numbers, tmp_path / "numbers.parquet"))
    assert table.to_dict("list") == {"a": ["1.5", ""], "b": ["NA", ""]}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_byte_order_mark_and_line_ends(tmp_path, mark, line_end):
    path = tmp_path / "pairs.csv"
    text = mark + line_end.join(["premise,hypothesis,label", "É.,B.,neutral", "", "C.,D.,entailment", ""])
    path.write_bytes(text.encode())
    table = read_table(path)
    assert list(table) == ["premise", "hypothesis", "label"]
    assert table.index.tolist() == [2, 4] and table["premise"].tolist() == ["É.", "C."]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_other_encoding_names_offset_line_and_remedy(tmp_path, mark):
    path = tmp_path / "latin.csv"
    content = mark + "premise,hypothesis,label\na,b,neutral\ncafé,b,neutral\n".encode("latin-1")
    path.write_bytes(content)
    offset = content.index(0xE9)
    with pytest.raises(InputError, match=rf"latin.csv: .*byte 0xe9, offset {offset}, line 3.*save .* UTF-8"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", r"a.txt: not a .csv, .tsv, .jsonl, .parquet file"),
        ("a.csv", "", "a.csv: the file is empty"),
        ("a.csv", 'premise,label\n"open,neutral\n', r"row 2 cannot be split into cells"),
        ("a.csv", "premise,label\nYes, sir,neutral\na,b\nc\n", "row 2 has 3 cells; row 4 has 1 cells"),
        ("a.tsv", "premise\tlabel\na\n", r"row 2 has 1 cells"),
        ("a.csv", "premise,label,premise\na,b,c\n", "two columns are called 'premise'"),
        ("a.jsonl", '{"a": 1}\n{"a": \n[1]\n', r"line 2 is not JSON .*; line 3 is not a JSON object"),
        ("a.parquet", "no parquet", "a.parquet: not a readable parquet file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)


@pytest.mark.parametrize("name", ["none.csv", "none.jsonl", "none.parquet"])
def test_absent_file(tmp_path, name):
    with pytest.raises(InputError, match=f"{name}: no such file"):
        load_corpus(tmp_path / name)


# checks


def test_all_problems_are_in_one_message_with_rows_of_the_file(tmp_path):
    path = tmp_path / "bad.csv"
    header = "item_id,premise,hypothesis,label\n"
    path.write_text(header + 'a,,H.,neutral\nb,"two\nlines", ,neutral\na,P.,H.,Neutral\n')
    with pytest.raises(InputError) as caught:
        load_corpus(path)
    message = str(caught.value)
    for part in (
        "bad.csv",
        "row 2 has an empty premise",
        "row 3 has an empty hypothesis",
        "row 5 has the label 'Neutral'",
        "row 5 repeats the item_id 'a'",
        "entailment, neutral, contradiction",
    ):
        assert part in message


def test_missing_columns_and_no_rows(tmp_path):
    path = tmp_path / "empty.csv"
    path.write_text("item_id,Premise,label\n")
    with pytest.raises(InputError, match="no column 'premise'; .* 'hypothesis'; there are no rows.*Premise"):
        load_corpus(path)


def test_only_twenty_problems_are_listed():
    table = pd.DataFrame({"premise": ["p"] * 25, "hypothesis": ["h"] * 25, "label": ["maybe"] * 25})
    with pytest.raises(InputError, match="row 20 has the label 'maybe'; and 5 more") as caught:
        validate(table, "my table")
    assert "row 21" not in str(caught.value)


def test_item_ids():
    assert validate(PAIRS.drop(columns="item_id"), "t")["item_id"].tolist() == ["row-1", "row-2", "row-3"]
    with pytest.raises(InputError, match="row 2 has an empty item_id"):
        validate(PAIRS.assign(item_id=["a", None, "c"]), "t")
    with pytest.raises(InputError, match="row 3 has the label nan"):
        validate(PAIRS.assign(label=["neutral", "neutral", float("nan")]), "t")


def test_dataset_keeps_the_kinds_of_further_columns():
    table = PAIRS.assign(n=[1, 2, 3], p=[0.5, 0.25, 1.0], item_id=[7, 8, 9])
    corpus = to_dataset(table)
    assert corpus.column_names[:4] == ["item_id", "premise", "hypothesis", "label"]
    assert {name: corpus.features[name].dtype for name in ("n", "p", "item_id")} == {
        "n": "int64",
        "p": "float64",
        "item_id": "string",
    }


def test_two_way_labels():
    table = PAIRS.assign(label=["entailment", "not_entailment", "not_entailment"])
    corpus = to_dataset(table, labels=("entailment", "not_entailment"))
    assert corpus["label"][:] == [0, 1, 1]
    with pytest.raises(InputError, match="row 2 has the label 'not_entailment'"):
        to_dataset(table)


def test_without_and_overlap():
    corpus = to_dataset(PAIRS)
    premises = ["a  DOG runs. ", "Other.", "Une fée rit."]
    other = to_dataset(PAIRS.assign(item_id=["x", "y", "z"], premise=premises))
    assert overlap(corpus, other) == ["a", "c"]
    assert without(corpus, ["a", "c", "not there"])["item_id"][:] == ["b"]


# names


def test_unknown_names_and_splits(tmp_path):
    with pytest.raises(InputError, match="'multinli'.*scenes, probes, snli, snli-full, chaosnli, lalor2016"):
        load_corpus("multinli")
    with pytest.raises(InputError, match="no split 'dev'; its splits: train, train_extra, validation, test"):
        load_corpus("snli", "dev")
    with pytest.raises(InputError, match="no split None; its splits: train, validation, test"):
        load_corpus("scenes")
    with pytest.raises(InputError, match="a file has no split 'train'"):
        load_corpus(write(PAIRS, tmp_path / "mine.csv"), "train")


def test_data_dir_of_a_wheel_and_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "__file__", str(tmp_path / "cift" / "corpora.py"))
    with pytest.raises(InputError, match="embedded data is neither in .*; install the package again"):
        corpora.data_dir()
    (tmp_path / "data").mkdir()
    assert corpora.data_dir() == tmp_path / "data"
    (tmp_path / "cift" / "data").mkdir(parents=True)
    assert corpora.data_dir() == tmp_path / "cift" / "data"


def test_embedded_forms(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "data_dir", lambda: tmp_path)
    (tmp_path / "scenes").mkdir()
    (tmp_path / "probes").mkdir()
    write(PAIRS, tmp_path / "scenes" / "validation.parquet")
    write(PAIRS.assign(stratum=["G5", "G4", "G5"]), tmp_path / "probes" / "probes.csv")
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
