"""Downloads in the networks that people sit in: proxies that ask, proxies that lack a package, certificates."""

import socketserver
import threading

import pytest
from hub_server import Hub, environment
from shell import Said, ended, start_l4f
from test_download_faults import DOGS, bundle, certificate, prepare  # noqa: F401, fixtures

from l4f_plugin.errors import UserError
from l4f_plugin.hub.hub_errors import PROXY_LOGIN, hub_errors, of_the_way_there


class _AsksForALogin(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def proxy():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _AsksForALogin) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://ann:secret@127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def download(hub, home, **variables: str) -> Said:
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
def plain(tmp_path, monkeypatch, bundle):  # noqa: F811
    with Hub() as server:
        prepare(server, tmp_path, monkeypatch, bundle)
        yield server


@pytest.fixture
def encrypted(tmp_path, monkeypatch, bundle, certificate):  # noqa: F811
    with Hub(certificate) as server:
        prepare(server, tmp_path, monkeypatch, bundle)
        yield server


def test_what_proxies_make_fail_is_one_sentence(plain, tmp_path, proxy):
    sentence = complaint(download(plain, tmp_path, ALL_PROXY="socks5://127.0.0.1:1"))
    assert "SOCKS proxy" in sentence and "pip install" in sentence
    assert "unknown kind" in complaint(download(plain, tmp_path, ALL_PROXY="socks://127.0.0.1:1"))
    assert "proxy asks for a login" in complaint(download(plain, tmp_path, HTTP_PROXY=proxy))
    for variable, address in (("HTTP_PROXY", "http://[::1"), ("HF_ENDPOINT", "garbage")):
        assert variable in complaint(download(plain, tmp_path, **{variable: address}))


def test_so_is_what_stands_before_an_encrypted_connection(encrypted, tmp_path, proxy):
    assert "proxy asks for a login" in complaint(download(encrypted, tmp_path, HTTPS_PROXY=proxy))
    sentence = complaint(download(encrypted, tmp_path))
    assert "SSL_CERT_FILE" in sentence and "REQUESTS_CA_BUNDLE" in sentence
    sentence = complaint(download(encrypted, tmp_path, SSL_CERT_FILE=str(tmp_path / "gone.pem")))
    assert "SSL_CERT_FILE names" in sentence and "gone.pem" in sentence


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_either_variable_names_the_certificates(encrypted, tmp_path, certificate, variable):  # noqa: F811
    answer = download(encrypted, tmp_path, **{variable: certificate})
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
