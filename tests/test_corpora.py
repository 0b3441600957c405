import time

import datasets
import pandas as pd
import pytest

from cift.corpora import LABELS, label_codes, load_corpus, overlap, to_dataset, validate, without
from cift.errors import InputError

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
    with pytest.raises(InputError, match="row 3 has an empty label"):
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
    with pytest.raises(InputError, match="'multinli'.*scenes, probes, snli, .*snow2008, or give a path or a hub id"):
        load_corpus("multinli")
    with pytest.raises(InputError, match="no split 'dev'; its splits: train, train_extra, validation, test, test_hard"):
        load_corpus("snli", "dev")
    with pytest.raises(InputError, match="no split None; its splits: train, validation, test"):
        load_corpus("scenes")
    with pytest.raises(InputError, match="a file has no split 'train'"):
        load_corpus(write(PAIRS, tmp_path / "mine.csv"), "train")


# other names for columns and labels

THEIRS = "pairID,sentence1,sentence2,gold_label\n"
COLUMNS = {"item_id": "pairID", "premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"}


def test_columns_and_labels_by_other_names(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text(THEIRS + "1,P.,H.,Yes\n2,P.,H.,-\n3,P.,H.,contradiction\n4,P.,H.,-\n5,P.,H.,0\n")
    with pytest.warns(UserWarning, match=r"theirs.csv: left out 2 labelled '-'") as caught:
        corpus = load_corpus(path, columns=COLUMNS, labels={"Yes": "entailment", "-": None, 0: "neutral"})
    assert caught[0].filename == __file__
    assert corpus["item_id"][:] == ["1", "3", "5"] and corpus["label"][:] == [0, 2, 1]
    assert corpus.column_names == ["item_id", "premise", "hypothesis", "label"]


@pytest.mark.parametrize(
    ("labels", "names", "codes"),
    [
        (("not_entailment", "entailment"), ["not_entailment", "entailment"], [1, 0]),
        ({"no": "not_entailment"}, ["entailment", "not_entailment"], [0, 1]),
        ({"entailment": "positive", "not_entailment": "negative"}, ["positive", "negative"], [0, 1]),
    ],
)
def test_labels_that_there_may_be(tmp_path, labels, names, codes):
    second = "no" if "no" in labels else "not_entailment"
    path = write(PAIRS[:2].assign(label=["entailment", second]), tmp_path / "two.csv")
    corpus = load_corpus(path, labels=labels)
    assert corpus.features["label"].names == names and corpus["label"][:] == codes


def test_three_labels_of_a_named_corpus_become_two():
    meanings = {"neutral": "not_entailment", "contradiction": "not_entailment"}
    three, two = load_corpus("scenes", "test"), load_corpus("scenes", "test", labels=meanings)
    assert two.features["label"].names == ["entailment", "not_entailment"]
    assert two["label"][:] == [min(code, 1) for code in three["label"]]


def test_one_message_tells_every_kind_of_problem_and_what_to_give(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(THEIRS + "1,a b,c,Entailment \n1,a,,E\n 2,a,d,-\n3,a\n5,a,b,maybe\n,a,b,not entailment\n")
    with pytest.raises(InputError) as caught:
        load_corpus(path)
    assert "row 5 has 2 cells" in str(caught.value) and f"should be given columns={COLUMNS}" in str(caught.value)
    with pytest.raises(InputError) as caught:
        load_corpus(path, columns=COLUMNS)
    for part in (
        "row 2 has the label 'Entailment '; row 3 repeats the item_id '1'; row 3 has an empty hypothesis",
        "row 4 has spaces around the item_id ' 2'",
        "row 5 has 2 cells; row 6 has the label 'maybe'; row 7 has an empty item_id",
        "'Entailment ': 'entailment'",
        "'E': 'entailment'",
        "'-': None",
        "'maybe': '...'",
    ):
        assert part in str(caught.value)


def test_two_way_labels_are_recognised(tmp_path):
    path = write(PAIRS.assign(label="not_entailment"), tmp_path / "two.csv")
    with pytest.raises(InputError, match=r"should be given labels=\('entailment', 'not_entailment'\)"):
        load_corpus(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": "phenomenom"}, r"no column 'phenomenom' to be called 'label' \(did you mean 'phenomenon'\?\)"),
        ({"label": "phenomenon"}, "two columns are called 'label'"),
        ({"premise": "phenomenon", "hypothesis": "phenomenon"}, "the column 'phenomenon' cannot be two columns"),
    ],
)
def test_columns_that_cannot_be_meant(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        load_corpus(write(PAIRS, tmp_path / "pairs.csv"), columns=columns)


def test_labels_that_are_signs_have_no_initials():
    with pytest.raises(InputError, match=r"row 1 has the label 'entailment'.*'entailment': '...'"):
        validate(PAIRS, "t", labels=("+", "="))


def test_numbers_where_text_should_be(tmp_path):
    with pytest.raises(InputError, match="column 'premise' has nothing but numbers, as 1;.*'hypothesis'.*as -2.5"):
        load_corpus(write(PAIRS.assign(premise=[1, 2, 3], hypothesis=-2.5), tmp_path / "pairs.jsonl"))
    with pytest.raises(InputError, match="row 2 has a premise that is not text, 7"):
        validate(PAIRS.assign(premise=["a", 7, "b"]), "t")
    assert len(to_dataset(PAIRS.assign(hypothesis=["8", "b", "c"]))) == 3  # a person may answer with a number


def test_every_kind_is_told_however_many_there_are_of_one():
    n = 100_000
    table = pd.DataFrame({"premise": "", "hypothesis": "h", "label": [f"l{i}" for i in range(n)]})
    table.loc[n - 1, "hypothesis"] = " "
    started = time.perf_counter()
    with pytest.raises(InputError, match=f"row {n} has an empty hypothesis; and {2 * n + 1 - 20:d} more") as caught:
        validate(table, "t")
    assert time.perf_counter() - started < 5 and len(str(caught.value)) < 3000
    assert str(caught.value).count("empty premise") == 10


# folders and the hub


def saved(table=PAIRS):
    names = ["contradiction", "neutral", "entailment"]  # not in our order
    features = datasets.Features({name: datasets.Value("string") for name in table})
    features["label"] = datasets.ClassLabel(names=names)
    codes = [names.index(label) if label in names else -1 for label in table["label"]]
    features["share"] = datasets.Value("float64")
    return datasets.Dataset.from_dict(table.to_dict("list") | {"label": codes, "share": [0.5] * len(table)}, features)


def test_folders_that_datasets_saved(tmp_path):
    saved().save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": saved(), "test": saved(PAIRS[:1])}).save_to_disk(tmp_path / "two")
    for corpus in (load_corpus(tmp_path / "one"), load_corpus(str(tmp_path / "two"), "train")):
        assert corpus["label"][:] == [0, 1, 2] and corpus.features["label"].names == list(LABELS)
        assert corpus["premise"][:] == PAIRS["premise"].tolist() and corpus["share"][:] == [0.5] * 3
    assert len(load_corpus(tmp_path / "two", "test")) == 1
    with pytest.raises(InputError, match="two has no split None; its splits: train, test"):
        load_corpus(tmp_path / "two")
    with pytest.raises(InputError, match="one is one data set, without a split 'train'"):
        load_corpus(tmp_path / "one", "train")
    for file in (tmp_path / "one").glob("*.arrow"):
        file.write_bytes(b"no arrow")
    with pytest.raises(InputError, match="one: not a folder that `datasets` can read .*save it again"):
        load_corpus(tmp_path / "one")


def test_a_corpus_comes_back_as_it_was_saved(tmp_path):
    corpus = load_corpus("scenes", "test")
    corpus.save_to_disk(tmp_path / "scenes")
    again = load_corpus(tmp_path / "scenes")
    assert again.features == corpus.features and again[:] == corpus[:]


def test_a_pair_without_gold_label(tmp_path):
    saved(PAIRS.assign(label=["entailment", "-", "neutral"])).save_to_disk(tmp_path / "gaps")
    with pytest.raises(InputError, match="row 2 has the label '-1'.*labels={'-1': None}"):
        load_corpus(tmp_path / "gaps")
    with pytest.warns(UserWarning, match="left out 1 labelled '-1'"):
        assert load_corpus(tmp_path / "gaps", labels={"-1": None})["item_id"][:] == ["a", "c"]


def test_a_folder_with_a_file_for_each_split(tmp_path):
    write(PAIRS, tmp_path / "train.csv")
    write(PAIRS[:2], tmp_path / "validation.jsonl")
    assert len(load_corpus(tmp_path, "train")) == 3 and len(load_corpus(tmp_path, "validation")) == 2
    with pytest.raises(InputError, match="no split 'test'; its splits: train, validation"):
        load_corpus(tmp_path, "test")
    write(PAIRS, tmp_path / "train.parquet")
    with pytest.raises(InputError, match="train.csv is there; train.parquet is there. Leave one file for 'train'"):
        load_corpus(tmp_path, "train")


def test_other_folders_are_read_by_datasets(tmp_path):
    (tmp_path / "hub" / "data").mkdir(parents=True)
    saved().to_parquet(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet")
    assert load_corpus(tmp_path / "hub")["label"][:] == [0, 1, 2]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: not a folder that `datasets` can read"):
        load_corpus(tmp_path / "empty")


def test_hub_data_sets(monkeypatch):
    asked = []

    def load_dataset(*given):
        asked.append(given)
        return datasets.DatasetDict({"validation": saved().rename_columns({"premise": "s1", "hypothesis": "s2"})})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = load_corpus("org/some.name-1.0:rte", columns={"premise": "s1", "hypothesis": "s2"})
    assert asked == [("org/some.name-1.0", "rte")] and corpus["label"][:] == [0, 1, 2]
    assert len(load_corpus("org/name", "validation", columns={"premise": "s1", "hypothesis": "s2"})) == 3
    with pytest.raises(InputError, match="hub data set 'org/name' has no split 'test'; its splits: validation"):
        load_corpus("org/name", "test")


@pytest.mark.parametrize("offline", [True, False])
def test_no_hub(monkeypatch, offline):
    import huggingface_hub

    def refused(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refused)
    monkeypatch.setattr(datasets, "load_dataset", datasets.load_dataset if offline else None)  # not reached
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"org/absent: neither .* nor .* hub .*\(ConnectionError: .*HF_HUB_OFFLINE=1"):
        load_corpus("org/absent")
    assert time.perf_counter() - started < 10


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(InputError, match="none: no such file or folder; check the path"):
        load_corpus(tmp_path / "none")
    with pytest.raises(InputError, match="no such file or folder"):
        load_corpus("pairs.txt")


def test_further_columns_of_any_kind(tmp_path):
    further = {
        "answers": [["neutral"], ["neutral", "entailment"], None],
        "mixed": [1, "a", None],
        "small": pd.array([1, 2, 3], dtype="uint8"),
        "kind": pd.Categorical([1, 2, 1]),
    }
    corpus = to_dataset(PAIRS.assign(**further))
    assert corpus["answers"][:] == ['["neutral"]', '["neutral", "entailment"]', None]
    assert corpus["mixed"][:] == ["1", "a", None]
    assert corpus["small"][:] == [1, 2, 3] and corpus["kind"][:] == ["1", "2", "1"]


@pytest.mark.parametrize("absent", [-1, None])
def test_label_codes_are_of_labelled_pairs(absent):
    corpus = to_dataset(PAIRS)
    assert label_codes(corpus).tolist() == [0, 1, 2]
    unlabelled = datasets.Dataset.from_dict(corpus[:] | {"label": [0, absent, 2]}, features=corpus.features)
    with pytest.raises(InputError, match="corpus: pair 2 has no label. Leave"):
        label_codes(unlabelled)
