"""Downloads that go wrong: each ends in one sentence, leaves nothing half done, and a later try succeeds."""

import dataclasses
import hashlib
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import huggingface_hub
import pytest
from hub_server import TENSORFLOW as CHECKPOINT
from hub_server import Fault, Hub, catalogue_entry, environment, offer_things, point_at, stored, write_catalogue
from pages import wait_until
from proxies import login_proxy
from sentences import refusal
from shell import Said, ended, start, start_l4f
from test_download import DOGS, bundle  # noqa: F401, fixture

from l4f_plugin.bundles import catalogue
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.locks import lock
from l4f_plugin.errors import UserError
from l4f_plugin.hub import resumable
from l4f_plugin.hub.download import resolve
from l4f_plugin.hub.hub_errors import PROXY_LOGIN, hub_errors, of_the_way_there
from l4f_plugin.hub.repository import Source

PIECE = 1 << 16


def prepare(server, home, monkeypatch, bundle):  # noqa: F811
    point_at(server, monkeypatch, home)
    server.put_folder(DOGS, bundle)
    offer_things(server, home)


@pytest.fixture
def hub(tmp_path, monkeypatch, bundle):  # noqa: F811
    with Hub() as server:
        prepare(server, tmp_path, monkeypatch, bundle)
        yield server


def refused(name: str) -> str:
    """The sentence of a download that fails; nothing of the class may be there afterwards."""
    said = refusal(resolve, name)
    assert ";" in said or "accept" in said, "the sentence does not say what to do: " + said
    assert name not in [entry.name for entry in catalogue.classes() if entry.installed]
    return said


HEAD, GET = ("HEAD",), ("GET",)
CUT = "(was cut off after .*; check the connection and try again: it goes on|could not be fetched .*; check the conn)"


@pytest.mark.parametrize("name", [DOGS, "things"])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        *((Fault(kind), CUT) for kind in ("cut", "reset")),
        (Fault("wrong bytes"), "is not the file that was expected .* thrown away; try again"),
        (Fault("other hash", methods=HEAD), "is not the file that was expected .*; try again"),
        *((Fault(kind, methods=HEAD), "Hub instead of .* left alone") for kind in ("longer", "shorter")),
        (Fault("longer", methods=GET), "bytes it should have and was thrown away|could not be fetched .*; check"),
        (Fault(401), r"\(HTTP status 401\); check the name, then log in"),
        (Fault(403), r"forbids .* \(HTTP status 403\); ask its owner"),
        (Fault(404), "has no repository .* that you may read; check the name"),
        (Fault(429), r"asked too often .*\(HTTP status 429\); wait some minutes"),
        *((Fault(code), rf"trouble of its own \(HTTP status {code}\); try again later") for code in (500, 503)),
        *((Fault(code, methods=GET), rf"\(HTTP status {code}\)") for code in (401, 403, 429, 502)),
        (Fault(404, methods=GET), "has no repository"),
        *((Fault("circle", methods=methods), "in a circle of addresses; check HF_ENDPOINT") for methods in (HEAD, GET)),
        (Fault("no hub", methods=HEAD), "does not answer as the Hub does; check HF_ENDPOINT"),
    ],
    ids=lambda value: f"{value.kind} {'+'.join(value.methods)}" if isinstance(value, Fault) else "",
)
def test_a_fault_ends_in_a_sentence_and_a_later_try_succeeds(hub, name, fault, sentence):
    hub.fault = fault
    said = refused(name)
    assert re.search(sentence, said), said
    hub.fault = None
    assert load_bundle(resolve(name)) and catalogue.verify(name)


@pytest.mark.parametrize("kind", ["cut", "reset", 429, 503])
def test_a_passing_fault_is_not_noticed(hub, kind):
    hub.fault = Fault(kind, times=2, methods=GET)
    assert load_bundle(resolve("things"))
    assert len(stored(hub)) == 3
    if kind == "cut":
        half = CHECKPOINT.stat().st_size // 2
        first, second, third = (request.position for request in stored(hub))
        # huggingface_hub below 1.0 loses the piece in which the cut was
        assert first == 0 and half - PIECE < second <= half and third > half + half // 2 - 2 * PIECE


