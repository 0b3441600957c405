"""The registry of public data (url, hash, licence, citation), the cache and the offline mirror.

A file is taken from the first of three places that has it: the cache (`CIFT_CACHE`, else the platform's
cache folder), a local mirror (`CIFT_MIRROR`, a folder with a MANIFEST.json), the network. Wherever it comes
from, its hash is checked before its path is handed out.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from cift.errors import InputError
from cift.privacy import pseudonymise

Transform = Callable[[bytes], bytes]


class Source(NamedTuple):
    """One public file. `hash` is "sha256:<hex>" or "sha1:<hex>"; `bytes` is None if the size is unknown.

    transform: what a download goes through, in memory, before it is kept. `hash` and `bytes` are those of the result.
    """

    dataset: str
    file: str
    url: str
    hash: str
    bytes: int | None
    licence: str
    citation: str
    transform: Transform | None = None

    @property
    def name(self) -> str:
        """The registry's key, "dataset/file"."""
        return f"{self.dataset}/{self.file}"


def _without_worker_ids(content: bytes) -> bytes:
    """Snow et al.'s tab-separated answers with the first two columns' ids, annotations and people, numbered."""
    rows = [line.split("\t") for line in content.decode("utf-8", "replace").split("\n")]
    answers = [row for row in rows[1:] if len(row) > 1]
    for column, prefix, digits in ((0, "a", 4), (1, "w", 3)):
        ids = pseudonymise((row[column] for row in answers), prefix, digits)
        for row, name in zip(answers, ids, strict=True):
            row[column] = name
    return "\n".join("\t".join(row) for row in rows).encode()


# fmt: off
_DATASETS = {  # name: (licence, citation)
    "chaosnli": (
        "CC BY-NC 4.0",
        "Nie, Zhou, Bansal (2020). What can we learn from collective human opinions on natural language "
        "inference data? EMNLP."),
    "glove": (
        "PDDL 1.0",
        "Pennington, Socher, Manning (2014). GloVe: global vectors for word representation. EMNLP."),
    "lalor2016": (
        "CC BY-SA 4.0",
        "Lalor, Wu, Yu (2016). Building an evaluation scale using item response theory. EMNLP."),
    "model-crowd": (
        "none stated; research use",
        "Vania, Htut, Huang, et al. (2021). Comparing test sets with item response theory. ACL."),
    "rte": (
        "none stated; research use",
        "Dagan, Glickman, Magnini (2006). The PASCAL recognising textual entailment challenge; "
        "Bar-Haim et al. (2006), the second; Giampiccolo et al. (2007), the third."),
    "sick": (
        "CC BY-NC-SA 3.0",
        "Marelli, Menini, Baroni, et al. (2014). A SICK cure for the evaluation of compositional "
        "distributional semantic models. LREC."),
    "snli": (
        "CC BY-SA 4.0",
        "Bowman, Angeli, Potts, Manning (2015). A large annotated corpus for learning natural language "
        "inference. EMNLP. Hard test subset: Gururangan et al. (2018). Annotation artifacts in natural "
        "language inference data. NAACL."),
    "snow2008": (
        "none stated; research use",
        "Snow, O'Connor, Jurafsky, Ng (2008). Cheap and fast, but is it good? Evaluating non-expert annotations "
        "for natural language tasks. EMNLP."),
}

# Urls name a commit wherever the host has commits, so that a file cannot change under its hash.
_GITHUB = "https://raw.githubusercontent.com/"
_CAT = _GITHUB + "academic-repository/cat/9c98ebb0d26edad9a3c8e8a7314a867e1b451d81/data/snli/"
_CHAOS = (_GITHUB + "jsbaan/calibration-on-disagreement-data/990e81cacadac5d0268160d1c02bad19d4ddb9a3/"
          "data/chaosNLI_v1.0/")
