"""Before people are asked: who qualifies, what it costs, how many answers are enough, and who answers which items.

Everything here is arithmetic on assumptions that the caller states (a person's accuracy, an item's a and b);
`calibration_errors` checks by simulation what the formula for difficulties leaves out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import ceil

import numpy as np
import pandas as pd
from scipy.special import bdtr, bdtrc, ndtri

from cift.curves import grid, probability
from cift.errors import InputError


def qualification(n: int, accuracy: float, guess: float = 1 / 3) -> pd.DataFrame:
    """Who passes n qualification items, for every pass mark: guesser_passes and able_fails, by pass_mark 1 to n.

    accuracy: the probability of a right answer of people who should pass; guess: of those who answer at random (1 over
    the number of labels). Both are binomial. InputError: n below 1, a probability outside 0 to 1.
    """
    _check(n=n)
    _check_shares(accuracy=accuracy, guess=guess)
    marks = pd.RangeIndex(1, n + 1, name="pass_mark")
    return pd.DataFrame(
        {"guesser_passes": bdtrc(marks - 1, n, guess), "able_fails": bdtr(marks - 1, n, accuracy)}, index=marks
    )


def shortest_qualification(
    accuracy: float, guess: float = 1 / 3, guesser_passes: float = 0.05, able_fails: float = 0.05
) -> pd.Series:
    """The fewest qualification items, and their pass mark, that keep both errors at or below the rates given.

    Returns items, pass_mark, guesser_passes and able_fails. InputError: a rate outside 0 to 1, an accuracy that is not
    above `guess`, or so near to it that more than 200 items were needed.
    """
    _check_shares(accuracy=accuracy, guess=guess, guesser_passes=guesser_passes, able_fails=able_fails)
    for n in range(1, 201):
        marks = qualification(n, accuracy, guess)
        good = marks[(marks["guesser_passes"] <= guesser_passes) & (marks["able_fails"] <= able_fails)]
        if len(good):
            return pd.Series({"items": n, "pass_mark": good.index[0], **good.iloc[0]}, dtype=object)
    raise InputError(
        f"accuracy {accuracy:.2f} and guess {guess:.2f} cannot be told apart by 200 items with errors of "
        f"{guesser_passes} and {able_fails}; allow larger errors, or easier items (a higher accuracy)"
    )


def attention_checks(
    caught: float = 0.95, guess: float = 1 / 3, slip: float = 0.02, allowed: int = 0, careless: float = 1.0
) -> pd.Series:
    """The fewest attention checks that catch a careless respondent with probability `caught`.

    A respondent is caught with more than `allowed` checks wrong. The careless one guesses at a check with probability
    `careless` and else looks at it; an attentive one slips with probability `slip`. Returns checks, careless_caught and
    attentive_accused. InputError: a probability outside 0 to 1, or more than 200 checks needed.
    """
    _check_shares(caught=caught, guess=guess, slip=slip, careless=careless)
    wrong = careless * (1 - guess) + (1 - careless) * slip
    for n in range(1, 201):
        rates = {"careless_caught": bdtrc(allowed, n, wrong), "attentive_accused": bdtrc(allowed, n, slip)}
        if rates["careless_caught"] >= caught:
            return pd.Series({"checks": n, **rates}, dtype=object)
    raise InputError(f"200 checks do not catch a careless respondent with probability {caught}; allow fewer wrong ones")


def payment(
    items: int,
    answers_per_item: int,
    per_person: int,
    seconds_per_item: float,
    hourly_wage: float,
    *,
    extra_items: int = 0,
    extra_minutes: float = 0.0,
    platform_fee: float = 0.0,
) -> pd.Series:
    """What a collection costs, in the currency of `hourly_wage`.

    extra_items: practice items and checks, extra_minutes: instructions; both are a respondent's paid time.
    platform_fee: share that the platform adds to the pay (0.3: 30 %).
    Returns respondents, minutes (of each), pay (of each, rounded up to a hundredth), total (pay and fee of all) and
    per_answer (total over answers to the items). InputError: a number that is not positive (the extra ones and the fee
    may be 0), per_person above items.
    """
    _check(items=items, answers_per_item=answers_per_item, per_person=per_person)
    _check_positive(seconds_per_item=seconds_per_item, hourly_wage=hourly_wage)
    if min(extra_items, extra_minutes, platform_fee) < 0:
        raise InputError("extra_items, extra_minutes and platform_fee: one is below 0; give 0 or more")
    if per_person > items:
        raise InputError(f"per_person is {per_person}, but there are {items} items; a person answers an item once")
    respondents = ceil(items * answers_per_item / per_person)
    minutes = (per_person + extra_items) * seconds_per_item / 60 + extra_minutes
    pay = ceil(round(hourly_wage * minutes / 60 * 100, 6)) / 100  # rounding first: 15.000000000000002 is 15
    total = respondents * pay * (1 + platform_fee)
    figures = {"respondents": respondents, "minutes": minutes, "pay": pay, "total": total}
    return pd.Series(figures | {"per_answer": total / (respondents * per_person)}, dtype=object)


def answers_for_share(half_width: float, share: float = 0.5, confidence: float = 0.95) -> int:
    """Answers that an item needs for the interval of a label's share to be plus or minus half_width at most.

    The interval is Wilson's (1927), which also holds for shares near 0 and 1; a share of 0.5 is the worst case. Solves
    z sqrt(n p (1 - p) + z^2 / 4) / (n + z^2) = h for n. InputError: a number outside 0 to 1, a half width of 0 or above
    0.5.
    """
    _check_shares(share=share, confidence=confidence)
    if confidence == 1:
        raise InputError("confidence is 1; no number of answers makes sure, so give one below 1")
    if not 0 < half_width <= 0.5:
        raise InputError(f"half_width is {half_width}; give a number above 0, at most 0.5")
    z2, h2 = ndtri((1 + confidence) / 2) ** 2, half_width**2
    middle = z2 * (share * (1 - share) - 2 * h2)
    n = (middle + np.sqrt(middle**2 + 4 * h2 * z2**2 * (0.25 - h2))) / (2 * h2)
    return max(1, ceil(n - 1e-9))


def expected_errors(items: pd.DataFrame, n: int) -> pd.DataFrame:
    """Standard errors that n respondents with known abilities, theta ~ N(0, 1), give a 2PL's items.

    items: columns a and b. Returns, indexed as `items`, a_se and b_se, from the inverse of the 2 x 2 information of
    (a, b), n E[P (1 - P) v v'] with v = (theta - b, -a); and b_se_known_a, 1 / sqrt(n a^2 E[P (1 - P)]), if a need
    not be estimated (the Rasch model). Abilities are not known in a calibration: these are lower bounds, near ones
    where many items measure a person well; `calibration_errors` says how near. InputError: n below 1, no a or b, an a
    that is not positive.
    """
    _check(n=n)
    abcd = _two_parameters(items)
    nodes, log_weights = grid(abcd)
    p = probability(nodes, abcd)
    weight = np.exp(log_weights)[:, None] * p * (1 - p) * n
    a, distance = abcd["a"].to_numpy(), nodes[:, None] - abcd["b"].to_numpy()
    aa, ab, bb = (weight * distance**2).sum(0), -a * (weight * distance).sum(0), a**2 * weight.sum(0)
    determinant = aa * bb - ab**2
    errors = {"a_se": bb / determinant, "b_se": aa / determinant, "b_se_known_a": 1 / bb}
    return pd.DataFrame(errors, index=items.index) ** 0.5


def answers_for_difficulty(se: float, a: float, b: float) -> int:
    """Respondents for a standard error of the difficulty b of a 2PL item: as `expected_errors`, a lower bound.

    InputError: se or a not positive.
    """
    _check_positive(se=se)
    for_one = expected_errors(pd.DataFrame({"a": [a], "b": [b]}), 1)["b_se"].iloc[0]
    return ceil((for_one / se) ** 2)


def calibration_errors(
    items: pd.DataFrame, respondents: Sequence[int], replications: int = 20, seed: int = 0
) -> pd.DataFrame:
    """What a 2PL calibration makes of simulated crowds of several sizes: its errors against the truth and the formula.

    items: columns a and b, the truth. For each number of respondents, `replications` crowds with abilities from
    N(0, 1) answer all items, and `irt.calibrate` does what it does, priors where answers are too few included.

    Returns, by respondents: b_error, the root mean square error of an item's difficulty, b_reported, the standard error
    that the calibration states, b_expected, that of `expected_errors` (medians over items), b_correlation of estimate
    and truth over items (mean over crowds); the same four of a; and two shares: left_out, of items that everyone got
    right or wrong, and needed_priors, of crowds too small for maximum likelihood.

    InputError: no a or b, an a that is not positive, fewer than 2 respondents or items.
    """
    from tqdm import tqdm

    from cift.finetuning import quiet
    from cift.irt import calibrate

    truth = _two_parameters(items).set_axis([f"item-{i}" for i in range(len(items))], axis=0)
    rng = np.random.default_rng(seed)
    rows = []
    for n in tqdm(respondents, desc="simulated crowds", unit="size", disable=quiet()):
        banks = []
        for _ in range(replications):
            right = rng.random((n, len(truth))) < probability(rng.standard_normal(n), truth)
            with warnings.catch_warnings():  # what they say, left_out and needed_priors count
                warnings.simplefilter("ignore", UserWarning)
                banks.append(calibrate(pd.DataFrame(right.astype(float), columns=truth.index)))
        estimates = [bank.items.set_index("item_id") for bank in banks]
        found, expected = pd.concat(estimates), expected_errors(truth, n)
        row: dict[str, float] = {}
        for name in ("b", "a"):
            squared = (found[name] - truth[name].loc[found.index]) ** 2
            row[f"{name}_error"] = (squared.groupby(level=0).mean() ** 0.5).median()
            row[f"{name}_reported"] = found[f"{name}_se"].median()
            row[f"{name}_expected"] = expected[f"{name}_se"].median()
            row[f"{name}_correlation"] = np.mean([bank[name].corr(truth[name]) for bank in estimates])
        row["left_out"] = 1 - len(found) / (len(truth) * replications)
        row["needed_priors"] = np.mean([bank.info["method"] == "map" for bank in banks])
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(respondents, name="respondents"))


def assign(item_ids: Sequence[str], respondents: Sequence[str], per_person: int, seed: int = 0) -> pd.DataFrame:
    """Which items each respondent answers, in random order: columns respondent, item_id, order (from 1).

    A balanced incomplete design: after every respondent, the numbers of answers of two items differ by one at most, so
    that it stays balanced where only the first respondents come. Among the items whose turn it is, a respondent gets
    those that fewest others have had together: pairs spread evenly, and link the items from two answers each on.
    InputError: per_person below 1 or above the number of items, an id that occurs twice, no respondents.
    """
    for what, names in {"item_ids": item_ids, "respondents": respondents}.items():
        if not len(names) or len(set(names)) < len(names):
            raise InputError(f"{what}: none, or one occurs twice; give each once")
    if not 1 <= per_person <= len(item_ids):
        raise InputError(f"per_person is {per_person}; give 1 to {len(item_ids)}, the number of items")
    item_ids = list(item_ids)  # a Series would look its own index up
    rng = np.random.default_rng(seed)
    answers = np.zeros(len(item_ids), int)
    together = np.zeros((len(item_ids), len(item_ids)), np.int32)
    rows = []
    for respondent in respondents:
        part: list[int] = []
        for _ in range(per_person):
            worth = np.lexsort((rng.random(len(item_ids)), together[part].sum(axis=0), answers))
            part.append(next(i for i in worth if i not in part))
        answers[part] += 1
        together[np.ix_(part, part)] += 1
        rows += [(respondent, item_ids[i], order) for order, i in enumerate(rng.permutation(part), start=1)]
    return pd.DataFrame(rows, columns=["respondent", "item_id", "order"])


def _two_parameters(items: pd.DataFrame) -> pd.DataFrame:
    """a and b as numbers, with the asymptotes of a 2PL."""
    absent = [name for name in ("a", "b") if name not in items]
    if absent or not (items["a"] > 0).all() or not np.isfinite(items["b"].astype(float)).all():
        raise InputError("items: give the columns a, all positive, and b, all known")
    return items[["a", "b"]].astype(float).assign(c=0.0, d=1.0)


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if not value >= 1 or value % 1:
            raise InputError(f"{name} is {value}; give a whole number, 1 or more")


def _check_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise InputError(f"{name} is {value}; give a number above 0")


def _check_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}; give a probability, 0 to 1")
