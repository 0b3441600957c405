"""What `cift irt fit`, `score`, `check` and `retain` do: read files, call the package, write a table, report."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cift import ability, crowds, tables
from cift.dependence import local_dependence, partners
from cift.diagnostics import MIN_EIGENVALUE_RATIO, item_fit, person_fit, reliability, retain_items
from cift.dimensions import dimensionality, factor_loadings, tetrachoric
from cift.errors import InputError
from cift.files import one_message, write_text
from cift.irt import METHODS, MODELS, ItemBank, calibrate

ALPHA = 0.05  # of what the report calls significant, after Holm where many items or pairs are tested
MOST_ITEMS = 150  # of which crowds are simulated for the dimensions: some ten seconds, growing with the square


def fit(
    path: Path,
    out: Path,
    model: str = "2pl",
    method: str = "mml",
    gold: Path | None = None,
    scale: str | None = None,
    seed: int = 0,
    missing: Sequence[str] = (),
) -> str:
    """Calibrate the answers of a file, write the bank, return what to say."""
    model, method = _known("--model", model, MODELS), _known("--method", method, METHODS)
    if model == "nominal" and (gold is None or method != "mml"):
        raise InputError("--model nominal: needs raw labels with --gold GOLD.csv, and --method mml")
    _check_out(out, path, gold)
    if out.suffix.lower() == ".json":
        raise InputError(f"--out {out}: name the CSV; the bank as .json is written beside it")
    labels = None
    if model == "nominal" and gold:
        answers, labels = _labelled(path, gold, missing)
    else:
        answers = _scored(path, gold, missing)
    _enough(path, answers)
    bank = calibrate(answers, scale or path.stem, model, method, seed, labels)
    whole = tables.write_bank(out, bank)
    info = bank.info
    measures = "".join(f", {name.upper()} {info[name]:.1f}" for name in ("aic", "bic") if name in info)
    settled = ", NOT converged" if info["converged"] is False else ""
    return "\n".join(
        [
            f"fitted    {_crowd(bank, answers)}; {model} by {info['method']}, "
            f"log-likelihood {info['log_likelihood']:.1f}{measures}{settled}",
            f"items     {_ranges(bank)}",
            f"bank      {out} (the items), {whole} (also the population and how it was fitted)",
        ]
    )


def score(
    bank_path: Path,
    path: Path,
    out: Path,
    method: str = "eap",
    gold: Path | None = None,
    missing: Sequence[str] = (),
) -> str:
    """Place the respondents of a file on a bank's scale, write the table, return what to say."""
    method = _known("--method", method, ability.METHODS)
    _check_out(out, path, gold, bank_path)
    bank = tables.read_bank(bank_path)
    wanted = list(bank.items["item_id"].astype(str).unique())
    if "label" in bank.items:
        if method != "eap":
            raise InputError(f"--method {method}: a nominal bank is scored by eap")
        answers = tables.read_labels(path, set(bank.items["label"]), set(wanted), only=True, missing=missing)
    elif gold:
        labels = tables.read_gold(gold)
        answers = tables.read_labels(path, set(labels), set(wanted), only=True, missing=missing)
        answers = crowds.score(answers, labels)
    else:
        answers = tables.read_scored(path, items=wanted, missing=missing)
    absent = [item for item in wanted if item not in answers]
    if len(absent) == len(wanted):
        raise InputError(
            f"{path}: no column is one of the {len(wanted)} items of {bank_path}, which are {tables.some(wanted, 5)}; "
            "name the columns as the bank names its items"
        )
    if absent:
        warnings.warn(
            f"{path}: {len(absent)} of the bank's {len(wanted)} items have no column, so scores rest on the other "
            f"{len(wanted) - len(absent)}: {tables.some(absent)}",
            stacklevel=2,
        )
    if bank.population.empty:
        warnings.warn(f"{bank_path}: no population beside it, so percentile_empirical is empty", stacklevel=2)
    named = bank.items.assign(item_id=bank.items["item_id"].astype(str))
    present = named[named["item_id"].isin(answers.columns)].reset_index(drop=True)
    bank = ItemBank(present, bank.population, bank.info)
    scores = ability.score(_heard(answers, bank) if "label" in present else answers, bank, method)
    write_text(out, scores.rename_axis("respondent").reset_index().to_csv(index=False))
    theta = scores["theta"][np.isfinite(scores["theta"])]
    spread = f"theta {theta.min():.2f} to {theta.max():.2f}, mean {theta.mean():.2f}, " if len(theta) else ""
    return "\n".join(
        [
            f"scored    {_n(len(scores), 'respondent')} by {method} on {_n(present['item_id'].nunique(), 'item')}",
            f"ability   {spread}median standard error {scores['theta_se'].median():.2f}; "
            f"{scores['at_ceiling'].sum()} at the ceiling, {scores['at_floor'].sum()} at the floor",
            f"table     {out}",
        ]
    )