_MODELS = _GITHUB + "nyu-mll/nlu-test-sets/9b91bc46621eaa4859c899fc4f9f37bac88e6129/"
_SICK = _GITHUB + "brmson/dataset-sts/e1d3375f5b3bc24f21aa4e46f96eb379e9fc1081/data/sts/sick2014/"
_SNOW = _GITHUB + "edwinrobots/bayesian_combination_tutorial2/f98448e2e9a941463aa92f418eefd1f43bd5a637/"
_SNLI = _GITHUB + "uclnlp/adversarial-nli/7222b0fd2989fff237520c401d00249262f750dc/data/snli/"
_FILES = [  # (dataset, file, url, bytes, hash)
    ("chaosnli", "LICENSE", _GITHUB + "easonnie/ChaosNLI/f358e234ea2797d9298f7b0213bf1308b6d7756b/LICENSE",
     19331, "sha256:4b531055125dcda36059651634bdb424ad2612f4759b3d2067a731d2823d1cdc"),
    ("chaosnli", "chaosNLI_snli.jsonl", _CHAOS + "chaosNLI_snli.jsonl",
     768107, "sha256:99f9015ddda7d85f66a087452bc30d53974314fe27e7d589e2f41ad44bd509c1"),
    ("chaosnli", "chaosNLI_mnli_m.jsonl", _CHAOS + "chaosNLI_mnli_m.jsonl",
     871731, "sha256:8eb49b589488e7b1a9ec95fb8a864bd50f0509b4f808eed0aed3f8167617664d"),
    ("glove", "glove.840B.300d.zip", "https://nlp.stanford.edu/data/glove.840B.300d.zip",
     2176768927, "sha256:c06db255e65095393609f19a4cfca20bf3a71e20cc53e892aafa490347e3849f"),
    ("lalor2016", "data_emnlp2016.zip",
     _GITHUB + "jplalor/jplalor.github.io/26c238e5dadcca5629c89ae742c3e2f54ed73363/files/data_emnlp2016.zip",
     166758, "sha256:d4f5ae9841285373546822c96fca4830cfb1eb3c0a8611f8b769d3b50148108c"),
    ("model-crowd", "snli_irt_all_coded.csv", _MODELS + "data/snli_irt_all_coded.csv",
     1867516, "sha256:7d3d6988c43fabbfbc0433f998c1ad4026c99a2a10e69df88c09d17045d61a19"),
    ("model-crowd", "task_metadata.csv", _MODELS + "irt_scripts/task_metadata.csv",
     891, "sha256:4089b8cefef25ee9f402470d66d36ef46ef74e7db76320875e399ac79fba68a7"),
    ("rte", "rte.zip",
     _GITHUB + "nltk/nltk_data/5db857e6f7df11eabb5e5665836db9ec8df07e28/packages/corpora/rte.zip",
     386303, "sha256:2f806ead4d53171601254747c3b7c97d758e63a6ef54e3c010a6d62885ab214a"),
    ("sick", "SICK_train.txt", _SICK + "SICK_train.txt",
     506243, "sha256:266cf8047149bd1d68138dd30439f3122bff30069740ac6705bb6197d9f1b48e"),
    ("sick", "SICK_trial.txt", _SICK + "SICK_trial.txt",
     57225, "sha256:5a88cfb62f8c6bd2a3cce0f2421ba2cb8c2be5ab4a800f6f01e2c64aafb7db56"),
    ("sick", "SICK_test_annotated.txt", _SICK + "SICK_test_annotated.txt",
     559979, "sha256:2b8aa806658d6fc23c6824c83776c2d4fee7556000817b5ec0f982861413b7d0"),
    ("snow2008", "rte.standardized.tsv", _SNOW + "all_collected_data/rte.standardized.tsv",
     157988, "sha256:b9ab37c19972f195ba25ace20c9ba3eacb8495a64ec2ed822d498a8c553d5737"),
    ("snow2008", "rte1.tsv", _SNOW + "snow2008_mturk_data_with_orig_files_assembled_201904/rte/rte1.tsv",
     190781, "sha256:f59dfe1ceac428c63b463b4b6df41341e22e07faac8602aa83c5e7298908a80f"),
    ("snli", "cat_snli_train.csv", _CAT + "train.csv",
     1969082, "sha256:f1bca476f3011e031e634862b2a42294a1e5bcd6187daae82b1187f529d60613"),
    ("snli", "cat_snli_test.csv", _CAT + "test.csv",
     220911, "sha256:89d5aa158b10c3212c6f1c59e3996327e7c6ee6ea83da2527c99ee5a4817326a"),
    ("snli", "snli_1.0_dev.jsonl.gz", _SNLI + "snli_1.0_dev.jsonl.gz",
     1004730, "sha256:e5cfcc71b4846c40e06bae364a13312adeb434884e9a7cedf67037bdd212e39d"),
    ("snli", "snli_1.0_test.jsonl.gz", _SNLI + "snli_1.0_test.jsonl.gz",
     1005357, "sha256:ef5f0721f18e6aafd80f0d67aa2ef9784277aa08ba6a582c03fc381367282ac5"),
    ("snli", "snli_1.0_test_hard.jsonl.gz", _SNLI + "hard/snli_1.0_test_hard.jsonl.gz",
     455118, "sha256:dc9814a951d38ab1fa85827864722e8d4a0565c437f2b4e97a1fb1cb44810f20"),
    ("snli", "snli_1.0.zip", "https://nlp.stanford.edu/projects/snli/snli_1.0.zip",
     94550081, "sha1:9fcde07509c7e87ec61c640c1b2753d9041758e4"),
]
# fmt: on

