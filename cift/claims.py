"""What was claimed of Crowd-Informed Fine-Tuning, beside what the records measured.

The claims are from the abstract of arXiv 1702.08563 (v1, v2: Lalor, Wu and Yu 2017), from Lalor, Wu and Yu (2016,
D16-1062) and from the field guide to fine-tuning that this project follows; the paper's own result tables could not be
found. Each claim is one difference between two arms (`cift.arms`) in one metric (`cift.outcomes`), or one number of a
record. Run as a module it measures the published numbers, which need the crowd lalor2016:
`python -m cift.claims results/published.json`.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cift.ability import eap
from cift.arms import BASELINE, CONTROL
from cift.crowds import groups, load_crowd, score
from cift.dependence import holm
from cift.evaluation import paired_difference, proportion
from cift.files import write_text
from cift.irt import calibrate
from cift.outcomes import METRICS
from cift.records import provenance
from cift.selection import PUBLISHED_DROPS, drop_positions

ABSTRACT, GUIDE, SCALES = "1702.08563, abstract", "field guide", "D16-1062"
LEVEL, ROUNDING = 0.05, 0.002
SCALES_ENOUGH = 5  # to speak of new scales
# the smallest difference that would matter: an interval within it says that the claimed one is not there
MARGIN = {"theta": 0.1, "accuracy": 0.02, "hard_accuracy": 0.02, "test_accuracy": 0.01, "jsd": 0.01}

# printed for the LSTM of Lalor, Wu and Yu (2016): how many answers are wrong, and the ability
PRINTED_THETA = (("5GS-E", 2, -0.133), ("5GS-C", 0, 1.539), ("5GS-N", 1, 0.423), ("4GS-N", 2, 0.441))
PRINTED_CROWD = (  # Fleiss' kappa, and the share of right answers
    ("G5", 0.600, {"contradiction": 0.671, "entailment": 0.929, "neutral": 0.842}),
    ("G4", 0.431, {"contradiction": 0.535, "entailment": 0.798, "neutral": 0.747}),
)


@dataclass(frozen=True)
class Claim:
    """Arm less baseline arm in a metric is claimed to be "better", or "not worse" by more than `MARGIN`."""

    words: str
    source: str
    metric: str
    arm: str
    baseline: str
    claimed: str = "better"


CLAIMS = (
    Claim("gold labels of the crowd's items raise ability on held-out scales", ABSTRACT, "theta", "CIFT-CCE", BASELINE),
    Claim("the crowd's distributions (MSE) raise ability on held-out scales", ABSTRACT, "theta", "CIFT-MSE", BASELINE),
    Claim("gold labels raise ability more than random items do", GUIDE, "theta", "CIFT-CCE", CONTROL),
    Claim("distributions raise ability more than random items do", GUIDE, "theta", "CIFT-MSE", CONTROL),
    Claim("gold labels do not hurt the large test set", ABSTRACT, "test_accuracy", "CIFT-CCE", BASELINE, "not worse"),
    Claim("distributions do not hurt the large test set", ABSTRACT, "test_accuracy", "CIFT-MSE", BASELINE, "not worse"),
    Claim("MSE generalises better than CCE: ability", ABSTRACT, "theta", "CIFT-MSE", "CIFT-CCE"),
    Claim("MSE generalises better than CCE: large test set", ABSTRACT, "test_accuracy", "CIFT-MSE", "CIFT-CCE"),
    Claim(
        "a small targeted set beats a larger generic one on hard items",
        GUIDE,
        "hard_accuracy",
        "CIFT-CCE",
        "5x random items",
    ),
    Claim(
        "informative items teach more than random ones of the same pool",
        GUIDE,
        "theta",
        "third: information",
        "third: random",
    ),
    Claim(
        "items informative at the model's own ability teach more than random ones",
        GUIDE,
        "theta",
        "third: own information",
        "third: random",
    ),
    Claim(
        "soft labels bring the model nearer to people than a temperature does", GUIDE, "jsd", "CIFT-soft", "temperature"
    ),
    Claim("MSE brings the model nearer to people than a temperature does", GUIDE, "jsd", "CIFT-MSE", "temperature"),
    Claim(
        "the crowd's distributions do more than as much smoothing of gold labels",
        GUIDE,
        "jsd",
        "CIFT-soft",
        "label smoothing",
    ),
    Claim(
        "the crowd's majority teaches as much ability as gold labels",
        GUIDE,
        "theta",
        "CIFT-CCE majority",
        "CIFT-CCE",
        "not worse",
    ),
)


COLUMNS = (
    "claim", "source", "study", "model", "measured", "effect", "low", "high", "p", "p_holm", "n", "scales", "seeds",
    "verdict", "command",
)  # fmt: skip


def table(records: Sequence[dict[str, Any]], published: dict[str, Any] | None = None) -> pd.DataFrame:
    """A row a claim and record that can tell: what was claimed, what was measured, and the verdict.

    Columns claim, source, study, model, measured (the effect in words), effect, low, high (95 %), p, p_holm, n (items
    that the metric is a mean over), scales, seeds, verdict, command (that reruns it).

    An effect is a paired difference. With `SCALES_ENOUGH` held-out scales its interval is over scales, whose means over
    seeds it compares, since claims are about new scales; with fewer it is over seeds, and speaks of these scales alone.
    The verdict on "better" is *reproduced* where p, after Holm's correction over the claims of its record, is below .05
    and the direction is as claimed; *not reproduced* where it is the other direction, or where the whole interval is
    below `MARGIN`, in the claimed direction; else *inconclusive*. The verdict on "not worse" is *reproduced* where the
    whole interval is above minus the margin, *not reproduced* where it is below, else *inconclusive*.
    """
    rows = [row for record in records for row in (*_differences(record), *_shares(record))]
    rows += [] if published is None else _published(published)
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    found = pd.DataFrame(rows)
    found["p_holm"] = found.groupby(["study", "model"])["p"].transform(holm)
    found["verdict"] = [_verdict(row) if row["verdict"] is None else row["verdict"] for row in found.to_dict("records")]
    return found[list(COLUMNS)]


def verdicts(found: pd.DataFrame) -> pd.DataFrame:
    """The table of `table` at a glance: a row a claim that a study decides, a column a study and model."""
    decided = found[found["seeds"] > 0]
    where = decided["study"] + ", " + decided["model"]
    glance = decided.assign(where=where).pivot(index="claim", columns="where", values="verdict")
    return glance.loc[decided["claim"].unique(), where.unique()].fillna("").rename_axis(index=None, columns=None)


def _differences(record: dict[str, Any]) -> list[dict[str, Any]]:
    results = pd.DataFrame(record["results"])
    scales = results["held_out"].nunique()
    over = "held_out" if scales >= SCALES_ENOUGH else "seed"
    rows = []
    for claim in CLAIMS:
        if not {claim.arm, claim.baseline} <= set(results["arm"]):
            continue
        found = paired_difference(results, claim.arm, claim.baseline, claim.metric, over)
        of_test = claim.metric.startswith("test")
        rows.append(
            _row(
                record,
                claim.words,
                claim.source,
                f"{claim.arm} less {claim.baseline}: {METRICS[claim.metric].words}",
                f'"{claim.arm},{claim.baseline}"',
            )
            | {"effect": found["difference"], "low": found["low"], "high": found["high"]}
            | {"p": found["p"] if claim.claimed == "better" else np.nan}
            | {"n": int(results["n_test"].iloc[0] if of_test else results.groupby("held_out")["n_items"].first().sum())}
            | {"verdict": None, "claimed": claim.claimed}
            | {"better": METRICS[claim.metric].better, "margin": MARGIN[claim.metric]}
        )
    return rows


def _shares(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Claims that one number of a record decides by being there at all."""
    results, crowd = pd.DataFrame(record["results"]), record["run"]["crowd"]
    turned = discordant(results)
    differ = proportion(np.arange(crowd["items"]) >= crowd["gold_is_majority"])
    return [
        _row(record, "high accuracy does not always mean high ability", GUIDE, "of two models on a scale, the one with "
             "more items right has the lower ability: share of pairs")
        | {"effect": turned["share"], "low": np.nan, "high": np.nan, "p": np.nan, "n": turned["n"]}
        | {"verdict": "reproduced" if turned["share"] > 0 else "not reproduced"},
        _row(record, "the gold label and people's majority differ", GUIDE, "share of the crowd's items where they do")
        | {"effect": differ["share"], "low": differ["low"], "high": differ["high"], "p": np.nan, "n": differ["n"]}
        | {"verdict": "reproduced" if differ["share"] > 0 else "not reproduced"},
    ]  # fmt: skip


