"""A cell of a study, and what all its cells share: the base model, and every item's row, encoded once.

Where the recipe freezes a prefix of the model, the rows are the prefix's output, computed once; cells then train and
run the rest only (`cift.features`).
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift import arms, evaluation, features, finetuning, models, outcomes, reliability
from cift.ability import place
from cift.arms import ARMS, OWN
from cift.errors import Diverged, InputError
from cift.splits import split
from cift.strategies import prepare, settings

if TYPE_CHECKING:
    from datasets import Dataset

    from cift.finetuning import Row
    from cift.recipe import Recipe
    from cift.studies import Study

SET_ASIDE, VALIDATION = 0.2, 500  # what a trial is judged by: this share of the lesson, and so many validation pairs


@dataclass(frozen=True)
class _Student:
    """A model that has learnt a lesson, the temperature of its logits, and what the test set tells of it."""

    lesson: tuple
    model: Any
    temperature: float
    diverged: bool
    test: dict[str, Any]


class Bench:
    """A study's items as rows for one base model, on which the cells are worked.

    folder: where the base model is. recipe: of the fine-tunings; arms set its loss, trials its rate and epochs.
    """

    def __init__(self, study: Study, folder: str, recipe: Recipe) -> None:
        self.study, self.recipe = study, recipe
        self.student: _Student | None = None
        self.validation = study.validation.select(range(min(VALIDATION, len(study.validation))))
        self.base, tokenizer = models.load(folder, study.base.features["label"].names)
        corpora = [study.pool, study.test, self.validation]
        corpora += [corpus for corpus in (study.other, study.base_test) if corpus is not None]
        corpora += [corpus for held in study.held_out.values() for corpus in (held.items, held.supplement, held.people)]
        self.rows: dict[str, Row] = {}
        for corpus in corpora:
            new = corpus.select([i for i, item in enumerate(corpus["item_id"]) if item not in self.rows])
            rows = finetuning.encode(new, tokenizer, recipe.max_length)
            self.rows.update(zip(new["item_id"], rows, strict=True))
        self.cut = False
        if recipe.strategy in finetuning.CUT:
            try:
                prefix, self.base = features.cut(self.base, **settings(recipe.strategy, recipe.options))
            except InputError:  # a model that freezes its layers in its own way, and is trained whole
                return
            states = features.cache_states(prefix, list(self.rows.values()), finetuning.uses_bf16(recipe.precision))
            self.rows, self.cut = dict(zip(self.rows, states, strict=True)), True

    def trial(self, arm: str, held_out: str, seed: int, rate: float, epochs: int) -> dict[str, Any]:
        """What settings are worth: log_loss of the gold labels in nats; None where training diverges.

        The mean of two: on a share of the lesson that is set aside, and on validation pairs of the base corpus.
        """
        lesson = self._lesson(arm, held_out, seed)
        parts = split(lesson, {"learnt": 1 - SET_ASIDE, "aside": SET_ASIDE}, seed)
        try:
            model = self._trained(arm, parts["learnt"], seed, rate, epochs)
        except Diverged:
            return {"log_loss": None}
        losses = [evaluation.log_loss(self._predict(model, corpus)) for corpus in (parts["aside"], self.validation)]
        return {"log_loss": float(np.mean(losses))}

    def cell(self, arm: str, held_out: str, seed: int, rate: float | None, epochs: int | None) -> dict[str, Any]:
        """Let a copy of the base model learn the arm's lesson, and measure it: the numbers of one result.

        A lesson that was learnt in the call before, for another held-out scale, is not learnt again. A training that
        diverges, or a temperature that cannot be fitted, leaves the base model as it is: `diverged`.
        """
        start = time.perf_counter()
        held = self.study.held_out[held_out]
        lesson = self._lesson(arm, held_out, seed)
        ids = None if lesson is None else tuple(lesson["item_id"])
        if self.student is None or self.student.lesson != (arm, ids, seed, rate, epochs):
            self.student = self._taught(arm, lesson, (arm, ids, seed, rate, epochs))
        student = self.student
        found, people = (
            self._predict(student.model, corpus, student.temperature) for corpus in (held.items, held.people)
        )
        return {
            "n_train": len(ids) if ids and ARMS[arm].trains else 0,
            "diverged": student.diverged,
            **outcomes.on_scale(found, held.bank, people, self.study.distributions),
            **student.test,
            "seconds": round(time.perf_counter() - start, 2),
        }

    def _taught(self, arm: str, lesson: Dataset | None, key: tuple) -> _Student:
        _, _, seed, rate, epochs = key
        model, temperature, diverged = self.base, 1.0, False
        if ARMS[arm].trains:
            try:
                model = self._trained(arm, lesson, seed, rate, epochs)
            except Diverged:
                diverged = True
        elif ARMS[arm].loss == "temperature":
            answers = self._predict(model, lesson)
            try:
                temperature = reliability.fit_temperature(answers, self.study.distributions)
            except InputError:  # none is best: the model knows nothing of these people's answers
                diverged = True
        study = self.study
        test = self._predict(model, study.test, temperature)
        base = self._predict(model, study.base_test, temperature) if study.base_test is not None else None
        parts = study.test["part"][:] if "part" in study.test.column_names else None
        return _Student(key, model, temperature, diverged, outcomes.on_test(test, base, parts))

    def _trained(self, arm: str, lesson: Dataset, seed: int, rate: float, epochs: int) -> Any:
        """A copy of the base model, fine-tuned."""
        recipe = replace(self.recipe, loss=ARMS[arm].loss or "", learning_rate=rate, epochs=epochs)
        model: Any = copy.deepcopy(self.base)
        if not self.cut:  # what is frozen has been cut off already
            model = prepare(model, recipe.strategy, recipe.options, seed)
        rows = [self.rows[item] for item in lesson["item_id"]]
        finetuning.train(model, rows, arms.targets(arm, lesson, self.study.distributions), recipe, seed, progress=False)
        return model

    def _predict(self, model: Any, corpus: Dataset, temperature: float = 1.0) -> pd.DataFrame:
        found = finetuning.predict(model, [self.rows[item] for item in corpus["item_id"]], corpus)
        return reliability.scale(found, temperature)

    def _lesson(self, arm: str, held_out: str, seed: int) -> Dataset:
        held = self.study.held_out[held_out]
        theta = self._abilities[held_out] if ARMS[arm].by == OWN else None
        return arms.lesson(arm, self.study, held, seed, theta)

    @cached_property
    def _abilities(self) -> dict[str, pd.Series]:
        """The base model's theta on the scales of what may be learnt: held_out -> scale -> theta."""
        found = {}
        for name, held in self.study.held_out.items():
            answers = self._predict(self.base, held.supplement)
            thetas = {bank.info["scale"]: place(answers, bank)["theta"].iloc[0] for bank in held.banks}
            found[name] = pd.Series(thetas, dtype=float)
        return found
