"""The simulated crowd of the probes: 1,000 respondents per stratum with known abilities and items.

Answers come from a nominal response model (Bock 1972) over the labels,

    P(k | theta)  proportional to  exp(slope_k theta + intercept_k),

in which the gold label has slope a and intercept -a b, and the two wrong labels have slope 0 and
intercepts log s and log(1 - s): s is the share of the more tempting one among wrong answers. The gold
label then has probability sigmoid(a (theta - b)), a 2PL exactly, so the a and b below are the truth that a
calibration of the scored answers should find.

And, for any items with gold labels, a simulated sparse crowd of respondents of known kinds (`sparse_answers`); and the
files that a simulated class hands in for a questionnaire of the probes (`hand_in`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, roots_hermitenorm, softmax

from cift import questionnaire
from cift.corpora import LABELS, data_dir, scale_name
from cift.errors import InputError
from cift.files import one_message, read_table, write_text

SEED = 2016
RESPONDENTS = 1000
MISSING = 0.002  # share of answers that are missing

# Mean share of right answers of the human crowd, to which the simulated groups are set (Lalor et al. 2016 data).
ACCURACY = {
    "5GS-E": 0.929, "5GS-N": 0.842, "5GS-C": 0.671,
    "4GS-E": 0.798, "4GS-N": 0.747, "4GS-C": 0.535,
}  # fmt: skip


def item_truth(probes: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """True parameters of the probes: index `item_id`, columns `a`, `b` and `s_<label>` of the wrong labels.

    An item's difficulty follows the author's judgement (1 to 5, in `probes`), 0.45 a step, plus noise with
    standard deviation 0.25; each group is shifted so that its expected share of right answers is ACCURACY.
    """
    theta, weights = roots_hermitenorm(61)
    tables = []
    for (stratum, label), group in probes.groupby(["stratum", "label"], sort=False):
        a = np.exp(rng.normal(np.log(1.6), 0.3, len(group)))
        relative = 0.45 * group["difficulty"].to_numpy(float) + rng.normal(0, 0.25, len(group))

        wanted = ACCURACY[scale_name(str(stratum), str(label))]

        def surplus(shift, a=a, relative=relative, wanted=wanted):
            return (weights @ expit(a * (theta[:, None] - relative - shift))).mean() / weights.sum() - wanted

        share = rng.uniform(0.6, 0.9, len(group))
        truth = pd.DataFrame({"a": a, "b": relative + brentq(surplus, -12, 12)}, index=group["item_id"])
        for other in LABELS:
            tempting = (group["distractor"] == other).to_numpy()
            truth[f"s_{other}"] = np.where(other == label, 0.0, np.where(tempting, share, 1 - share))
        tables.append(truth)
    return pd.concat(tables).round(6)


def respond(truth: pd.DataFrame, gold: pd.Series, theta: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Answers of respondents with abilities theta: a wide table of labels, MISSING of them None."""
    a, b = truth["a"].to_numpy(), truth["b"].to_numpy()
    is_gold = np.array([[gold[item] == label for label in LABELS] for item in truth.index])  # (items, labels)
    with np.errstate(divide="ignore"):
        intercept = np.log(truth[[f"s_{label}" for label in LABELS]].to_numpy())
    utility = np.where(is_gold, (a * (theta[:, None] - b))[:, :, None], intercept)
    cumulative = softmax(utility, axis=2).cumsum(axis=2)
    chosen = (rng.random((*utility.shape[:2], 1)) > cumulative[:, :, :-1]).sum(axis=2)
    answers = np.array(LABELS, dtype=object)[chosen]
    answers[rng.random(answers.shape) < MISSING] = None
    return pd.DataFrame(answers, columns=truth.index)


def write_crowd(folder: Path | None = None, seed: int = SEED) -> None:
    """Write the crowd's files beside the probes, in the form of the public human data, and the truth.

    irt_file_5.csv, irt_file_4.csv (answers), group_5.txt, group_4.txt (gold labels), truth_items.csv and
    truth_respondents.csv. The same seed gives the same files.
    """
    folder = folder or data_dir() / "probes"
    probes = read_table(data_dir() / "probes" / "probes.csv")
    rng = np.random.default_rng(seed)
    gold = probes.set_index("item_id")["label"]
    truth = item_truth(probes, rng)
    abilities = []
    for number in (5, 4):
        items = probes.loc[probes["stratum"] == f"G{number}", "item_id"]
        theta = rng.standard_normal(RESPONDENTS).round(6)
        answers = respond(truth.loc[items], gold, theta, rng)
        answers.index = pd.Index([f"sim{number}-{i:04d}" for i in range(1, RESPONDENTS + 1)], name="userid")
        initials = answers.map(lambda label: label[0] if label else "na")
        write_text(folder / f"irt_file_{number}.csv", initials.to_csv(lineterminator="\n"))
        write_text(folder / f"group_{number}.txt", "".join(f"{item} {gold[item]}\n" for item in items))
        abilities.append(pd.DataFrame({"stratum": f"G{number}", "theta": theta}, index=answers.index))
    write_text(folder / "truth_items.csv", truth.to_csv(lineterminator="\n"))
    write_text(folder / "truth_respondents.csv", pd.concat(abilities).to_csv(lineterminator="\n"))