def discordant(results: pd.DataFrame) -> dict[str, float]:
    """n pairs of models with different accuracy on the same scale, and the share whose thetas rank otherwise."""
    n = turned = 0
    for _, models in results.drop_duplicates(["held_out", "id"]).groupby("held_out"):
        accuracy, theta = (models[name].to_numpy() for name in ("accuracy", "theta"))
        more = np.subtract.outer(accuracy, accuracy) > 1e-9
        n += int(more.sum())
        turned += int((more & (np.subtract.outer(theta, theta) < 0)).sum())
    return {"n": n, "share": turned / n if n else np.nan}


def _published(published: dict[str, Any]) -> list[dict[str, Any]]:
    """Numbers that were printed, beside ours of the same data; they agree where rounding explains the difference."""
    record = {"study": "lalor2016", "run": {"model": "-", "seeds": []}, "results": {"held_out": []}}
    return [
        _row(record, f"{row['what']} is {row['published']:.3f}", SCALES, f"{row['what']}, of the same answers")
        | {"effect": row["measured"], "low": np.nan, "high": np.nan, "p": np.nan, "n": row["n"]}
        | {"verdict": "reproduced" if abs(row["measured"] - row["published"]) < ROUNDING else "not reproduced"}
        | {"command": "python -m cift.claims results/published.json"}
        for row in published["results"]
    ]


