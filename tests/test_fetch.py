import hashlib
import http.server
import json
import threading

import pytest

from cift import fetch
from cift.errors import InputError


def sha256(content):
    return hashlib.sha256(content).hexdigest()


NAME = "demo/pairs.csv"
CONTENT = b"premise,hypothesis\n" * 500
SIZE, HALF = len(CONTENT), CONTENT[: len(CONTENT) // 2]
HASH = "sha256:" + sha256(CONTENT)
# short.csv announces the whole file and hangs up half way; stub.csv is a proper answer with half of the file
PAGES = {"/good.csv": CONTENT, "/changed.csv": CONTENT + b"x", "/short.csv": HALF, "/stub.csv": HALF}
# made-up ids in the form of Snow et al.'s file, and what is kept of it
WITH_IDS = b"!note\t!who\titem\tresponse\nZX81\tAMADEUP1\t7\t1\nZX80\tAMADEUP2\t7\t0\nZX79\tAMADEUP1\t8\t1\n"
WITHOUT_IDS = b"!note\t!who\titem\tresponse\na0001\tw001\t7\t1\na0002\tw002\t7\t0\na0003\tw001\t8\t1\n"
PAGES |= {"/ids.tsv": WITH_IDS, "/more_ids.tsv": WITH_IDS + b"ZX78\tAMADEUP3\t8\t1\n"}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        body = PAGES.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE if self.path == "/short.csv" else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = 0
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def register(monkeypatch):
    """register(url): put the demo file into the registry, expected to hold CONTENT."""

    def put(url, hash_=HASH, size=SIZE, transform=None):
        source = fetch.Source("demo", "pairs.csv", url, hash_, size, "CC0", "nobody (2026)", transform)
        monkeypatch.setitem(fetch.REGISTRY, NAME, source)

    return put


@pytest.fixture
def served(server, register):
    """served("good.csv"): register the demo file at that page of the local server."""

    def put(page, **changes):
        register(f"http://127.0.0.1:{server.server_port}/{page}", **changes)
        return server

    return put


def cached_files():
    return sorted(path.name for path in fetch.cache_dir().rglob("*") if path.is_file())


@pytest.fixture
def build_mirror(tmp_path, monkeypatch, register):
    """build_mirror(content, listed): a mirror that holds `content` and lists the hash `listed`."""

    def build(content=CONTENT, listed=None):
        register("http://127.0.0.1:9/never-asked")
        (tmp_path / "demo").mkdir()
        if content is not None:
            (tmp_path / NAME).write_bytes(content)
        entry = {"dataset": "demo", "file": "pairs.csv", "sha256": listed or sha256(CONTENT)}
        (tmp_path / "MANIFEST.json").write_text(json.dumps([entry]))
        monkeypatch.setenv("CIFT_MIRROR", str(tmp_path))
        return tmp_path

    return build


# the registry


def test_registry_is_complete():
    for name, source in fetch.REGISTRY.items():
        algorithm, _, digest = source.hash.partition(":")
        assert source.name == name
        assert len(digest) == {"sha256": 64, "sha1": 40}[algorithm]
        assert source.url.startswith("https://") and source.licence and source.citation


def test_registry_agrees_with_the_mirror(mirror):
    entries = json.loads((mirror / "MANIFEST.json").read_text())
    for entry in entries:
        source = fetch.REGISTRY[f"{entry['dataset']}/{entry['file']}"]
        assert entry["same_as_url"] == (source.transform is None)
        assert (source.url, source.bytes) == (entry["url"], entry["bytes"])
        assert fetch.fetch(source.name) == mirror / source.name
    assert len(entries) == len(fetch.REGISTRY) - 2  # the zips of SNLI and of GloVe are not mirrored
    assert cached_files() == []


def test_unknown_name_lists_near_names():
    with pytest.raises(InputError, match="chaosnli/chaosNLI_snli.jsonl"):
        fetch.fetch("chaosnli/chaosnli_snli.json")
    with pytest.raises(InputError, match="snli/snli_1.0.zip"):
        fetch.available("???")


# the network and the cache


def test_download_is_cached_and_not_repeated(served, capsys):
    server = served("good.csv")
    assert not fetch.available(NAME)
    path = fetch.fetch(NAME)
    assert path == fetch.cache_dir() / "demo" / "pairs.csv"
    assert path.read_bytes() == CONTENT
    assert fetch.available(NAME) and fetch.fetch(NAME) == path
    assert server.requests == 1 and cached_files() == ["pairs.csv"]
    assert "%|" not in capsys.readouterr().err  # no progress bar where nobody watches


def test_sha1_is_accepted(served):
    served("good.csv", hash_="sha1:" + hashlib.sha1(CONTENT).hexdigest(), size=None)
    assert fetch.fetch(NAME).read_bytes() == CONTENT


def test_changed_file_is_refused(served):
    served("changed.csv")
    with pytest.raises(InputError) as caught:
        fetch.fetch(NAME)
    message = str(caught.value)
    assert sha256(CONTENT) in message and sha256(CONTENT + b"x") in message
    assert str(fetch.cache_dir() / NAME) in message and "cut short" not in message
    assert cached_files() == []


def test_interrupted_transfer_leaves_nothing(served):
    served("short.csv")
    with pytest.raises(InputError, match="cut short while downloading http://127"):
        fetch.fetch(NAME)
    assert cached_files() == []


def test_truncated_file_is_said_to_be_short(served):
    served("stub.csv")
    with pytest.raises(InputError, match=f"cut short, {SIZE // 2} of {SIZE} bytes"):
        fetch.fetch(NAME)
    assert cached_files() == []


def test_absent_file(served):
    served("moved.csv")
    with pytest.raises(InputError, match="the server answered 404"):
        fetch.fetch(NAME)
    assert cached_files() == []


def test_no_network_says_where_to_put_the_file(register, server):
    server.server_close()  # nothing listens at its port any more: connection refused
    url = f"http://127.0.0.1:{server.server_port}/good.csv"
    register(url)
    with pytest.raises(InputError, match="no connection") as caught:
        fetch.fetch(NAME)
    for part in (url, str(fetch.cache_dir() / NAME), HASH, "CIFT_MIRROR"):
        assert part in str(caught.value)
    assert cached_files() == []


def test_file_placed_by_hand_is_used(register):
    register("http://127.0.0.1:9/never-asked")
    path = fetch.cache_dir() / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch.available(NAME) and fetch.fetch(NAME) == path


@pytest.mark.parametrize("page", ["good.csv", "moved.csv", "changed.csv"])
def test_corrupt_cached_file_is_replaced_or_removed(served, page):
    served(page)
    path = fetch.cache_dir() / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:100])
    assert not fetch.available(NAME)
    if page == "good.csv":
        assert fetch.fetch(NAME).read_bytes() == CONTENT
    else:
        with pytest.raises(InputError, match=f"a cached copy was removed, wrong hash.*100 of {SIZE} bytes"):
            fetch.fetch(NAME)
        assert cached_files() == []