_TRANSFORMS = {"snow2008/rte.standardized.tsv": _without_worker_ids}

REGISTRY: dict[str, Source] = {
    f"{dataset}/{file}": Source(
        dataset, file, url, hash_, size, *_DATASETS[dataset], _TRANSFORMS.get(f"{dataset}/{file}")
    )
    for dataset, file, url, size, hash_ in _FILES
}


def cache_dir() -> Path:
    """The folder that downloads go to: `CIFT_CACHE`, else the platform's cache folder for "cift"."""
    import pooch

    return Path(os.environ.get("CIFT_CACHE") or pooch.os_cache("cift"))


def fetch(name: str) -> Path:
    """Path of the registered file `name` ("dataset/file"), downloaded first if it is nowhere at hand.

    A file in the mirror is not copied: the path leads into the mirror, so treat it as read-only.

    Raises
    ------
    InputError
        An unknown name, a wrong hash, a file cut short, no network, a cache that cannot be written, or a
        mirror that is missing, incomplete or disagrees with its manifest or the registry. Nothing that
        failed its check stays in the cache.
    """
    source = _source(name)
    path = _at_hand(source)
    if path is None:
        path = cache_dir() / source.dataset / source.file
        _download(source, path)
    return path


def available(name: str) -> bool:
    """Whether `fetch(name)` needs no network: the file is cached or mirrored and its hash is right.

    Raises InputError for an unknown name and for a mirror that `fetch` would refuse.
    """
    return _at_hand(_source(name)) is not None


def _source(name: str) -> Source:
    if name not in REGISTRY:
        near = get_close_matches(name, REGISTRY, n=4, cutoff=0.3) or sorted(REGISTRY)
        raise InputError(f"no public file is registered as {name!r}; near names: {', '.join(near)}")
    return REGISTRY[name]


def _at_hand(source: Source) -> Path | None:
    cached = cache_dir() / source.dataset / source.file
    if cached.is_file() and _fault(cached, source.hash, source.bytes) is None:
        return cached
    return _mirrored(source)


