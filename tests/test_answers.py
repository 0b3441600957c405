import numpy as np
import pandas as pd
import pytest

from cift import answers, crowds
from cift.corpora import LABELS
from cift.errors import InputError

E, N, C = LABELS
CSV = "user,i1,i2,i3\nann,e,Neutral,C\nbob,E,na,\ncy,contradiction,n,NaN\n"


@pytest.fixture
def responses(file):
    return answers.read_responses(file(CSV))


def test_labels_initials_and_missing_cells(responses):
    assert responses.index.tolist() == ["ann", "bob", "cy"] and responses.index.name == "respondent"
    assert responses.to_dict("list") == {"i1": [E, E, C], "i2": [N, None, N], "i3": [C, None, None]}


def test_other_labels(file):
    table = answers.read_responses(file("u,i1,i2\na,e,N\n"), labels=("entailment", "not_entailment"))
    assert table.loc["a"].tolist() == ["entailment", "not_entailment"]
    with pytest.raises(InputError, match="'N'"):  # an initial that two labels share means neither
        answers.read_responses(file("u,i1\na,N\n"), labels=("neutral", "not_entailment"))


def test_all_problems_are_in_one_message(file):
    path = file("user,i1,i1,i9\nann,e,x,maybe\n\nann,e,e,e\n,e,e,e\n")
    with pytest.raises(InputError) as caught:
        answers.read_responses(path, items=["i1", "i2"])
    message = str(caught.value)
    for part in (
        "crowd.csv",
        "item 'i1' has two columns",
        "item 'i9' is not one of the 2 items expected",
        "row 2, item 'i1' has the answer 'x'",
        "row 2, item 'i9' has the answer 'maybe'",
        "row 4 repeats the respondent 'ann'",
        "row 5 has no respondent id",
        "entailment, neutral, contradiction",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user,i1\n", "there are no respondents"),
        ("user\nann\n", "there are no items"),
        ("user,i1,\nann,e,e\n", "an item has no id in the header"),
        ("", "the file is empty"),
        ("user,i1\nann,\nbob,NA\n", "no respondent answered anything"),
        ("user,i1\nann,e,n\n", "row 2 has 3 cells"),
        (b"user,i1\nJos\xe9,e\n", "not UTF-8 text .*line 2"),
    ],
)
def test_crowds_that_cannot_be_read(file, content, message):
    with pytest.raises(InputError, match=f"crowd.csv: {message}"):
        answers.read_responses(file(content))


def test_absent_file(tmp_path):
    with pytest.raises(InputError, match="none.csv: no such file"):
        answers.read_responses(tmp_path / "none.csv")


def test_respondents_without_answers_are_left_out_with_a_warning(file):
    with pytest.warns(UserWarning, match="left out 1 of 2 respondents, who answered nothing: bob"):
        table = answers.read_responses(file("user,i1,i2\nann,e,\nbob,,na\n"))
    assert table.index.tolist() == ["ann"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gold.txt", "i1 entailment\r\ni2 neutral\n\n"),
        ("gold.csv", "item_id,label\ni1,entailment\ni2,neutral\n"),
    ],
)
def test_gold(file, name, content):
    gold = answers.read_gold(file(content, name))
    assert gold.to_dict() == {"i1": E, "i2": N} and gold.index.name == "item_id"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "gold.txt",
            "i1\ni2 e\ni3 neutral\ni3 neutral\n",
            "row 1 is not an item and a label: 'i1'; row 2 has the label 'e'; row 4 repeats the item 'i3'",
        ),
        ("gold.txt", "\n", "there are no items"),
        ("gold.csv", "item,gold\ni1,neutral\n", "the columns are item, gold; name them item_id, label"),
        ("gold.csv", "item_id,label\ni1,\ni1,none\n", "row 2 is not an item and .*row 3 has the label"),
    ],
)
def test_gold_that_cannot_be_read(file, name, content, message):
    with pytest.raises(InputError, match=f"{name}: {message}"):
        answers.read_gold(file(content, name))


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_wide_answers_as_spreadsheets_save_them(file, delimiter):
    content = "\ufeffuserid,i1,i2\r\n01,e,n\r\n1,,c\r\n".replace(",", delimiter)
    responses = answers.read_responses(file(content))
    assert responses.loc["01"].tolist() == ["entailment", "neutral"] and responses.loc["1", "i2"] == "contradiction"


