"""One page from the records: verdicts on the claims, each study's tables and figure, all numbers; self-contained."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from cift import casestudy_report, claims, plots
from cift.errors import InputError

PUBLISHED = "published.json"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Crowd-Informed Fine-Tuning: what the records say</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #111; }}
table {{ border-collapse: collapse; margin: 1em 0; font-size: 13px; }}
th, td {{ border-bottom: 1px solid #bbb; padding: 3px 8px; text-align: left; vertical-align: top; }}
img {{ max-width: 100%; }} pre {{ white-space: pre-wrap; }} .wide {{ overflow-x: auto; }}
</style></head><body>
<h1>Crowd-Informed Fine-Tuning: what the records say</h1>
<p>{counted}. What decides a verdict is said in <code>cift.claims.table</code>.</p>
<div class="wide">{verdicts}</div>
{studies}
<h2>All rows</h2>
<p>Intervals are 95 % ones; p is corrected by Holm's method over the claims of a record. Each row's command measures it
anew.</p>
<div class="wide">{claims}</div>
</body></html>
"""


def read_records(folder: str | Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The studies' records in a folder, by study and model, and that of the published numbers, if there is one.

    Raises InputError where the folder holds no study's record, and for a file that is not JSON.
    """
    records, published = [], None
    for path in sorted(Path(folder).glob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error}); write it anew with cift case-study --json") from error
        if path.name == PUBLISHED:
            published = found
        elif "study" in found and "crowd" in found.get("run", {}):
            records.append(found)
    if not records:
        raise InputError(f"{folder}: no study's record there; make one with cift case-study --json {folder}/mine.json")
    return sorted(records, key=lambda record: (record["study"], record["run"]["model"])), published


def in_brief(found: pd.DataFrame) -> pd.DataFrame:
    """The table of `claims.table` with effect and interval in words, for reading."""
    effects = [
        f"{row.effect:+.3f}" + (f" [{row.low:+.3f}, {row.high:+.3f}]" if pd.notna(row.low) else "")
        for row in found.itertuples()
    ]
    shown = [name for name in claims.COLUMNS if name not in ("low", "high", "p")]
    return found.assign(effect=effects, p_holm=[f"{p:.3f}" if pd.notna(p) else "" for p in found["p_holm"]])[shown]


def page(records: Sequence[dict[str, Any]], published: dict[str, Any] | None = None) -> str:
    """The report as HTML: no file beside it, no network."""
    found = claims.table(records, published)
    counts = found["verdict"].value_counts()
    counted = ", ".join(f"{verdict}: {number} of {len(found)} rows" for verdict, number in counts.items())
    return _PAGE.format(
        counted=counted,
        verdicts=_html(claims.verdicts(found)),
        studies="".join(map(_study, records)),
        claims=_html(in_brief(found), index=False),
    )


def _study(record: dict[str, Any]) -> str:
    import matplotlib.pyplot as plt

    figure = plots.study(record).flat[0].figure
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    plt.close(figure)
    encoded = base64.b64encode(image.getvalue()).decode()
    left_out = "".join(f"<li>{escape(arm)}: {escape(why)}</li>" for arm, why in record["run"]["left_out"].items())
    return (
        f"<h2>{escape(record['study'])}, {escape(record['run']['model'])}</h2>"
        f"<pre>{escape(casestudy_report.headline(record))}</pre>"
        f'<img alt="abilities and differences" src="data:image/png;base64,{encoded}">'
        f'<div class="wide">{_html(casestudy_report.means(record).round(3))}</div>'
        f'<div class="wide">{_html(casestudy_report.summary(record).iloc[:, 5:])}</div>'
        + (f"<p>Left out:</p><ul>{left_out}</ul>" if left_out else "")
    )


def _html(table: pd.DataFrame, index: bool = True) -> str:
    return table.to_html(index=index, border=0, na_rep="")
