"""`cift fine-tune`: a folder with all of a run, resumed and not repeated; a recipe in words; one line for bad input."""

import json

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from cift import cli, evaluation, finetuning, strategies
from cift.corpora import to_dataset
from cift.errors import InputError
from cift.fine_tune_command import check_launch, fine_tune, read_recipe, read_source
from cift.recipe import Recipe

SETTINGS = ["epochs=5", "learning_rate=2e-3", "batch_size=8"]


@pytest.fixture
def lesson(pairs, tmp_path):
    """The pairs as a file."""
    table = pairs.to_pandas()
    table["label"] = [pairs.features["label"].names[i] for i in table["label"]]
    table.to_csv(tmp_path / "lesson.csv", index=False)
    return str(tmp_path / "lesson.csv")


def test_a_run_leaves_model_predictions_record_and_figure(lesson, pairs, tiny_model, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["fine-tune", lesson, "--validation", lesson, "--test", lesson, "--model", tiny_model, "--out", str(out)]
    command += ["--strategy", "frozen", "--recipe", *SETTINGS, 'options={"trainable_layers": 3}', "--seed", "3"]
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert "30 steps on 48 pairs" in told and "on test" in told and str(out) in told
    assert {path.name for path in out.iterdir()} == {
        "model", "record.json", "learning-curve.png", "learning-curve.svg", "validation.csv", "test.csv",
    }  # fmt: skip
    record = json.loads((out / "record.json").read_text())
    wanted = {"strategy": "frozen", "options": {"trainable_layers": 3}, "epochs": 5, "batch_size": 8}
    assert record["run"]["recipe"].items() >= wanted.items() and record["run"]["seed"] == 3
    assert record["run"]["pairs"] == {"train": 48, "validation": 48, "test": 48}
    assert record["run"]["processes"] == 1 and record["run"]["trainable"] < record["run"]["total"]
    assert record["history"][-1]["step"] == 30 and "validation_accuracy" in record["history"][-1]
    table = pd.read_csv(out / "test.csv")
    assert evaluation.accuracy(table) == record["results"]["test"]["accuracy"]
    model, tokenizer = strategies.load(out / "model"), AutoTokenizer.from_pretrained(out / "model")
    again = finetuning.predict(model, finetuning.encode(pairs, tokenizer), pairs)
    pd.testing.assert_frame_equal(again, table, atol=1e-6)

    written = (out / "record.json").stat().st_mtime_ns
    assert cli.main(command) == 0
    assert capsys.readouterr().out.startswith("finished  already")
    assert (out / "record.json").stat().st_mtime_ns == written
    assert cli.main([*command[:-1], "4"]) == 2
    assert "holds a run of other data, settings or versions" in capsys.readouterr().err


def test_an_interrupted_run_goes_on(lesson, tiny_model, tmp_path, monkeypatch):
    whole = load_file(_run(lesson, tiny_model, tmp_path / "whole"))
    real, calls = finetuning.collate, iter(range(1000))

    def stop(*given, **named):
        if next(calls) == 20:
            raise KeyboardInterrupt
        return real(*given, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finetuning, "collate", stop)
        _run(lesson, tiny_model, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "record.json").exists()
    resumed = load_file(_run(lesson, tiny_model, tmp_path / "stopped"))
    record = json.loads((tmp_path / "stopped" / "record.json").read_text())
    assert record["run"]["steps"] == 30
    assert all(torch.allclose(weights, resumed[name], atol=1e-6) for name, weights in whole.items())
    assert not list((tmp_path / "stopped").glob("unfinished*"))


def _run(lesson, model, out):
    fine_tune(lesson, out, model=model, recipe=SETTINGS)
    return out / "model" / "model.safetensors"


def test_a_recipe_in_words(file):
    written = file('{"epochs": 7, "betas": [0.8, 0.9], "strategy": "lora"}', "recipe.json")
    found = read_recipe([str(written), "epochs=3", "loss=mse", 'options={"rank":4}', "clip=null"])
    assert found == Recipe(
        epochs=3, betas=(0.8, 0.9), strategy="lora", loss="mse", options={"rank": 4}, clip=None, learning_rate=None
    )
    assert read_recipe([]) == Recipe(learning_rate=None)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epoch=3", "there is no setting epoch; choose from loss, epochs"),
        ("epochs=three", "epochs is 'three'; it must be a whole number"),
        ("nowhere.json", "--recipe nowhere.json: neither name=value nor a file of settings"),
        ("broken.json", "broken.json: not JSON"),
        ("list.json", "list.json: not a JSON object of settings"),
    ],
)
def test_bad_recipes_are_one_line(setting, words, file, tmp_path, monkeypatch, capsys):
    file("{", "broken.json"), file("[1]", "list.json")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fine-tune", "scenes@train", "--out", "out", "--recipe", setting]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_sources(lesson, tmp_path):
    assert (len(read_source("scenes@validation")), len(read_source("scenes@test"))) == (1000, 2000)
    (tmp_path / "with@sign.csv").write_text((tmp_path / "lesson.csv").read_text())
    assert len(read_source(str(tmp_path / "with@sign.csv"))) == 48
    with pytest.raises(InputError, match="corpus 'scenes' has no split None; its splits: train"):
        read_source("scenes")


def test_other_labels_are_refused_before_training(lesson, tiny_model, tmp_path, monkeypatch):
    two_way = to_dataset(
        pd.DataFrame({"item_id": ["1"], "premise": ["a"], "hypothesis": ["b"], "label": ["entailment"]}),
        labels=["entailment", "not_entailment"],
    )
    monkeypatch.setattr("cift.fine_tune_command.read_source", {lesson: read_source(lesson), "rte": two_way}.get)
    with pytest.raises(InputError, match="--test: its labels are entailment, not_entailment, those of the training"):
        fine_tune(lesson, tmp_path / "out", test="rte", model=tiny_model)
    assert not (tmp_path / "out").exists()


def test_launches_that_would_do_something_else_are_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    check_launch(Recipe())
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(InputError, match="mixed_precision is bf16; set it to no"):
        check_launch(Recipe())
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setattr(finetuning, "device", lambda: torch.device("cuda"))
    for recipe, words in ((Recipe(strategy="lora"), "not with lora"), (Recipe(patience=1), "patience 1")):
        with pytest.raises(InputError, match=f"FSDP: .*{words}"):
            check_launch(recipe)
    monkeypatch.setattr(finetuning, "device", lambda: torch.device("cpu"))
    with pytest.raises(InputError, match="FSDP spreads a model over GPUs, and there is none"):
        check_launch(Recipe())
