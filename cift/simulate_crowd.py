"""The simulated crowd of the probes: 1,000 respondents per stratum with known abilities and items.

Answers come from a nominal response model (Bock 1972) over the labels,

    P(k | theta)  proportional to  exp(slope_k theta + intercept_k),

in which the gold label has slope a and intercept -a b, and the two wrong labels have slope 0 and
intercepts log s and log(1 - s): s is the share of the more tempting one among wrong answers. The gold
label then has probability sigmoid(a (theta - b)), a 2PL exactly, so the a and b below are the truth that a
calibration of the scored answers should find.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, roots_hermitenorm, softmax

from cift.corpora import LABELS, data_dir, scale_name
from cift.files import read_table, write_text

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


if __name__ == "__main__":
    write_crowd()