def test_unwritable_cache(served, tmp_path, monkeypatch):
    served("good.csv")
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("CIFT_CACHE", str(tmp_path / "taken"))
    with pytest.raises(InputError, match="cannot be written.*set CIFT_CACHE"):
        fetch.fetch(NAME)


def test_cache_folder_of_the_platform(monkeypatch):
    monkeypatch.delenv("CIFT_CACHE")
    assert fetch.cache_dir().name == "cift"


# ids that stand for people


@pytest.fixture
def served_with_ids(served):
    """served_with_ids("ids.tsv"): as `served`; the file's ids are replaced, and never seen in the cache before."""

    def transform(content):
        assert b"AMADEUP" in content
        assert not [path for path in fetch.cache_dir().rglob("*") if path.is_file() and path.stat().st_size]
        return fetch.REGISTRY["snow2008/rte.standardized.tsv"].transform(content)

    def put(page):
        return served(page, hash_="sha256:" + sha256(WITHOUT_IDS), size=len(WITHOUT_IDS), transform=transform)

    return put


def test_ids_are_replaced_before_anything_is_kept(served_with_ids):
    server = served_with_ids("ids.tsv")
    assert fetch.fetch(NAME).read_bytes() == WITHOUT_IDS
    assert cached_files() == ["pairs.csv"]
    assert fetch.available(NAME) and fetch.fetch(NAME) and server.requests == 1