def check(
    path: Path,
    out: Path | None = None,
    model: str = "2pl",
    gold: Path | None = None,
    seed: int = 0,
    missing: Sequence[str] = (),
) -> str:
    """Does the scale hold? Fit the answers of a file, write the item table where asked, return the report."""
    model = _known("--model", model, MODELS[:-1])
    if out:
        _check_out(out, path, gold)
    answers = _scored(path, gold, missing)
    _enough(path, answers)
    bank = calibrate(answers, path.stem, model)
    used = answers[list(bank.items["item_id"])]
    items = bank.items.set_index("item_id").drop(columns="d_se" if model != "4pl" else [])
    found = item_fit(used, bank).set_index("item_id")
    items = items.join(found).assign(right=used.mean())
    people = person_fit(used, bank)
    lines = [
        f"{path.stem}: {_crowd(bank, answers)}; {model} by {bank.info['method']}"
        + ("" if bank.info["converged"] else ", NOT converged"),
        "",
        f"items             {_ranges(bank)}",
        "reliability       {marginal:.2f} expected of the scale, {empirical:.2f} in this crowd".format(
            **reliability(bank)
        ),
    ]
    lines += _dimensions(used, seed, items)
    pairs = local_dependence(used, bank)
    lines += _fit_lines(items) + _pair_lines(pairs, items) + _people_lines(people)
    items["flags"] = _flags(items)
    flagged = items.loc[items["flags"] != "", ["n", "right", "a", "b", "infit", "p_holm", "flags"]]
    if len(flagged):
        shown = flagged.rename(columns={"p_holm": "misfit p"}).rename_axis(None)
        lines += ["", f"items to look at  {len(flagged)} of {len(items)}", shown.head(40).round(3).to_string()]
        lines += [f"and {len(flagged) - 40} more"] * (len(flagged) > 40)
    if out:
        table = items.reindex(answers.columns)
        constant = table.index[~table.index.isin(items.index)]
        table.loc[constant, "flags"] = "all answers alike"
        table.loc[constant, "n"] = answers[constant].notna().sum()
        table.loc[constant, "right"] = answers[constant].mean()
        table = table.astype({"n": int}).rename_axis("item_id").reset_index()
        write_text(out, table.to_csv(index=False))
        lines += ["", f"table     {out}"]
    return "\n".join(lines)


def retain(path: Path, out: Path, gold: Path | None = None, missing: Sequence[str] = ()) -> str:
    """Which items of a file make a scale: write the table with reasons, return what to say."""
    _check_out(out, path, gold)
    answers = _scored(path, gold, missing)
    _enough(path, answers)
    try:
        items = retain_items(answers)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    write_text(out, items.to_csv(index=False))
    lines = [f"retained  {items['kept'].sum()} of {len(items)} items, by the answers of {len(answers)} respondents"]
    for reason, dropped in items[~items["kept"]].groupby("reason", sort=False):
        lines.append(f"dropped   {len(dropped)} for {reason}: {tables.some(dropped['item_id'])}")
    return "\n".join([*lines, f"table     {out}"])


# reading and checking


def _scored(path: Path, gold: Path | None, missing: Sequence[str]) -> pd.DataFrame:
    return crowds.score(*_labelled(path, gold, missing)) if gold else tables.read_scored(path, missing=missing)


def _labelled(path: Path, gold: Path, missing: Sequence[str]) -> tuple[pd.DataFrame, pd.Series]:
    labels = tables.read_gold(gold)
    answers = tables.read_labels(path, set(labels), set(labels.index), missing=missing)
    unknown = [f"item {item!r} has no label in {gold}" for item in answers.columns if item not in labels.index]
    if unknown:
        raise one_message(path, unknown, "Add the gold labels, or take out columns that are no items")
    return answers, labels


def _known(option: str, value: str, known: Sequence[str]) -> str:
    if value.lower() not in known:
        raise InputError(f"{option} {value}: unknown; choose from {', '.join(known)}")
    return value.lower()


def _check_out(out: Path, *inputs: Path | None) -> None:
    """Before any work: can the result be written there, and would it overwrite what it was made from?"""
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}; make it, or choose another place")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; name a file in it")
    if any(given and out.exists() and given.exists() and out.samefile(given) for given in inputs):
        raise InputError(f"--out {out}: would overwrite what was given; choose another name")


def _enough(path: Path, answers: pd.DataFrame) -> None:
    people, items = answers.shape
    if min(people, items) < 2:
        raise InputError(
            f"{path}: {_n(people, 'respondent')} and {_n(items, 'item')}; a scale needs two of each (rows, columns)"
        )
    silent = answers.index[answers.isna().all(axis=1)]
    if len(silent):
        warnings.warn(f"{path}: {_n(len(silent), 'respondent')} answered nothing: {tables.some(silent)}", stacklevel=3)


def _heard(answers: pd.DataFrame, bank: ItemBank) -> pd.DataFrame:
    """Raw answers without the labels that a nominal bank does not know: they say nothing."""
    known = bank.items.groupby("item_id")["label"].agg(set)
    heard = answers.apply(lambda column: column.where(column.isin(known[column.name]), None))
    lost = int((answers.notna() & heard.isna()).to_numpy().sum())
    if lost:
        warnings.warn(f"{_n(lost, 'answer')} with a label that nobody chose at calibration: left out", stacklevel=3)
    return heard