def _row(record: dict[str, Any], claim: str, source: str, measured: str, arms: str = "main") -> dict[str, Any]:
    run, scales = record["run"], set(record["results"]["held_out"])
    command = (
        f"cift case-study --study {record['study']} --model {run['model']} --seeds {len(run['seeds'])} --arms {arms}"
    )
    about = {"claim": claim, "source": source, "study": record["study"], "model": run["model"], "measured": measured}
    return about | {"scales": len(scales), "seeds": len(run["seeds"]), "command": command}


def _verdict(row: dict[str, Any]) -> str:
    low, high = sorted((row["better"] * row["low"], row["better"] * row["high"]))
    if row["claimed"] == "not worse":
        return "reproduced" if low > -row["margin"] else "not reproduced" if high < -row["margin"] else "inconclusive"
    if row["p_holm"] < LEVEL:
        return "reproduced" if low > 0 else "not reproduced"
    return "not reproduced" if high < row["margin"] else "inconclusive"


# the published numbers


def measure_published() -> dict[str, Any]:
    """Abilities, accuracies and kappas as printed, and as they come out of the crowd lalor2016 here.

    An ability is printed for a number of wrong answers, not for a pattern: the nearest of all such patterns is taken.
    """
    from cift.agreement import fleiss_kappa

    rows: list[dict[str, Any]] = []
    crowd = load_crowd("lalor2016")
    for scale, wrong, printed in PRINTED_THETA:
        stratum = crowd[f"G{scale[0]}"]
        kept = drop_positions(groups(stratum.gold, f"G{scale[0]}")[scale], PUBLISHED_DROPS[scale])
        bank = calibrate(score(stratum.responses, stratum.gold)[kept], scale)
        patterns = pd.DataFrame(1.0, range(math.comb(len(kept), wrong)), kept)
        for row, missed in enumerate(itertools.combinations(range(len(kept)), wrong)):
            patterns.iloc[row, list(missed)] = 0.0
        theta = eap(patterns, bank)["theta"]
        nearest = float(theta[(theta - printed).abs().idxmin()])
        rows.append(
            {"what": f"theta on {scale} with {wrong} wrong", "published": printed, "measured": nearest, "n": len(kept)}
        )
    for name, kappa, accuracies in PRINTED_CROWD:
        stratum = crowd[name]
        measured = fleiss_kappa(stratum.responses)
        rows.append({"what": f"Fleiss' kappa of {name}", "published": kappa, "measured": measured, "n": 90})
        right = score(stratum.responses, stratum.gold).mean()
        for label, printed in accuracies.items():
            ours = float(right[stratum.gold == label].mean())
            rows.append(
                {"what": f"people's accuracy on {name} {label}", "published": printed, "measured": ours, "n": 30}
            )
    return {"run": provenance(), "results": rows}


if __name__ == "__main__":
    write_text(sys.argv[1], json.dumps(measure_published(), indent=1) + "\n")
