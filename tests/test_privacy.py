"""What has a form is found, masked; prices, years and ids of other things are not; nor is anything in the corpora."""

import re
import time

import pandas as pd
import pytest

from cift.corpora import load_corpus
from cift.errors import InputError
from cift.privacy import _finds, personal_data, pseudonymise


def test_pseudonymise_numbers_in_order_of_appearance():
    assert pseudonymise(["B", "A", "B"]) == ["w001", "w002", "w001"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("e-mail", "jane.doe+nli@mail.example.org"),
        ("url with user", "https://jane:secret@example.org/home"),
        ("IBAN", "DE89 3704 0044 0532 0130 00"),
        ("IBAN", "GB82WEST12345698765432"),
        ("payment card", "4111 1111 1111 1111"),
        ("payment card", "378282246310005"),
        ("social security number", "219-09-9999"),
        ("phone", "+49 30 901820"),
        ("phone", "+442079460958"),
        ("phone", "(415) 555-2671"),
        ("phone", "1-415-555-2671"),
        ("phone", "020 7946 0958"),
        ("IP address", "192.168.17.4"),
        ("IP address", "2001:db8:0:0:0:ff00:42:8329"),
        ("IP address", "2001:db8::ff00:42:8329"),
        ("coordinates", "52.52001, 13.40495"),
        ("coordinates", "52°31'12\"N"),
        ("handle", "@jane_doe"),
        ("Mechanical Turk id", "A2K5ICP43ML4PW"),
        ("Prolific id", "5f3c1a9be2d84c0017a6b9d2"),
    ],
)
def test_each_kind_is_found_alone_and_in_a_sentence(kind, text):
    for sentence in (text, f"Write to {text}, please.", f"It was ({text})."):
        assert list(_finds(sentence)) == [(kind, text)]


@pytest.mark.parametrize(
    "text",
    [
        "From 1989-1994, and again 2004-2005, it cost 1,200,000 dollars or $3.50.",
        "The score was 21-17, 6-4 6-3; at 12:30:45 on 2016-11-02 or 02/11/2016.",
        "Version 1.2.3, section 4.1.2.7.1, ISBN 978-3-16-148410-0.",
        "Caption 3416050480.jpg#4r1n of picture 4705552913.",
        "4111 1111 1111 1112 and DE89 3704 0044 0532 0130 01 have wrong check digits.",
        "999.168.17.4 is no address, 1,000 +5 -7 and p = 0.0312 no phone.",
        "[0.1234, 0.4321, 0.4445]",
        "ADMINISTRATION AND ACCOMMODATION @ home; AB12",
        "sha 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ],
)
def test_what_only_looks_alike_is_left_alone(text):
    assert not list(_finds(text))


def test_long_answers_with_raw_worker_ids_are_found_and_not_repeated():
    ids = ["A2K5ICP43ML4PW", "A15L6WGIK3VU7N", "A2K5ICP43ML4PW"]
    answers = pd.DataFrame({"respondent": ids, "item_id": ["i1", "i1", "i2"], "answer": "entailment", "seconds": 3.25})
    found = personal_data(answers)
    assert found["row"].tolist() == [1, 2, 3] and set(found["column"]) == {"respondent"}
    assert set(found["kind"]) == {"Mechanical Turk id"}
    assert found["found"][0] == "A2… (14 characters)" and not found.to_string().count("ICP")
    assert personal_data(answers.assign(respondent=pseudonymise(ids))).empty


def test_respondents_in_the_index_and_rows_of_a_file_are_named():
    wide = pd.DataFrame({"i1": ["neutral"]}, index=pd.Index(["A2K5ICP43ML4PW"], name="respondent"))
    assert personal_data(wide)["column"].tolist() == ["respondent"]
    lines = pd.DataFrame({"premise": ["a", "call +49 30 901820"]}, index=pd.Index([2, 7], name="row"))
    assert personal_data(lines)["row"].tolist() == [7]


@pytest.mark.parametrize("name", ["IPAddress", "LocationLatitude", "RecipientLastName", "first_name", "E-mail", "dob"])
def test_columns_that_tell_by_their_name(name):
    found = personal_data(pd.DataFrame({name: [1.5, None], "premise": "a"}))
    assert found[["column", "kind", "found"]].to_numpy().tolist() == [[name, "column name", "1 values"]]
    assert found["row"].isna().all()


def test_columns_of_a_corpus_do_not_tell():
    names = ["item_id", "premise", "hypothesis", "label", "respondent", "order", "seconds", "phenomenon", "language"]
    assert personal_data(pd.DataFrame("a", index=[0], columns=names)).empty


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_scenes_has_none(split):
    assert personal_data(load_corpus("scenes", split)).empty


def test_public_corpora_have_none(mirror):
    for split in ("validation", "test"):
        assert personal_data(load_corpus("snli", split)).empty
    sick = pd.read_csv(mirror / "sick" / "SICK_train.txt", sep="\t")
    assert len(sick) == 4500 and personal_data(sick).empty


def test_newspaper_text_full_of_years_and_prices_has_none(mirror):
    import zipfile

    with zipfile.ZipFile(mirror / "rte" / "rte.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".xml")]
        text = [re.findall(r"<[th]>(.*?)</[th]>", archive.read(name).decode(), re.DOTALL) for name in names]
    table = pd.DataFrame({"text": sum(text, [])})
    assert len(table) > 8000 and personal_data(table).empty


def test_an_index_of_several_levels_and_columns_of_one_name_are_searched():
    index = pd.MultiIndex.from_tuples([("batch", "ann@mail.org")], names=["batch", "worker"])
    found = personal_data(pd.DataFrame([["bob@mail.org", "a"]], index=index, columns=["note", "note"]))
    assert found[["column", "kind"]].to_numpy().tolist() == [["worker", "e-mail"], ["note", "e-mail"]]
    clash = pd.DataFrame({"worker": ["a"]}, index=pd.Index(["ann@mail.org"], name="worker"))
    assert personal_data(clash)["row"].tolist() == [1]


def test_a_long_text_of_dots_takes_no_time():
    start = time.perf_counter()
    assert not list(_finds("a.b-" * 10_000 + "@"))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("absent", [None, float("nan"), "", " "])
def test_missing_ids_become_nobody(absent):
    with pytest.raises(InputError, match=r"ids: number 2 is .*; number 3 is .*Leave out what has no id"):
        pseudonymise(pd.Series(["A", absent, absent, "B"], dtype=object))