# long answers

LONG = "respondent,item_id,answer,seconds,device\nann,i1,e,2.5,phone\nbob,i1,Neutral,,\nann,i2,C,3,phone\n"


def test_long_answers(file):
    table = answers.read_answers(file(LONG))
    assert table.columns.tolist() == ["respondent", "item_id", "answer", "seconds", "device"]
    assert table["answer"].tolist() == [E, N, C] and table["device"].tolist() == ["phone", "", "phone"]
    np.testing.assert_array_equal(table["seconds"], [2.5, np.nan, 3])


@pytest.mark.parametrize("name", ["long.tsv", "long.csv", "long.jsonl", "long.parquet"])
def test_long_answers_in_other_files(file, tmp_path, name):
    rows = pd.DataFrame({"worker": ["a", "b"], "item": [7, 7], "said": [1, 0]})
    path = tmp_path / name
    if name == "long.parquet":
        rows.to_parquet(path)
    elif name == "long.jsonl":
        rows.to_json(path, orient="records", lines=True)
    else:
        rows.to_csv(path, sep=";" if name == "long.csv" else "\t", index=False)
    columns = {"respondent": "worker", "item_id": "item", "answer": "said"}
    table = answers.read_answers(path, {"1": E, "0": "not_entailment"}, columns=columns)
    assert table.to_dict("list") == {"respondent": ["a", "b"], "item_id": ["7"] * 2, "answer": [E, "not_entailment"]}
    scored = crowds.to_wide(answers.read_answers(path, {1: 1.0, 0: 0.0}, columns=columns))
    assert scored.astype(float).to_dict("list") == {"7": [1.0, 0.0]}


def test_all_problems_of_long_answers_are_in_one_message(file):
    rows = ["ann,i1,e,1", "ann,i9,x,2", ",i1,e,soon", "bob,,e,", "ann,i1,n,inf", "cy,i1,,1", "cy,i1,n,1"]
    with pytest.raises(InputError) as caught:
        answers.read_answers(file("\n".join(["respondent,item_id,answer,order", *rows])), items=["i1"])
    assert str(caught.value).split(": ", 1)[1].split(". ")[0].split("; ") == [
        "row 3 has the answer 'x'",
        "row 3 has the item 'i9', which is not one of the 1 items expected",
        "row 4 has an empty respondent",
        "row 4 has the order 'soon'",
        "row 5 has an empty item_id",
        "row 6 has the order 'inf'",
        "row 6 repeats 'ann' on 'i1', in row 2 before",
    ]
    assert "entailment, neutral, contradiction" in str(caught.value)


def test_rows_without_an_answer_are_left_out_with_a_warning(file):
    with pytest.warns(UserWarning, match="left out 2 of 3 rows, which hold no answer"):
        table = answers.read_answers(file("respondent,item_id,answer\nann,i1,NA\nann,i2,\nann,i3,e\n"))
    assert table["item_id"].tolist() == ["i3"]
    with pytest.raises(InputError, match="no respondent answered anything"):
        answers.read_answers(file("respondent,item_id,answer\nann,i1,na\n"))


def test_columns_of_long_answers(file):
    path = file(LONG.splitlines()[0] + "\n")
    with pytest.raises(InputError, match="no column 'worker' for respondent; there are no answers. Name the columns"):
        answers.read_answers(path, columns={"respondent": "worker"})
    with pytest.raises(InputError, match="two columns are 'answer'"):
        answers.read_answers(file(LONG), columns={"answer": "device"})
    with pytest.raises(InputError, match="no column 'said' for item_id"):  # one column cannot be both
        answers.read_answers(file("respondent,said\nann,e\n"), columns={"item_id": "said", "answer": "said"})
    with pytest.raises(InputError, match="no column 'said' for answer"):
        answers.read_answers(file(LONG), columns={"answer": "said"})


def test_the_wrong_reader_names_the_other(file):
    with pytest.raises(InputError, match="no column 'respondent'.*crowds.read_responses"):
        answers.read_answers(file(CSV))
    with pytest.raises(InputError, match="row 4 repeats the respondent 'ann'.*crowds.read_answers"):
        answers.read_responses(file(LONG))