def test_a_later_call_goes_on_where_the_cut_was(hub):
    cut_short(hub)
    reached = stored(hub)[-1].position
    assert reached > CHECKPOINT.stat().st_size // 2
    hub.requests.clear()
    resolve("things")
    assert [request.position >= reached for request in stored(hub)] == [True]


def cut_short(hub) -> Path:
    """What a download that was cut off leaves."""
    hub.fault = Fault("cut")
    refused("things")
    hub.fault = None
    [partial] = Source("someone/checkpoints").cache().rglob("*.l4f.incomplete")
    return partial


def test_a_spoiled_beginning_is_fetched_anew(hub):
    with open(cut_short(hub), "r+b") as file:
        file.write(b"spoiled")
    assert load_bundle(resolve("things"))
    assert [request.position > 0 for request in stored(hub)][-2:] == [True, False]


def test_more_than_the_file_has_arrived_before(hub):
    cut_short(hub).write_bytes(b"x" * (CHECKPOINT.stat().st_size + 1))
    assert "thrown away; try again" in refusal(resolve, "things")
    assert load_bundle(resolve("things"))


def test_the_hub_may_say_how_long_to_wait(hub, monkeypatch):
    waited = []
    monkeypatch.setattr(resumable, "_wait", lambda seconds, cancel: waited.append(seconds))
    hub.fault = Fault(429, times=3, methods=GET, headers={"Retry-After": "7"})
    resolve("things")
    assert waited == [7, 7, 7]


@pytest.mark.parametrize("headers", [{"X-Repo-Commit": "../../.."}, {"ETag": '"../../../x"'}, {"ETag": '""'}])
def test_names_from_the_server_stay_names(hub, tmp_path, headers, monkeypatch):
    """The commit and the etag become paths in the cache."""
    from hub_server import _Handler

    answer = _Handler._send

    def send(self, status, given=None, *rest):
        answer(self, status, {**(given or {}), **headers} if given and "X-Repo-Commit" in given else given, *rest)

    monkeypatch.setattr(_Handler, "_send", send)
    assert "does not answer as the Hub does" in refused(DOGS)
    assert not (tmp_path / "hf").exists()


# From https