# what is said


def _n(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _crowd(bank: ItemBank, answers: pd.DataFrame) -> str:
    used = bank.items["item_id"].unique()
    left_out = [item for item in answers.columns if item not in set(used)]
    without = f" ({len(left_out)} left out: {tables.some(left_out)})" if left_out else ""
    absent = int(answers.isna().to_numpy().sum())
    missing = f", {_n(absent, 'answer')} missing ({100 * absent / answers.size:.1f} %)" if absent else ""
    return f"{_n(len(answers), 'respondent')}, {_n(len(used), 'item')}{without}{missing}"


def _ranges(bank: ItemBank) -> str:
    names = [name for name in ("a", "b", "c", "d", "slope", "intercept") if name in bank.items]
    found = bank.items[names]
    if "slope" in names:
        found = found[found.ne(0).any(axis=1)]
    return ", ".join(
        f"{name} {column.min():.2f} to {column.max():.2f} (median {column.median():.2f})"
        for name, column in found.items()
        if column.min() < column.max() or name == "a"
    )


def _dimensions(answers: pd.DataFrame, seed: int, items: pd.DataFrame) -> list[str]:
    try:
        if answers.shape[1] > MOST_ITEMS:
            correlations = tetrachoric(answers).to_numpy()
            items["loading"] = factor_loadings(correlations, 1)[:, 0]
            second, first = np.linalg.eigvalsh(correlations)[-2:]
            return [_ratio_line(first / second) + f"no simulated crowds for over {MOST_ITEMS} items"]
        found = dimensionality(answers, seed)
    except InputError as error:
        items["loading"] = np.nan
        return [f"dimensions        not computed ({str(error).removeprefix('responses: ')})"]
    items["loading"] = found.items.set_index("item_id")["loading"]
    summary = found.summary
    return [
        _ratio_line(summary["ratio"]) + f"{_n(int(summary['n_factors']), 'factor')} above chance",
        f"                  one factor leaves correlations of {summary['rmsr_1']:.3f}, two {summary['rmsr_2']:.3f} "
        f"(root mean square); one factor enough: p = {summary['p_one_factor']:.2f}",
    ]


def _ratio_line(ratio: float) -> str:
    return (
        f"dimensions        first eigenvalue {ratio:.1f} times the second (one factor dominates from "
        f"{MIN_EIGENVALUE_RATIO:.0f}); "
    )


def _fit_lines(items: pd.DataFrame) -> list[str]:
    misfit = items.index[items["p_holm"] < ALPHA]
    tested = items["p_holm"].notna().sum()
    s_x2 = (
        f"{len(misfit)} of {tested} misfit (S-X2, p < {ALPHA} after Holm)"
        if tested
        else "S-X2 not computed (too few people answered every item)"
    )
    ranges = ", ".join(f"{name} {items[name].min():.2f} to {items[name].max():.2f}" for name in ("infit", "outfit"))
    return [f"item fit          {s_x2}; {ranges} (1 expected)"]


def _pair_lines(pairs: pd.DataFrame, items: pd.DataFrame) -> list[str]:
    """The report's lines on local dependence; puts each item's most dependent partner into `items`."""
    closest = partners(pairs)[["item_2", "q3", "ld_x2", "p_holm"]]
    items[["ld_with", "ld_q3", "ld_x2", "ld_p_holm"]] = closest.reindex(items.index)
    dependent = pairs[pairs["p_holm"] < ALPHA]
    lines = [f"local dependence  {len(dependent)} of {_n(len(pairs), 'pair')} (LD-X2, p < {ALPHA} after Holm)"]
    if len(dependent):
        shown = [f"{row.item_1} with {row.item_2} (Q3 {row.q3:.2f})" for row in dependent.head(3).itertuples()]
        lines[0] += f"; largest: {', '.join(shown)}"
    return lines


def _people_lines(people: pd.DataFrame) -> list[str]:
    tested = people["p"].notna().sum()
    odd = people[people["p"] < ALPHA].sort_values("p")
    lowest = f"; lowest: {tables.some(odd.index, 5)}" if len(odd) else ""
    share = f" ({100 * len(odd) / tested:.1f} %)" if tested else ""
    return [
        f"person fit        {len(odd)} of {_n(tested, 'respondent')}{share} answer unlike the model "
        f"(l_z*, p < {ALPHA}; {100 * ALPHA:.0f} % by chance){lowest}"
    ]


def _flags(items: pd.DataFrame) -> list[str]:
    rules = {
        "misfit": items["p_holm"] < ALPHA,
        "a < 0": items["a"] + 1.96 * items["a_se"] < 0,
        "a not above 0": (items["a"] - 1.96 * items["a_se"] < 0) & (items["a"] + 1.96 * items["a_se"] >= 0),
        "dependent": items["ld_p_holm"] < ALPHA,
    }
    partner = items["ld_with"].astype(str)
    return [
        ", ".join(
            f"{name} on {partner.iloc[k]}" if name == "dependent" else name
            for name, is_so in rules.items()
            if is_so.iloc[k]
        )
        for k in range(len(items))
    ]