# a sparse crowd of known kinds


class Kind(NamedTuple):
    """How one kind of simulated respondent answers; `sparse_answers` says how these are used."""

    skill: float  # log-odds of the gold label on an item of middle difficulty, at the first answer
    change: float  # what practice or fatigue adds to it in the long run
    guesses: float  # share of answers given without reading
    favourite: bool  # guesses are always one label, else any
    seconds: float  # median of an answer


KINDS = {
    "careful": Kind(3.0, 0.0, 0.0, False, 25.0),
    "average": Kind(2.0, 0.0, 0.0, False, 18.0),
    "hasty": Kind(1.0, 0.0, 0.0, False, 8.0),
    "learning": Kind(0.5, 2.5, 0.0, False, 20.0),
    "tiring": Kind(2.5, -2.5, 0.0, False, 18.0),
    "biased": Kind(2.0, 0.0, 0.3, True, 18.0),
    "constant": Kind(0.0, 0.0, 1.0, True, 3.0),
    "random": Kind(0.0, 0.0, 1.0, False, 3.0),
}
SPAMMERS = ("constant", "random")
SHARES = {
    "careful": 0.3, "average": 0.35, "hasty": 0.08, "learning": 0.05,
    "tiring": 0.05, "biased": 0.05, "constant": 0.05, "random": 0.07,
}  # fmt: skip

_BATCH = 20  # items that are given out together, as on snow2008
_TAIL = 0.65  # Pareto exponent of how much people do: ten then give .39 to .57 of all answers (snow2008: .50)
_PACE = 40  # answers after which practice or fatigue has done 63 % of what it will do


