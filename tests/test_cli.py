"""The command line: exit codes, one-line errors, files where they were asked for."""

import json
import subprocess
import sys
import time

import pytest
from small_study import RECORD

from cift import casestudy, cli, studies


def test_version_and_start_are_quick():
    start = time.perf_counter()
    code = "import cift, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert time.perf_counter() - start < 5
    assert not {"torch", "transformers", "pandas", "matplotlib", "datasets"} & set(done.stdout.split())
    done = subprocess.run([sys.executable, "-m", "cift.cli", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "cift")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["case-study", "--study", "rte"], "study 'rte': unknown; choose from embedded"),
        (["case-study", "--seeds", "0"], "--seeds 0: need at least 1"),
        (["compare", "--corpus", "none-such"], "no corpus is called 'none-such'"),
        (["compare", "--corpus", "scenes", "--strategies", "magic"], "strategy 'magic' is unknown; choose from full"),
        (["compare", "--corpus", "scenes", "--seeds", "1"], "comparison: seeds is 1; an interval needs 2"),
        (["compare", "--corpus", "scenes", "--sizes", "20000"], "comparison: sizes go up to 20000, but"),
        (["compare", "--test-pairs", "0"], "--test-pairs 0: need at least 1"),
        (["notebook", "99_none"], "notebook '99_none': unknown; choose from 00_start_here"),
        (["notebook", "00_start_here", "--profile", "huge"], "profile 'huge': unknown; choose from quick"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, words, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"cift: {words}") and error.count("\n") == 1


def test_an_unknown_model_is_one_line(capsys):
    assert cli.main(["case-study", "--model", "no-such-model"]) == 2
    assert "model 'no-such-model': cannot be loaded" in capsys.readouterr().err


def test_ctrl_c_and_a_full_disk(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(studies, "load_study", lambda name: None)
    monkeypatch.setattr(casestudy, "run", interrupt)
    assert cli.main(["case-study"]) == 130
    assert "goes on from there" in capsys.readouterr().err
    monkeypatch.setattr(casestudy, "run", full)
    assert cli.main(["case-study"]) == 2
    assert "No space left on device; free space" in capsys.readouterr().err


def test_record_and_figure_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(casestudy, "run", lambda *_: RECORD)
    monkeypatch.setattr(studies, "load_study", lambda name: name)
    out, stem = tmp_path / "new" / "record.json", tmp_path / "new" / "figure"
    assert cli.main(["case-study", "--json", str(out), "--figure", str(stem)]) == 0
    assert json.loads(out.read_text()) == RECORD
    assert sorted(path.name for path in out.parent.iterdir()) == ["figure.png", "figure.svg", "record.json"]
    told = capsys.readouterr().out
    assert str(out) in told and "left out: SICK items (no such corpus)" in told


def test_compare_trains_prints_and_draws(tiny_model, tmp_path, monkeypatch, capsys):
    bill = {"seconds_per_1000": 1.0, "loaded_mb": 500.0, "memory_mb": 600.0, "disk_mb": 0.1}
    monkeypatch.setattr("cift.comparison.cost", lambda *_: bill)
    monkeypatch.setattr("cift.comparison.STEPS", 2)
    out, stem = tmp_path / "new" / "record.json", tmp_path / "new" / "figure"
    grid = f"--corpus scenes --models {tiny_model} --strategies full,bitfit --sizes 8 --seeds 2 --test-pairs 20"
    command = ["compare", *grid.split(), "--json", str(out), "--figure", str(stem)]
    assert cli.main([*command, "--minutes", "1e-9"]) == 0
    told = capsys.readouterr().out
    assert "not finished: 6 of search, 2 of cost, 4 of results are missing" in told and "figure" not in told
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert "bitfit, less full" in told and str(out) in told and "not finished" not in told
    assert len(json.loads(out.read_text())["results"]) == 4
    drawn = {f"figure-{name}.{kind}" for name in ("sizes", "parameters", "cost") for kind in ("png", "svg")}
    assert {path.name for path in out.parent.iterdir()} == drawn | {"record.json"}


def test_doctor_reports_and_says_what_to_do(capsys, monkeypatch):
    assert cli.main(["doctor"]) == 0
    told = capsys.readouterr().out
    for words in ("transformers", "hash verified", "scenes        15000 pairs", "probes        180 pairs", "not yet"):
        assert words in told
    monkeypatch.setattr("cift.models.embedded_minilm", lambda: None)
    assert cli.main(["doctor"]) == 1
    assert "MISSING: run `make install`" in capsys.readouterr().out
