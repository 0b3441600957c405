"""The page holds what the records say, and nothing from elsewhere."""

import json
import subprocess
import sys

import matplotlib
import pytest
from small_study import RECORD

from cift import arms, claims, cli, report
from cift.errors import InputError

matplotlib.use("Agg")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(RECORD))
    (tmp_path / "other.json").write_text('{"comparison": "snli"}')
    numbers = {"results": [{"what": "theta <of> a test", "published": 0.5, "measured": 0.501, "n": 30}]}
    (tmp_path / report.PUBLISHED).write_text(json.dumps(numbers))
    return tmp_path


def test_the_page_is_whole_and_self_contained(folder):
    html = report.page(*report.read_records(folder))
    for claim in claims.CLAIMS:
        assert claim.words.replace("'", "&#x27;") in html or claim.words in html
    assert all(arm in html for arm in arms.ARMS) and "no such corpus" in html
    assert "theta &lt;of&gt; a test is 0.500" in html and "data:image/png;base64," in html
    assert "http" not in html and "<script" not in html and "<link" not in html


def test_claims_and_report_on_the_command_line(folder, capsys):
    assert cli.main(["claims", "--records", str(folder), "--csv", str(folder / "claims.csv")]) == 0
    told = capsys.readouterr().out
    assert claims.CLAIMS[0].words in told and "cift case-study --study tiny" in told
    assert (folder / "claims.csv").read_text().count("\n") == 1 + len(claims.CLAIMS) + 2 + 1
    assert cli.main(["report", "--records", str(folder), "--out", str(folder / "new" / "page.html")]) == 0
    assert (folder / "new" / "page.html").read_text().startswith("<!doctype html>")


def test_a_reader_who_has_enough_is_no_error(folder):
    command = f'"{sys.executable}" -m cift.cli claims --records "{folder}" | true'
    assert subprocess.run(command, shell=True, capture_output=True, text=True).stderr == ""


def test_no_record_is_one_clear_error(tmp_path, capsys):
    with pytest.raises(InputError, match="no study's record there; make one with cift case-study"):
        report.read_records(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    assert cli.main(["report", "--records", str(tmp_path)]) == 2
    assert "broken.json: not JSON" in capsys.readouterr().err
