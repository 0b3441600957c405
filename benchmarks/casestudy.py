"""The embedded case study's grid against training every cell by a plain Trainer loop, as a ratio in one run.

python benchmarks/casestudy.py --json build/casestudy.json       see README.md beside this file

Both start from the same base model, with the same lessons, strategy, learning rate, epochs and batch size. The plain
loop does for every cell what a script would: load the base model, freeze its lower layers, tokenize, train with
`transformers.Trainer`, predict the held-out items and the test set. It is timed on all cells of one seed; its seconds a
cell are compared with those of the whole grid.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from cift import arms, casestudy, finetuning, models, outcomes, strategies
from cift.studies import HeldOut, Study, load_study

WANTED = 5.0  # times as fast
GROUPS = ("5GS-E", "5GS-N", "5GS-C", "4GS-N", "4GS-C")
SEEDS = range(5)
RATE, EPOCHS = 1e-4, 3


def plain_cell(study: Study, folder: str, held: HeldOut, arm: str, seed: int) -> dict[str, Any]:
    """One cell by the Trainer of transformers, in float32, each batch padded to its longest pair."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    model, tokenizer = models.load(folder, study.base.features["label"].names)
    lesson = arms.lesson(arm, study, held, seed)
    recipe = study.recipe
    strategies.freeze(model, **recipe.options)

    def encoded(corpus, targets=None):
        rows = tokenizer(corpus["premise"][:], corpus["hypothesis"][:], truncation=True, max_length=recipe.max_length)
        examples = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
        if targets is not None:
            examples = [row | {"labels": target} for row, target in zip(examples, targets.tolist(), strict=True)]
        return examples

    class CrowdTrainer(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **_):
            from cift.losses import LOSSES

            targets = inputs.pop("labels")
            output = model(**inputs)
            loss = LOSSES[arms.ARMS[arm].loss](output.logits, targets)
            return (loss, output) if return_outputs else loss

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch, seed=seed, learning_rate=RATE, num_train_epochs=EPOCHS,
            per_device_train_batch_size=recipe.batch_size, per_device_eval_batch_size=finetuning.EVAL_BATCH,
            warmup_steps=recipe.warmup, weight_decay=recipe.weight_decay, report_to="none", save_strategy="no",
            disable_tqdm=True, logging_strategy="no", remove_unused_columns=False, dataloader_pin_memory=False,
        )  # fmt: skip
        learnt = encoded(lesson, arms.targets(arm, lesson, study.distributions)) if lesson is not None else []
        trainer = CrowdTrainer(model, arguments, train_dataset=learnt, data_collator=DataCollatorWithPadding(tokenizer))
        if learnt:
            trainer.train()
        tables = []
        for corpus in (held.items, held.people, study.test):
            logits = trainer.predict(encoded(corpus)).predictions
            names = corpus.features["label"].names
            table = pd.DataFrame(logits.astype(float), columns=[f"logit_{name}" for name in names])
            table["item_id"], table["label"] = corpus["item_id"][:], [names[code] for code in corpus["label"]]
            tables.append(table.assign(predicted=[names[code] for code in logits.argmax(1)]))
    items, people, test = tables
    measured = outcomes.on_scale(items, held.bank, people, study.distributions)
    return {"arm": arm, "seed": seed, **measured, **outcomes.on_test(test, None, None)}


def grid(study: Study, model: str, jobs: int) -> tuple[float, pd.DataFrame]:
    """Seconds and results of all cells by `casestudy.run`, with no choice of settings and an empty ledger.

    The seconds hold what starts with every run: worker processes, encoding, the frozen layers' states, and the one
    trial of each kind of arm and scale that is left of the search.
    """
    casestudy.FACTORS, casestudy.EPOCHS = (1,), (EPOCHS,)
    casestudy.run(study, [0], model, [arms.BASELINE])  # trains the base model
    start = time.perf_counter()
    record = casestudy.run(study, SEEDS, model, arms.MAIN, jobs)
    return time.perf_counter() - start, pd.DataFrame(record["results"])


def main() -> None:
    import finetuning as about

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes of the grid (2)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write a record of the run")
    given = parser.parse_args()
    machine = about.machine()
    whole = load_study("embedded")
    study = replace(
        whole,
        held_out={name: whole.held_out[name] for name in GROUPS},
        recipe=replace(whole.recipe, learning_rate=RATE),
    )
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CIFT_CACHE"] = cache
        seconds, results = grid(study, "minilm", given.jobs)
        folder = str(next(Path(cache, "base").iterdir()))
        plain, start = [], time.perf_counter()
        for name, held in study.held_out.items():
            for arm in arms.MAIN:
                plain.append(plain_cell(study, folder, held, arm, 0) | {"held_out": name})
        plain_seconds = time.perf_counter() - start
    ours = results.pivot(index=["held_out", "arm"], columns="seed", values="test_accuracy")
    theirs = pd.DataFrame(plain).set_index(["held_out", "arm"])["test_accuracy"]
    apart = pd.DataFrame(
        {"plain": theirs, "mean": ours.mean(axis=1), "lowest": ours.min(axis=1), "highest": ours.max(axis=1)}
    )
    a_cell = {"plain": plain_seconds / len(plain), "cift": seconds / len(results)}
    times = a_cell["plain"] / a_cell["cift"]
    print(apart.groupby("arm").mean().round(3).to_string(), end="\n\n")
    print(f"{len(results)} cells in {seconds:.0f} s by cift, {len(plain)} in {plain_seconds:.0f} s by the plain loop")
    print(
        f"a cell: {a_cell['cift']:.2f} s against {a_cell['plain']:.2f} s, {times:.1f} times as fast (wanted {WANTED})"
    )
    if given.json:
        record = {"machine": machine, "cells": {"plain": len(plain), "cift": len(results)}, "seconds_a_cell": a_cell}
        record |= {"times": times, "wanted": WANTED, "jobs": given.jobs}
        record["test_accuracy"] = apart.reset_index().round(4).to_dict("list")
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