@pytest.mark.parametrize("page", ["more_ids.tsv", "moved.tsv"])
def test_no_ids_stay_after_a_failure(served_with_ids, page):
    """Nor does a file with ids that someone saved in the cache by hand: the error says what to do instead."""
    served_with_ids(page)
    path = fetch.cache_dir() / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(WITH_IDS)
    with pytest.raises(InputError, match="save the copy of another cache .the ids of people at http") as caught:
        fetch.fetch(NAME)
    assert "AMADEUP" not in str(caught.value) and cached_files() == []


def test_another_file_than_answers_is_refused(served_with_ids, monkeypatch):
    served_with_ids("ids.tsv")
    monkeypatch.setitem(PAGES, "/ids.tsv", b"<html>AMADEUP\xff</html>")
    with pytest.raises(InputError, match="wrong hash"):
        fetch.fetch(NAME)
    assert cached_files() == []


def test_ids_are_numbered_as_in_the_registered_file(mirror):
    """Other ids in its place, the mirrored file comes out again, with the registry's hash."""
    source = fetch.REGISTRY["snow2008/rte.standardized.tsv"]
    content = (mirror / source.name).read_bytes()
    header, *lines = content.decode().split("\n")
    cells = [line.split("\t") for line in lines]
    raw = [header, *("\t".join([f"note {note}", f"A{who}X", *rest]) for note, who, *rest in cells[:-1]), ""]
    assert "sha256:" + sha256(source.transform("\n".join(raw).encode())) == source.hash
    assert source.transform(content) == content


# the mirror


def test_mirrored_file_is_not_copied(build_mirror):
    mirror = build_mirror()
    assert fetch.available(NAME) and fetch.fetch(NAME) == mirror / NAME
    assert cached_files() == []


def test_file_that_the_mirror_lacks_is_downloaded(build_mirror, served):
    mirror = build_mirror()
    (mirror / "MANIFEST.json").write_text("[]")
    served("good.csv")
    assert fetch.fetch(NAME) == fetch.cache_dir() / NAME


def test_missing_mirror(build_mirror, monkeypatch):
    mirror = build_mirror()
    monkeypatch.setenv("CIFT_MIRROR", str(mirror / "nowhere"))
    with pytest.raises(InputError, match="nowhere: no such folder; set CIFT_MIRROR"):
        fetch.fetch(NAME)
    with pytest.raises(InputError, match="no such folder"):
        fetch.available(NAME)


def test_mirror_without_manifest(build_mirror):
    (build_mirror() / "MANIFEST.json").unlink()
    with pytest.raises(InputError, match="no MANIFEST.json"):
        fetch.fetch(NAME)


@pytest.mark.parametrize("manifest", ["{", '{"a": 1}', '[{"dataset": "demo", "file": "f"}]', "[1]", "3"])
def test_manifest_that_cannot_be_read(build_mirror, manifest):
    (build_mirror() / "MANIFEST.json").write_text(manifest)
    with pytest.raises(InputError, match="MANIFEST.json: not a JSON list"):
        fetch.fetch(NAME)


def test_listed_file_is_not_there(build_mirror):
    build_mirror(content=None)
    with pytest.raises(InputError, match="pairs.csv: listed in the mirror's MANIFEST.json but not there"):
        fetch.fetch(NAME)


def test_mirrored_file_was_changed(build_mirror):
    build_mirror(content=CONTENT[:-7])
    with pytest.raises(InputError, match="the file disagrees with the mirror's MANIFEST.json.*cut short"):
        fetch.fetch(NAME)


def test_manifest_disagrees_with_the_registry(build_mirror):
    other = b"another version"
    build_mirror(content=other, listed=sha256(other))
    with pytest.raises(InputError, match="MANIFEST.json disagrees with the registry") as caught:
        fetch.fetch(NAME)
    assert sha256(CONTENT) in str(caught.value) and sha256(other) in str(caught.value)
