"""Run records: what a result was made of, and a ledger of finished results that makes long runs resumable."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cift import doctor, finetuning
from cift.fetch import cache_dir
from cift.files import write_text

if TYPE_CHECKING:
    from datasets import Dataset


def provenance() -> dict[str, Any]:
    """When, on what machine and with which versions a record is made."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": date, "machine": doctor.machine(), "versions": doctor.versions()}


def once(kind: str, key: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A finished result from the ledger (a folder of the cache, by kind), else computed and kept there.

    key: a `digest` of all that decides the result. Finished results survive an interrupted run whole.
    """
    entry = cache_dir() / kind / f"{key}.json"
    if not entry.exists():
        write_text(entry, json.dumps(compute()))
    return json.loads(entry.read_text(encoding="utf-8"))


def digest(*parts: object) -> str:
    """Sixteen hexadecimal digits that stand for what can be written as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(corpus: Dataset) -> str:
    """Digest of a corpus's ids, sentences and labels, in order."""
    return digest([corpus[name][:] for name in ("item_id", "premise", "hypothesis", "label")])


def software() -> list[object]:
    """What besides data, weights and recipe decides a trained model's numbers."""
    found = doctor.versions()
    return [found["torch"], found["transformers"], found["peft"], finetuning.device().type, finetuning.has_bf16()]


def code(modules: Sequence[str]) -> str:
    """Digest of modules of this package: what other code made is not taken from the ledger."""
    folder = Path(__file__).parent
    return digest([(folder / f"{module}.py").read_text(encoding="utf-8") for module in modules])


def peak_memory_mb() -> int | None:
    """The most memory this process ever held; None on Windows, which does not tell."""
    try:  # on Linux: `getrusage` would give a child process the peak of the parent that started it
        with open("/proc/self/status", encoding="utf-8") as lines:
            return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024)
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
