"""`cift irt`: other people's files in, tables out, one line for what is wrong."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from cift import ability, cli, crowds, diagnostics, irt, tables


@pytest.fixture(scope="module")
def probes():
    """The simulated contradiction items: 300 people, 12 items, raw labels and their gold labels."""
    responses, gold = crowds.load_crowd("probes")["G5"]
    items = crowds.groups(gold, "G5")["5GS-C"][:12]
    return responses.loc[responses.index[:300], items], gold


@pytest.fixture
def place(tmp_path, monkeypatch, probes):
    """A folder with raw.csv, scored.csv, gold.csv in which commands run."""
    monkeypatch.chdir(tmp_path)
    responses, gold = probes
    responses.to_csv("raw.csv")
    crowds.score(responses, gold).to_csv("scored.csv", sep=";")
    gold.to_csv("gold.csv")
    return tmp_path


@pytest.fixture
def call(place, capsys):
    def run(*arguments):
        code = cli.main(["irt", *map(str, arguments)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def written(content, name="x.csv"):
    with open(name, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    return name


# fit and score


def test_fit_then_score_equals_python(call, probes):
    code, out, err = call("fit", "scored.csv", "--out", "bank.csv", "--scale", "C")
    assert (code, err) == (0, "") and out.count("\n") == 3
    assert "300 respondents, 12 items" in out and "2pl by mml" in out and "bank.csv" in out
    scored = crowds.score(*probes)
    bank = irt.calibrate(scored, "C")
    pd.testing.assert_frame_equal(tables.read_bank("bank.csv").items, bank.items, check_exact=True)
    assert tables.read_bank("bank.csv").info["scale"] == "C"
    for method in ability.METHODS:
        code, out, err = call("score", "bank.csv", "scored.csv", "--out", "theta.csv", "--method", method)
        assert (code, err) == (0, "") and "300 respondents by " + method in out
        found = pd.read_csv("theta.csv", index_col="respondent", float_precision="round_trip")
        pd.testing.assert_frame_equal(
            found, ability.score(scored, bank, method), check_exact=True, check_index_type=False, check_names=False
        )


def test_raw_labels_with_gold_give_the_same_bank(call):
    assert call("fit", "scored.csv", "--out", "a.csv")[0] == 0
    assert call("fit", "raw.csv", "--gold", "gold.csv", "--out", "b.csv")[0] == 0
    with open("a.csv") as a, open("b.csv") as b:
        assert a.read() == b.read()


@pytest.mark.parametrize("model", irt.MODELS)
def test_each_model_from_fit_to_score(call, model):
    assert call("fit", "raw.csv", "--gold", "gold.csv", "--model", model.upper(), "--out", "bank.csv")[0] == 0
    os.remove("bank.json")  # the CSV alone is enough
    gold = [] if model == "nominal" else ["--gold", "gold.csv"]
    code, out, err = call("score", "bank.csv", "raw.csv", *gold, "--out", "theta.csv")
    assert code == 0 and "no population beside it" in err and err.count("\n") == 1
    theta = pd.read_csv("theta.csv")
    assert len(theta) == 300 and theta["theta"].std() > 0.7 and theta["percentile_empirical"].isna().all()


def test_nominal_scores_are_the_bank_s_abilities(call):
    call("fit", "raw.csv", "--gold", "gold.csv", "--model", "nominal", "--out", "bank.csv")
    call("score", "bank.csv", "raw.csv", "--out", "theta.csv")
    theta, bank = pd.read_csv("theta.csv"), tables.read_bank("bank.csv")
    np.testing.assert_allclose(theta["theta"], bank.population["theta"], atol=1e-3)
    assert theta["percentile_empirical"].corr(theta["theta"], method="spearman") > 0.99
    text = open("raw.csv").read()
    written("\n".join([*text.splitlines()[:9], "new," + "maybe," * 11 + "maybe"]), "few.csv")
    code, _, err = call("score", "bank.csv", "few.csv", "--out", "theta.csv")
    assert code == 0 and "12 answers with a label that nobody chose at calibration" in err
    assert pd.read_csv("theta.csv").set_index("respondent").at["new", "n_items"] == 0
    err = call("score", "bank.csv", "raw.csv", "--method", "wle", "--out", "t.csv")[2]
    assert "--method wle: a nominal bank is scored by eap" in err


def test_score_rests_on_the_items_that_are_there(call, probes):
    call("fit", "scored.csv", "--out", "bank.csv")
    scored = crowds.score(*probes)
    scored.iloc[:5, 3:].assign(age=30).to_csv("few.csv")
    code, out, err = call("score", "bank.csv", "few.csv", "--out", "theta.csv")
    assert code == 0 and "on 9 items" in out and err.count("\n") == 1
    assert f"3 of the bank's 12 items have no column, so scores rest on the other 9: {scored.columns[0]}, " in err
    bank = tables.read_bank("bank.csv")
    part = irt.ItemBank(bank.items[3:].reset_index(drop=True), bank.population, bank.info)
    found = pd.read_csv("theta.csv", float_precision="round_trip")["theta"]
    assert found.tolist() == ability.score(scored.iloc[:5, 3:], part)["theta"].tolist()
    code, _, err = call("score", "bank.csv", written("id,x,y\na,1,0\n"), "--out", "theta.csv")
    assert code == 2 and "no column is one of the 12 items of bank.csv" in err


def test_a_bank_of_one_s_own_and_banks_that_are_none(call):
    written("item_id;a;b\nx;1;-0.5\ny;1.5;0.1\n", "own.csv")
    answers = written("id\tx\ty\nann\t1\t0\n", "ann.csv")
    assert call("score", "own.csv", answers, "--out", "t.csv")[0] == 0
    for content, words in [
        ("item,a,b\nx,1,0\n", "no column 'item_id'"),
        ("item_id,a,b\nx,1,zero\n", "row 2, column 'b' has the value 'zero'"),
        ("item_id,a,b\nx,1,inf\n", "row 2, column 'b' has the value 'inf'"),
        ("item_id,a,b\nx,1,0\nx,1,0\n", "row 3 repeats 'x'"),
        ("item_id,a,b,c\nx,1,0,1.2\n", "row 2: not 0 <= c < d <= 1"),
        ("item_id,a,b\n", "no items"),
        ("item_id,label,slope,intercept\nx,w,-1,0.5\nx,r,0,0\n", "row 2: an item's labels stand together, gold"),
    ]:
        code, _, err = call("score", written(content, "own.csv"), answers, "--out", "t.csv")
        assert code == 2 and words in err and "own.csv" in err and err.count("\n") == 1
    call("fit", "scored.csv", "--out", "bank.csv")
    os.replace(written("item_id,a,b\nx,1,0\n"), "bank.csv")
    assert "bank.json: not the bank that bank.csv holds" in call("score", "bank.csv", answers, "--out", "t.csv")[2]


# reading


@pytest.mark.parametrize(
    "content",
    [
        'id,"a, 1",ü\nann,1,0\n"b, c",,1\n',
        "\ufeffid;a, 1;ü\r\nann;1,0;0,0\r\nb, c;NA;1\r\n",
        'sep=;\n"";"a, 1";"ü";\n"ann";1;0;\n"b, c";n/a;1.0;\n;;;\n',
        "name\ta, 1\tü\rann\t1\t0\rb, c\t.\t1.00\r",
        "person| a, 1 |ü\n\nann|1|0\n b, c |-| 1\n",
        'respondent,"a, 1",ü\nann,1,0\n"b, c",-9,1\n',
    ],
)
def test_dialects_mean_the_same(content, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(content.encode())
    table = tables.read_scored(path, missing=["-9"])
    assert table.index.tolist() == ["ann", "b, c"] and table.columns.tolist() == ["a, 1", "ü"]
    np.testing.assert_array_equal(table, [[1, 0], [np.nan, 1]])


def test_ids_in_the_first_column_or_none(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("17,18\n1,0\n0,1\n")
    with pytest.warns(UserWarning, match="first column, '17', is read as an item; the respondents are numbered"):
        table = tables.read_scored(path)
    assert table.index.tolist() == ["1", "2"] and table.columns.tolist() == ["17", "18"]
    for header in ("id", "User", ""):  # digits only, but called as ids are
        path.write_text(f"{header},18\n1,0\n0,1\n")
        assert tables.read_scored(path).index.tolist() == ["1", "0"]
    path.write_text("code,18\n007,0\n1,1\n")
    assert tables.read_scored(path).index.tolist() == ["007", "1"]


def test_labels_in_any_case_by_their_initial_or_as_numbers(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("u,i1,i2\na,E,Neutral\nb,entailment,nan\nc,other,n\nd,OTHER,N\n")
    with pytest.warns(UserWarning, match=r"no item's gold label, so always wrong: 'other' \(2\)"):
        table = tables.read_labels(path, {"entailment", "neutral"}, {"i1", "i2"})
    assert table["i1"].tolist() == ["entailment", "entailment", "other", "other"]
    assert table["i2"].tolist() == ["neutral", None, "neutral", "neutral"]
    path.write_text("i1,i2\n2.0,-\n3,1\n1,none\n")
    with pytest.warns(UserWarning, match="numbered"):
        table = tables.read_labels(path, {"1", "2", "3", "-", "none"}, {"i1", "i2"})
    assert table.to_numpy().tolist() == [["2", "-"], ["3", "1"], ["1", "none"]]  # a label is not a missing cell
    path.write_text("u,i1\nx,a\ny,A\n")
    assert tables.read_labels(path, {"a", "A"}, {"i1"})["i1"].tolist() == ["a", "A"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,i1,i2\na,1,2\nb,0,1\n", "x.csv: row 2, item 'i2' has the value '2'. An answer is 1 (right), 0 (wrong)"),
        ("id,i1,i2\na,1,TRUE\nb,0,1\n", "row 2, item 'i2' has the value 'TRUE'"),
        ("id,i1,i2\na,1,-9\nb,0,1\n", "row 2, item 'i2' has the value '-9'. .* --missing"),
        ("id,age,i2\n" + "a,33,0\nb,44,1\nc,55,1\nd,66,1\n", "row 2, item 'age' has the value '33', and 3 more rows"),
        ("id,i1,i1\na,1,0\nb,0,1\n", "item 'i1' has 2 columns"),
        ("id,i1,i2\na,1,0\na,0,1\n", "row 3 repeats the respondent 'a'"),
        ("id,i1,i2\na,1,0\n,0,1\n", "row 3 has no respondent id"),
        ("i1,i2\n1,0\n0,1\n1,1\n7,0\n", "row 4 repeats the respondent '1'; column 'i1' was read as ids, since row 5"),
        ("id,i1,\na,1,0\nb,0,1\n", "an item has no name in row 1"),
        ("id,i1,i2\na,1,0\nb,0\n", "row 3 has 2 cells. Give each row the 3 cells"),
        ("id,i1,i2\na,1,0\n", "1 respondent and 2 items; a scale needs two of each"),
        ("id,i1\na,1\nb,0\n", "2 respondents and 1 item; a scale needs two of each"),
        ("id,i1,i2\n", "there are no respondents"),
        ("id i1 i2\na 1 0\n", "row 1 has 1 cells; write a table with a column an item, separated by commas"),
        ("", "the file is empty"),
        ('id,i1,i2\na,"1,0\n', "row 2 cannot be split into cells"),
        ("id,i1,i2\nJosé,1,0\n".encode("latin-1"), "not UTF-8 text .* line 2"),
        ("id,i1\na,1\n".encode("utf-16"), "not UTF-8 text"),
        (b"PK\3\4", "not a text file; save the table as CSV"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "retain"])
def test_what_cannot_be_meant_is_one_line(call, content, words, command):
    code, out, err = call(command, written(content), "--out", "y.csv")
    assert (code, out) == (2, "") and err.startswith("cift: x.csv: ") and err.count("\n") == 1
    for part in words.split(" .* "):
        assert part in err
    assert not os.path.exists("y.csv")


@pytest.mark.parametrize(
    ("content", "gold", "words"),
    [
        ("u,i1,i2\na,A,B\nb,B,A\n", "item_id,label\ni1,A\n", "item 'i2' has no label in g.csv. Add"),
        ("u,i1,i2\na,1,0\nb,0,1\n", "item_id,label\ni1,A\ni2,B\n", "no answer is a gold label (A, B)"),
        ("u,i1,i2\na,n,0\nb,0,1\n", "item_id,label\ni1,nearly\ni2,not\n", "item 'i1' has the value 'n'"),
        ("u,i1\na,A\nb,B\n", "item_id,label\ni1,A\ni1,B\n", "g.csv: row 3 repeats the item 'i1'"),
        ("u,i1\na,A\nb,B\n", "item,key\ni1,A\n", "g.csv: the columns are item, key; name them item_id, label"),
    ],
)
def test_gold_that_does_not_match(call, content, gold, words):
    code, _, err = call("check", written(content), "--gold", written(gold, "g.csv"))
    assert code == 2 and words in err.splitlines()[-1]


def test_gold_in_other_dialects(call):
    labels = pd.read_csv("gold.csv")
    written("\ufeff" + labels.to_csv(sep=";", index=False), "gold2.csv")
    written("\n".join(" ".join(row) for row in labels.to_numpy()), "gold.txt")
    for name in ("gold2.csv", "gold.txt"):
        assert call("fit", "raw.csv", "--gold", name, "--out", "b.csv")[:2][0] == 0


# where things go


def test_files_are_checked_before_any_work(call):
    os.mkdir("folder")
    written("{}", "other.json")
    for out, words in [
        ("none/bank.csv", "--out none/bank.csv: there is no folder none; make it"),
        ("folder", "--out folder: is a folder"),
        ("scored.csv", "--out scored.csv: would overwrite what was given"),
        ("bank.json", "--out bank.json: name the CSV"),
        ("other.csv", "other.json: would be overwritten, and is not a bank"),
    ]:
        code, _, err = call("fit", "scored.csv", "--out", out)
        assert code == 2 and words in err and err.count("\n") == 1
    assert json.loads(open("other.json").read()) == {}
    for arguments, words in [
        (["fit", "none.csv", "--out", "b.csv"], "none.csv: no such file"),
        (["fit", "scored.csv", "--out", "b.csv", "--model", "5pl"], "--model 5pl: unknown; choose from 1pl, 2pl"),
        (["fit", "scored.csv", "--out", "b.csv", "--method", "ml"], "--method ml: unknown; choose from mml, map"),
        (["fit", "scored.csv", "--out", "b.csv", "--model", "nominal"], "--model nominal: needs raw labels"),
        (["check", "scored.csv", "--model", "nominal"], "--model nominal: unknown; choose from 1pl"),
    ]:
        code, _, err = call(*arguments)
        assert code == 2 and words in err and err.count("\n") == 1


def test_constant_items_and_silent_people_are_said_in_a_line_each(call, probes):
    scored = crowds.score(*probes).assign(easy=1.0)
    scored.iloc[4] = np.nan
    scored.to_csv("x.csv")
    code, out, err = call("fit", "x.csv", "--out", "b.csv")
    assert code == 0 and "12 items (1 left out: easy)" in out
    assert [line.split(":")[:2] for line in err.splitlines()] == [["cift", " note"]] * 2
    assert f"1 respondent answered nothing: {scored.index[4]}" in err and "left out easy: all answers are alike" in err
    assert call("check", "x.csv", "--out", "items.csv")[0] == 0
    assert pd.read_csv("items.csv", index_col=0).at["easy", "flags"] == "all answers alike"


def test_an_unreadable_file(call, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    code, _, err = call("fit", "scored.csv", "--out", "b.csv")
    assert code == 2 and "scored.csv: cannot be read (Permission denied); check its permissions" in err


# check and retain


def test_check_finds_a_copied_item_and_a_reversed_one(call, probes, monkeypatch):
    monkeypatch.setattr("cift.dimensions.REPLICATIONS", 20)
    scored = crowds.score(*probes)
    scored.iloc[:, 3] = 1 - scored.iloc[:, 3]
    scored["copy"] = scored.iloc[:, 0].where(np.arange(300) % 7 > 0, 0)
    scored.to_csv("x.csv")
    code, out, _ = call("check", "x.csv", "--out", "items.csv")
    assert code == 0
    for word in ("reliability", "dimensions", "item fit", "local dependence", "person fit", "items to look at"):
        assert word in out
    items = pd.read_csv("items.csv", index_col="item_id")
    assert items.index.tolist() == scored.columns.tolist()
    assert f"dependent on {scored.columns[0]}" in items.at["copy", "flags"] and "a < 0" in items["flags"].iloc[3]
    bank = irt.calibrate(scored)
    np.testing.assert_allclose(items["s_x2"], diagnostics.item_fit(scored, bank)["s_x2"])
    monkeypatch.setattr("cift.irt_commands.MOST_ITEMS", 5)
    assert "no simulated crowds for over 5 items" in call("check", "x.csv")[1]


def test_check_says_what_sparse_answers_do_not_tell(call, probes):
    rng = np.random.default_rng(0)
    scored = crowds.score(*probes)
    scored.where(rng.random(scored.shape) < 0.08).dropna(how="all").to_csv("x.csv")
    code, out, err = call("check", "x.csv")
    assert code == 0 and "S-X2 not computed" in out and "2pl by map" in out
    assert "maximum likelihood would fail" in err and "Warning" not in err


def test_retain_equals_python(call, probes):
    code, out, _ = call("retain", "raw.csv", "--gold", "gold.csv", "--out", "items.csv")
    expected = diagnostics.retain_items(crowds.score(*probes))
    assert code == 0 and f"retained  {expected['kept'].sum()} of 12 items" in out
    assert pd.read_csv("items.csv")["kept"].tolist() == expected["kept"].tolist()


def test_retain_on_the_published_crowd(call, mirror):
    responses, gold = crowds.load_crowd("lalor2016")["G5"]
    items = crowds.groups(gold, "G5")["5GS-E"]
    responses[items].to_csv("answers.csv")
    gold.to_csv("key.csv")
    code, out, err = call("retain", "answers.csv", "--gold", "key.csv", "--out", "items.csv")
    assert (code, err) == (0, "") and "retained  28 of 30 items, by the answers of 983 respondents" in out
    kept = pd.read_csv("items.csv")["kept"]
    assert (kept.index[~kept] + 1).tolist() == [1, 22]  # as published


def test_help_names_what_there_is(capsys):
    for command, words in [
        ([], ["fit", "score", "check", "retain", "GOLD.csv:"]),
        (["fit"], [*irt.MODELS, *irt.METHODS]),
        (["score"], [*ability.METHODS]),
    ]:
        with pytest.raises(SystemExit) as done:
            cli.main(["irt", *command, "--help"])
        told = capsys.readouterr().out
        assert done.value.code == 0 and all(word in told for word in words)
