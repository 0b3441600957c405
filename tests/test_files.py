import pandas as pd
import pyarrow.parquet
import pytest

from cift.errors import InputError
from cift.files import parse_csv, read_rows, read_table


def test_cells_are_text_and_missing_cells_are_empty(tmp_path):
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"a": 1, "b": null}\n\n{"a": [1, "é"], "c": true}\n', encoding="utf-8")
    table = read_table(path)
    assert table.to_dict("list") == {"a": ["1", '[1, "é"]'], "b": ["", ""], "c": ["", "True"]}
    assert table.index.tolist() == [1, 3]
    numbers = pd.DataFrame({"a": [1.5, None], "b": ["NA", None], "c": [[1, 2], []]})
    numbers.to_parquet(tmp_path / "numbers.parquet")
    table = read_table(tmp_path / "numbers.parquet")
    assert table.to_dict("list") == {"a": ["1.5", ""], "b": ["NA", ""], "c": ["[1, 2]", "[]"]}


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
        ("a.jsonl", '{"a": "\\ud83d!"}\n', r"line 1 has half a character, '\\ud83d'"),
        ("a.parquet", "no parquet", "a.parquet: not a readable parquet file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)


def test_rows_that_can_be_read_beside_those_that_cannot(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n\n4,5\n")
    rows = read_rows(tmp_path / "a.csv")
    assert rows.problems == [(3, "row 3 has 1 cells")] and rows.remedy.startswith("Give each row the 2 cells")
    assert rows.table.to_dict("index") == {2: {"a": "1", "b": "2"}, 5: {"a": "4", "b": "5"}}
    with pytest.raises(InputError, match="t: row 3 has 1 cells. Give each row the 2 cells"):
        parse_csv("a,b\n1,2\n3\n", "t")


def test_columns_that_only_some_lines_have(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"b": NaN}\n{"a": "x", "b": 2}\n')
    table = read_table(tmp_path / "a.jsonl")
    assert table.to_dict("list") == {"a": ["1", "", "x"], "b": ["", "", "2"]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_spreadsheets_separator_is_found(tmp_path, delimiter):
    (tmp_path / "a.csv").write_text(f'a{delimiter}b\r\n"1{delimiter} 2"{delimiter}"x; y, z"\r\n')
    assert read_table(tmp_path / "a.csv").to_dict("list") == {"a": [f"1{delimiter} 2"], "b": ["x; y, z"]}


def test_whole_numbers_of_parquet_stay_whole_where_one_is_missing(tmp_path):
    columns = [pyarrow.array([2**53 + 1, None]), pyarrow.array([0.5, None])]
    pyarrow.parquet.write_table(pyarrow.table(columns, names=["a", "b"]), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").to_dict("list") == {"a": ["9007199254740993", ""], "b": ["0.5", ""]}
    pyarrow.parquet.write_table(pyarrow.table(columns, names=["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="two columns are called 'a'"):
        read_table(tmp_path / "a.parquet")