def sparse_answers(
    gold: pd.Series,
    n_respondents: int = 164,
    answers_per_item: int = 10,
    seed: int = SEED,
    kinds: Mapping[str, float] = SHARES,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulated answers of a paid crowd to items with these gold labels, and what each respondent is.

    Items go out in batches of 20; most respondents take one, a few take very many (the defaults are those of
    snow2008). At their t-th answer to item i a respondent who reads is right with log-odds
    skill + change (1 - exp(-(t - 1) / 40)) + ease_i + own, with ease_i and own standard normal times 1 and 0.3; wrong
    answers fall on the other labels alike. Seconds are log-normal around the kind's median, with deviation 0.4.

    Parameters
    ----------
    gold
        item_id -> label, at least two labels.
    kinds
        Share of each kind (names in `KINDS`) among respondents; they are scaled to sum to 1.

    Returns
    -------
    (answers, truth)
        answers: respondent ("sim-001", ...), item_id, answer, order (from 1, a respondent's own), seconds.
        truth: index respondent; kind, spammer, n.

    Raises
    ------
    InputError
        One message: an unknown kind, shares below 0 or all 0, an item without label, fewer than two labels, more
        answers an item than respondents, fewer batches than respondents need.
    """
    n_batches = -(-len(gold) // _BATCH)
    problems = [f"the kind {kind!r} is unknown" for kind in kinds if kind not in KINDS]
    if not (sum(kinds.values()) > 0 and min(kinds.values()) >= 0):
        problems.append(f"the kinds have the shares {list(kinds.values())}")
    problems += [f"item {item!r} has no gold label" for item in gold.index[gold.isna()]]
    if gold.nunique() < 2:
        problems.append("the gold labels are all the same")
    if answers_per_item > n_respondents:
        problems.append(f"{n_respondents} respondents cannot give an item {answers_per_item} answers")
    if n_batches * answers_per_item < n_respondents:
        problems.append(
            f"{n_batches} batches x {answers_per_item} are not one batch for each of {n_respondents} respondents"
        )
    if problems:
        raise one_message(
            "sparse_answers",
            problems,
            f"Kinds are {', '.join(KINDS)}, their shares 0 or more; ask for fewer respondents or more items",
        )
    rng = np.random.default_rng(seed)
    share = np.array(list(kinds.values()), float)
    names = pd.Index([f"sim-{i:03d}" for i in range(1, n_respondents + 1)], name="respondent")
    kind = rng.permutation(np.repeat(list(kinds), _rounded(share / share.sum() * n_respondents)))
    batches = np.array_split(rng.permutation(len(gold)), n_batches)
    taken = _deal(_workloads(n_respondents, n_batches, answers_per_item, rng), n_batches, answers_per_item, rng)
    label = gold.to_numpy(object)
    labels, ease = np.unique(label), rng.standard_normal(len(gold))
    parts = []
    for person, name in enumerate(names):
        order = [rng.permutation(batches[batch]) for batch in rng.permutation(np.flatnonzero(taken[person]))]
        items = np.concatenate(order)
        answers, seconds = _answer(KINDS[kind[person]], label[items], ease[items], labels, rng)
        columns = {"respondent": name, "item_id": gold.index[items], "answer": answers}
        parts.append(pd.DataFrame(columns | {"order": np.arange(1, len(items) + 1), "seconds": seconds.round(1)}))
    table = pd.concat(parts, ignore_index=True).astype({"answer": object})
    truth = pd.DataFrame({"kind": kind, "spammer": np.isin(kind, SPAMMERS)}, index=names)
    return table, truth.assign(n=table.groupby("respondent").size())


def _answer(
    kind: Kind, gold: np.ndarray, ease: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    n = len(gold)
    practice = 1 - np.exp(-np.arange(n) / _PACE)
    right = rng.random(n) < expit(kind.skill + kind.change * practice + ease + 0.3 * rng.standard_normal())
    other = (np.searchsorted(labels, gold) + rng.integers(1, len(labels), n)) % len(labels)
    guess = np.full(n, rng.choice(labels)) if kind.favourite else rng.choice(labels, n)
    answers = np.where(rng.random(n) < kind.guesses, guess, np.where(right, gold, labels[other]))
    return answers, kind.seconds * np.exp(0.4 * rng.standard_normal(n))


def _rounded(wanted: np.ndarray) -> np.ndarray:
    """Whole numbers with the same sum, the largest remainders rounded up."""
    whole = np.floor(wanted + 1e-9).astype(int)
    more = int(round(wanted.sum())) - whole.sum()
    whole[np.argsort(whole - wanted, kind="stable")[:more]] += 1
    return whole


def _workloads(people: int, batches: int, each: int, rng: np.random.Generator) -> np.ndarray:
    """How many batches each takes: at least one, at most all, in sum `batches` x `each`, with a heavy tail."""
    weights = rng.pareto(_TAIL, people) + 0.05
    load = np.ones(people, int)
    while (left := batches * each - load.sum()) > 0:
        open_ = np.where(load < batches, weights, 0)
        load = np.minimum(load + rng.multinomial(left, open_ / open_.sum()), batches)
    return load


def _deal(load: np.ndarray, batches: int, each: int, rng: np.random.Generator) -> np.ndarray:
    """Who takes which batch (people x batches): each batch goes to those who have most still to take."""
    left, taken = load.copy(), np.zeros((len(load), batches), bool)
    for batch in range(batches):
        people = np.lexsort((rng.random(len(load)), -left))[:each]
        taken[people, batch] = True
        left[people] -= 1
    return taken


# a class with a questionnaire


def hand_in(form: str | Path, truth: pd.DataFrame, n: int, seed: int = SEED) -> Path:
    """Write what a simulated class of n students hands in for a form of `questionnaire.write`; return the folder.

    The folder, class-of-<n> beside the form, gets a file per student, as the form would save it. Abilities are
    N(0, 1), answers come from `respond`, times are log-normal with a median of 14 seconds and deviation 0.4. The last
    student clicks through: any label, in 2 seconds. Student k has the form's k-th part; gold labels are those of the
    items.csv that lies beside the form.

    truth: as `item_truth` gives it, with all items of the form. InputError: an item without truth, n below 1.
    """
    form = Path(form)
    asked, gold = questionnaire.contents(form), read_table(form.with_name("items.csv")).set_index("item_id")["label"]
    problems = [f"item {item!r} has no row" for item in gold.index if item not in truth.index]
    if problems:
        raise one_message("truth", problems, "Make the form of items whose truth is known, such as the probes")
    if n < 1:
        raise InputError(f"n is {n}; give the number of students, 1 or more")
    rng = np.random.default_rng(seed)
    practice, body, checks = ([item["item_id"] for item in asked[kind]] for kind in ("practice", "items", "checks"))
    parts = asked["parts"] or [range(len(body))]
    says = respond(truth.loc[gold.index], gold, rng.standard_normal(n), rng)
    says.iloc[-1] = rng.choice(LABELS, len(gold))
    folder = form.parent / f"class-of-{n}"
    for student in range(n):
        mixed = [body[place] for place in parts[student % len(parts)]] + checks
        items = [*practice, *rng.permutation(mixed)]
        median = 2 if student == n - 1 else 14
        columns = {
            "respondent": f"student-{student + 1}",
            "item_id": items,
            "answer": says.loc[student, items].to_numpy(),
            "order": np.arange(1, len(items) + 1),
            "seconds": (median * np.exp(0.4 * rng.standard_normal(len(items)))).round(1),
            "kind": [asked["kinds"][item] for item in items],
            "form": asked["id"],
        }
        sheet = pd.DataFrame(columns)[questionnaire.COLUMNS]
        write_text(folder / f"answers-{student + 1}.csv", sheet.to_csv(index=False, lineterminator="\n"))
    return folder


if __name__ == "__main__":
    write_crowd()