def _fault(path: Path, expected: str, size: int | None = None) -> str | None:
    """What is wrong with a file, in words; None when its hash ("algorithm:hex") is right."""
    import pooch

    algorithm, _, digest = expected.partition(":")
    found = pooch.file_hash(str(path), alg=algorithm)
    if found == digest.lower():
        return None
    fault = f"wrong hash: expected {expected}, got {algorithm}:{found}"
    found_size = path.stat().st_size
    if size is not None and found_size < size:
        fault += f"; it is cut short, {found_size} of {size} bytes"
    return fault


def _mirrored(source: Source) -> Path | None:
    """The file in the mirror, checked against the mirror's manifest and the registry; None if absent."""
    mirror = os.environ.get("CIFT_MIRROR")
    if not mirror:
        return None
    listed = _manifest(Path(mirror)).get(source.name)
    if listed is None:
        return None
    path = Path(mirror) / source.dataset / source.file
    remedy = "copy the mirror again, or unset CIFT_MIRROR to download the file"
    if not path.is_file():
        raise InputError(f"{path}: listed in the mirror's MANIFEST.json but not there; {remedy}")
    fault = _fault(path, f"sha256:{listed}", source.bytes)
    if fault is not None:
        raise InputError(f"{path}: the file disagrees with the mirror's MANIFEST.json, {fault}; {remedy}")
    fault = _fault(path, source.hash, source.bytes)
    if fault is not None:
        raise InputError(f"{path}: the mirror's MANIFEST.json disagrees with the registry, {fault}; {remedy}")
    return path


def _manifest(mirror: Path) -> dict[str, str]:
    """Every file a mirror lists: "dataset/file" -> sha256."""
    path = mirror / "MANIFEST.json"
    remedy = "set CIFT_MIRROR to a folder with a MANIFEST.json, or unset it to download"
    if not mirror.is_dir():
        raise InputError(f"CIFT_MIRROR={mirror}: no such folder; {remedy}")
    if not path.is_file():
        raise InputError(f"CIFT_MIRROR={mirror}: no MANIFEST.json in the folder; {remedy}")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {f"{entry['dataset']}/{entry['file']}": str(entry["sha256"]) for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a JSON list of entries with dataset, file and sha256 ({error!r}); {remedy}"
        ) from error


def _download(source: Source, target: Path) -> None:
    """Download to `target`: into a temporary file beside it, checked there, then moved."""
    import pooch
    import requests

    original_or_copy = source.url
    if source.transform:
        original_or_copy = f"the copy of another cache (the ids of people at {source.url} are replaced on downloading)"
    by_hand = (
        f"to place the file by hand, save {original_or_copy} as {target} ({source.hash}); "
        "a folder that mirrors the public data can be named in CIFT_MIRROR"
    )
    stale = ""

    def download_checked(url: str, output_file: str, _: object) -> None:
        download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty())
        if source.transform is None:
            download(url, output_file, None)
        else:  # the original never reaches the disk
            original = io.BytesIO()
            download(url, original, None)
            Path(output_file).write_bytes(source.transform(original.getvalue()))
        fault = _fault(Path(output_file), source.hash, source.bytes)
        if fault is not None:
            raise InputError(
                f"{source.name}: what {url} sent has a {fault}. It was not kept{stale}. Try again; if it "
                f"stays so, the file changed at its source: {by_hand}"
            )

    try:
        if target.is_file():
            stale = f"; a cached copy was removed, {_fault(target, source.hash, source.bytes)}"
            target.unlink()
        pooch.retrieve(source.url, source.hash, fname=target.name, path=target.parent, downloader=download_checked)
    except requests.RequestException as error:
        raise InputError(
            f"{source.name}: {_reason(error)} while downloading {source.url}{stale}. Try again with a "
            f"network connection; {by_hand}"
        ) from error
    except OSError as error:
        raise InputError(
            f"{source.name}: the cache {target.parent} cannot be written ({error}); set CIFT_CACHE to a folder that can"
        ) from error


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer was cut short"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return f"no connection ({type(error).__name__})"
    return repr(error)
