"""Where respondents and models stand on a scale: theta, its standard error, the percentile among people."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtr

from cift.errors import InputError
from cift.irt import ItemBank, posterior


def eap(scored: pd.DataFrame, bank: ItemBank) -> pd.DataFrame:
    """Expected a posteriori ability under theta ~ N(0, 1) (Bock & Mislevy 1982).

    scored: one row a respondent or model, columns with at least the bank's items, cells 1, 0 or
    missing. Returns, for each row: `theta`; `theta_se`, the posterior standard deviation;
    `percentile`, 100 Phi(theta), where the estimate falls in N(0, 1) (as theta is shrunk towards 0, this is not
    the share of respondents with a lower estimate); `n_items` answered; `at_ceiling`, all of them right, so that
    nobody can be placed higher on this scale.
    Raises InputError when a bank item has no column.
    """
    wanted = list(bank.items["item_id"])
    missing = [item for item in wanted if item not in scored.columns]
    if missing:
        raise InputError(
            f"responses: no column for item {missing[0]!r} ({len(missing)} of the bank's {len(wanted)} items missing); "
            "score with the bank of the same items, or add the column with empty cells"
        )
    scored = scored[wanted]
    nodes, weight, _ = posterior(scored, bank.items)
    theta = weight @ nodes
    answered = scored.notna().sum(axis=1)
    return pd.DataFrame(
        {
            "theta": theta,
            "theta_se": np.sqrt((weight * (nodes - theta[:, None]) ** 2).sum(axis=1)),
            "percentile": 100 * ndtr(theta),
            "n_items": answered,
            "at_ceiling": (answered > 0) & (scored.sum(axis=1) == answered),
        },
        index=scored.index,
    )


def place(predictions: pd.DataFrame, bank: ItemBank, name: str = "model") -> pd.DataFrame:
    """Ability of one model from its predictions table (`item_id`, `label`, `predicted`, ...).

    Returns `eap`'s table with one row, called `name`. Raises InputError when a bank item was not predicted.
    """
    right = (predictions["predicted"] == predictions["label"]).astype(float)
    return eap(pd.DataFrame([right.to_numpy()], index=[name], columns=predictions["item_id"].to_numpy()), bank)