@pytest.fixture
def certificate(tmp_path) -> str:
    """A file with key and certificate for the loopback, made for this test."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl program to make a certificate with")
    path = tmp_path / "loopback.pem"
    made = "-newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", *made.split(), "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return str(path)


@pytest.mark.parametrize("methods", [HEAD, GET])
def test_from_https_nothing_leads_to_http(tmp_path, monkeypatch, bundle, certificate, methods):  # noqa: F811
    with Hub(certificate) as server:
        prepare(server, tmp_path, monkeypatch, bundle)
        trusted = {name: certificate for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}

        def download():
            return ended(start_l4f("download", DOGS, env=environment(server, tmp_path, **trusted)))

        server.fault = Fault("downgrade", methods=methods)
        answer = download()
        assert answer.code == 2, answer.err
        assert answer.err.splitlines()[-1].startswith("l4f: The download was led from https to http"), answer.err
        server.fault = None
        assert download().code == 0


# Disks


def test_too_little_space_is_told_before_a_byte_is_fetched(hub, monkeypatch):
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000_000))
        assert "needs 7 MB on the disk of" in refused("things") and stored(hub) == []
        assert "free some space" in refused(DOGS) and stored(hub) == []
    assert load_bundle(resolve("things"))


@pytest.mark.parametrize("limit", ["downloading", "converting"])
def test_a_disk_that_fills_up(hub, tmp_path, limit):
    """A limit on the size of files stands for the disk: writing fails in the middle, as on a full one."""
    pytest.importorskip("resource", reason="this system has no limits on the size of files")
    size = {"downloading": CHECKPOINT.stat().st_size // 2, "converting": 10_000}[limit]
    code = f"""
        import resource, sys; from l4f_plugin.hub import download; from l4f_plugin import cli
        def small(): resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, resource.RLIM_INFINITY))
        convert = download._convert
        def converting(*given): small(); convert(*given)
        {"small()" if limit == "downloading" else "download._convert = converting"}
        sys.exit(cli.main(["download", "things"]))
    """
    answer = ended(start(code, env=environment(hub, tmp_path)))
    assert answer.code == 2, answer.err
    assert answer.err.splitlines()[-1].startswith("l4f: The disk is full"), answer.err
    assert not catalogue.look_up("things").installed
    assert load_bundle(resolve("things"))
    leftovers = [path.name for path in (tmp_path / "models").iterdir() if "installing" in path.name]
    assert leftovers == []


@pytest.mark.parametrize("name", [DOGS, "things"])
@pytest.mark.parametrize("place", ["hf", "models"])
def test_a_folder_that_cannot_be_written(hub, tmp_path, monkeypatch, name, place):
    (tmp_path / "file").write_text("no folder")
    with monkeypatch.context() as broken:
        if place == "hf":
            broken.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file/hub"))
        else:
            broken.setenv("LABELS4FREE_CATALOGUE", str(tmp_path / "models/catalogue.json"))
            broken.setenv("LABELS4FREE_MODELS", str(tmp_path / "file/models"))
            if name == DOGS:
                assert load_bundle(resolve(DOGS))  # a bundle from the Hub needs no models folder
                return
        said = refused(name)
        assert f"because {tmp_path / 'file'} is a file; choose another folder" in said
        assert stored(hub) == []
    assert load_bundle(resolve(name))


# Kills


def kill(process) -> None:
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.communicate()


def test_killed_while_downloading(hub, tmp_path):
    hub.pause = 0.005
    process = start_l4f("download", "things", env=environment(hub, tmp_path))
    blobs = Source("someone/checkpoints").cache() / "blobs"
    come = lambda: any(path.stat().st_size > 20_000 for path in blobs.glob("*.incomplete"))  # noqa: E731
    wait_until(lambda: process.poll() is not None or come())
    assert process.poll() is None, process.communicate()
    kill(process)
    hub.pause = 0.0
    hub.requests.clear()
    assert not catalogue.look_up("things").installed
    assert load_bundle(resolve("things"))
    assert [request.position > 10_000 for request in stored(hub)] == [True]


def test_killed_while_converting(hub, tmp_path):
    code = """
        import time; from l4f_plugin.bundles import bundle
        save = bundle.save_tensors
        def slow(*given): save(*given); print("written", flush=True); time.sleep(60)
        bundle.save_tensors = slow
        from l4f_plugin.hub.download import resolve; resolve("things")
    """
    process = start(code, env=environment(hub, tmp_path))
    assert process.stdout.readline() == "written\n"
    assert list((tmp_path / "models").glob("*things.installing-*")), "it did not come to that"
    kill(process)
    assert not catalogue.look_up("things").installed
    hub.requests.clear()
    assert load_bundle(resolve("things"))
    assert stored(hub) == []  # what had been downloaded was not lost
    assert not list((tmp_path / "models").glob("*things.installing-*"))


def test_a_lock_ends_with_its_holder(tmp_path):
    path = tmp_path / "a.lock"
    code = """
        import sys, time; from pathlib import Path; from l4f_plugin.bundles.locks import lock
        with lock(Path(sys.argv[1])): print("held", flush=True); time.sleep(60)
    """
    process = start(code, path)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="busy"), lock(path, refusal="busy"):
        pass
    kill(process)
    with lock(path, refusal="busy"), pytest.raises(UserError, match="busy"), lock(path, refusal="busy"):
        pass  # threads of one process exclude each other too


@pytest.mark.parametrize("told", [True, False], ids=["size told", "size hidden"])
@pytest.mark.parametrize("name", ["config.json", "README.md", "generator.safetensors", "checkpoint"])
def test_every_file_has_its_bound(hub, tmp_path, bundle, monkeypatch, name, told):  # noqa: F811
    from l4f_plugin.hub import download

    large = b" " * (6 << 20)
    monkeypatch.setattr(download, "LARGEST_FILE", 1 << 20)
    if not told:
        make = huggingface_hub.get_hf_file_metadata

        def hide(url, **more):
            hidden = {"size": None} if url.endswith((name, "things.pkl")) else {}
            return dataclasses.replace(make(url, **more), **hidden)

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", hide)
    asked = DOGS
    if name == "checkpoint":
        asked = "things"
        hub.put("someone/checkpoints", {"things.pkl": large})
        write_catalogue(tmp_path, things=catalogue_entry(large, "things.pkl", bytes=None, sha256=None))
    else:
        files = {path.name: path.read_bytes() for path in bundle.iterdir()}
        if name == "generator.safetensors":
            config = json.loads(files["config.json"])
            config["files"][name] = {"bytes": len(large), "sha256": hashlib.sha256(large).hexdigest()}
            files["config.json"] = json.dumps(config).encode()
        hub.put(DOGS, files | {name: large})
    if name == "README.md":
        assert load_bundle(resolve(asked)).model_card is None
    else:
        assert "and was not fetched; choose" in refused(asked)
    assert not [request for request in hub.asked() if request.path.endswith(("things.pkl", name))]
    kept = [path for path in (tmp_path / "hf").rglob("*") if path.is_file() and path.stat().st_size > 1 << 19]
    assert not kept


# Proxies and certificates


@pytest.fixture
def proxy():
    with login_proxy("ann:secret@") as asking:
        yield asking.address


def download_through(hub, home, **variables: str) -> Said:
    others = {name: "" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")}
    asked = environment(hub, home, **{**others, **variables})
    kept = {name: value for name, value in asked.items() if value or name not in others}
    return ended(start_l4f("download", DOGS, env=kept))


def complaint(answer: Said) -> str:
    assert answer.code == 2 and "Traceback" not in answer.err, answer.err
    [sentence] = [line for line in answer.err.splitlines() if line.startswith("l4f: ")]
    assert sentence.endswith(".") and "secret" not in sentence
    return sentence


@pytest.fixture
def encrypted(tmp_path, monkeypatch, bundle, certificate):  # noqa: F811
    with Hub(certificate) as server:
        prepare(server, tmp_path, monkeypatch, bundle)
        yield server


def test_what_proxies_make_fail_is_one_sentence(hub, tmp_path, proxy):
    sentence = complaint(download_through(hub, tmp_path, ALL_PROXY="socks5://127.0.0.1:1"))
    assert "SOCKS proxy" in sentence and "pip install" in sentence
    assert "unknown kind" in complaint(download_through(hub, tmp_path, ALL_PROXY="socks://127.0.0.1:1"))
    assert "proxy asks for a login" in complaint(download_through(hub, tmp_path, HTTP_PROXY=proxy))
    for variable, address in (("HTTP_PROXY", "http://[::1"), ("HF_ENDPOINT", "garbage")):
        assert variable in complaint(download_through(hub, tmp_path, **{variable: address}))


def test_so_is_what_stands_before_an_encrypted_connection(encrypted, tmp_path, proxy):
    assert "proxy asks for a login" in complaint(download_through(encrypted, tmp_path, HTTPS_PROXY=proxy))
    sentence = complaint(download_through(encrypted, tmp_path))
    assert "SSL_CERT_FILE" in sentence and "REQUESTS_CA_BUNDLE" in sentence
    sentence = complaint(download_through(encrypted, tmp_path, SSL_CERT_FILE=str(tmp_path / "gone.pem")))
    assert "SSL_CERT_FILE names" in sentence and "gone.pem" in sentence


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_either_variable_names_the_certificates(encrypted, tmp_path, certificate, variable):  # noqa: F811
    answer = download_through(encrypted, tmp_path, **{variable: certificate})
    assert answer.code == 0, answer.err


class ProxyError(OSError):
    """As the HTTP libraries call it."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("Using SOCKS proxy, but the 'socksio' package is not installed."), "pip install socksio"),
        (ProxyError("Missing dependencies for SOCKS support."), "pip install pysocks"),
        (ValueError("Unknown scheme for proxy URL URL('socks://h')"), "unknown kind"),
        (ProxyError("Tunnel connection failed: 407 Proxy Authentication Required"), PROXY_LOGIN),
        (ProxyError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), "certificate"),
    ],
)
def test_every_library_is_understood_in_fetching_and_uploading(error, words):
    assert words in of_the_way_there(error)
    with pytest.raises(UserError, match=".*[.]$") as caught, hub_errors("someone/dogs", writing=True):
        raise error
    assert words in str(caught.value)


def test_other_errors_are_left_to_others():
    for error in (ImportError("no module named x"), ValueError("7"), OSError(5, "proxy"), KeyError("socks")):
        assert of_the_way_there(error) is None
