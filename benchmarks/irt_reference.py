"""Store what PyPI's mirt estimates, for tests/test_independent_engine.py: python benchmarks/irt_reference.py

401 Gauss-Hermite nodes are .16 apart, close enough for the steep items of 5GS-N, where 201 leave an error of 5e-4.
It needs SQUAREM: at 201 nodes the plain native path stops with every a at its bound of 0.1, and says it converged.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {"n_quadpts": 401, "accelerate": "squarem", "tol": 1e-8, "max_iter": 20_000}


def fit(source: str, target: str) -> None:
    """In mirt's environment."""
    import mirt

    found = {}
    with np.load(source) as data:
        for scale in data.files:
            result = mirt.fit_mirt(data[scale].astype(int), "2PL", compute_standard_errors=False, **SETTINGS)
            if not result.converged:
                raise SystemExit(f"{scale}: mirt did not converge")
            estimates = {"a": "discrimination", "b": "difficulty"}
            found[scale] = {"log_likelihood": round(float(result.log_likelihood), 6)} | {
                name: np.round(result.model.parameters[theirs].ravel(), 6).tolist()
                for name, theirs in estimates.items()
            }
    Path(target).write_text(json.dumps({"version": version("mirt"), "scales": found}))


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    import test_independent_engine as test
    from irt import environment

    data = {"simulated": test.simulated()} | {scale: test.published(scale) for scale in test.REAL}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.json")
        np.savez(source, **{scale: scored.fillna(-1).to_numpy(np.int8) for scale, scored in data.items()})
        subprocess.run([environment("mirt"), __file__, str(source), str(target)], check=True)
        found = json.loads(target.read_text())
    made = {
        "package": "mirt (PyPI, 2PL, theta ~ N(0, 1))",
        "version": found["version"],
        "settings": SETTINGS,
        "by": "benchmarks/irt_reference.py",
        "date": date.today().isoformat(),
    }
    scales = {
        scale: {"items": list(scored.columns), "data_sha256": test.fingerprint(scored)} | found["scales"][scale]
        for scale, scored in data.items()
    }
    lines = ",\n".join(f"{json.dumps(scale)}: {json.dumps(stored)}" for scale, stored in scales.items())
    test.STORED.write_text(f'{{"made": {json.dumps(made)},\n"scales": {{\n{lines}\n}}}}\n', encoding="utf-8")


if __name__ == "__main__":
    fit(*sys.argv[1:]) if len(sys.argv) > 1 else main()
