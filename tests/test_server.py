"""How a page is started: past proxies, on a port that is free, patiently, and in sentences where it cannot."""

import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from api_server import page_served, service
from gradio_client import Client
from proxies import login_proxy
from sentences import refusal
from serving import unused_port
from shell import start

from l4f_plugin.errors import UserError
from l4f_ui import app, compat, server

SOCKS = "socks5://127.0.0.1:1"


@pytest.fixture(scope="module")
def dead_proxy():
    with login_proxy() as proxy:
        yield proxy


@contextmanager
def command(*arguments: str, **environment: str):
    """The page as a person starts it; gives the process and the address that it names."""
    own = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    process = start("-m", "l4f_ui", "--no-browser", *arguments, stderr=subprocess.STDOUT, env=own)
    try:
        said = []
        for line in iter(process.stdout.readline, ""):
            said.append(line)
            if found := re.search(r"is at (http://\S+)", line):
                yield process, found[1]
                return
        raise AssertionError("".join(said))
    finally:
        process.kill()
        process.wait()


def told_alone(address: str, path: str = "config") -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{address}{path}", timeout=60) as answer:
        return answer.status


def test_the_page_starts_whatever_proxy_the_environment_names(tmp_path):
    proxies = {"HTTP_PROXY": SOCKS, "HTTPS_PROXY": SOCKS, "ALL_PROXY": "socks://127.0.0.1:1"}
    with command("--port", str(unused_port()), "--output-dir", str(tmp_path), **proxies) as (_, address):
        assert told_alone(address) == 200


def test_a_page_past_a_proxy_is_behind_its_password_until_it_is_interrupted(dead_proxy, tmp_path):
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), dead_proxy.address)
    options = ["--port", str(unused_port()), "--auth", "ann:secret", "--output-dir", str(tmp_path)]
    with command(*options, **proxies) as (process, address):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            told_alone(address)
        assert not dead_proxy.asked, "the page talks to itself only"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_a_page_of_this_process_starts_so_too(dead_proxy, models, tmp_path):
    exceptions = {"all_proxy": "socks5h://127.0.0.1:1", "NO_PROXY": "localhost,::1/128"}
    for setting in ({"HTTP_PROXY": dead_proxy.address}, {"ALL_PROXY": dead_proxy.address}, exceptions):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in setting.items():
                patch.setenv(name, value)
            with page_served(tmp_path) as site:
                assert told_alone(site.address) == 200
    assert not dead_proxy.asked


def test_the_proxies_of_the_user_are_there_again_after_the_start(models, tmp_path, monkeypatch):
    before = {"NO_PROXY": "intranet", "ALL_PROXY": SOCKS, "SSL_CERT_FILE": str(tmp_path / "missing.pem")}
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("no_proxy", raising=False)
    with page_served(tmp_path) as site:
        assert told_alone(site.address) == 200
    assert {name: os.environ.get(name) for name in before} == before and "no_proxy" not in os.environ
    with server.past_proxies("127.0.0.1"):
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "intranet,127.0.0.1"
        assert os.environ["SSL_CERT_FILE"] == before["SSL_CERT_FILE"]


@pytest.fixture
def models(tiny_bundle_folder, monkeypatch):
    monkeypatch.setenv("LABELS4FREE_MODELS", str(tiny_bundle_folder.parent))


def test_taken_port_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert server.free_port(port, "127.0.0.1") > port


def test_a_port_that_is_taken_after_the_look_at_it_is_passed_over_too(models, tmp_path, monkeypatch):
    """Two pages started at once both find the same port free, and take seconds to use it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken, free_port = other.getsockname()[1], server.free_port
        looks = iter([taken])
        monkeypatch.setattr(server, "free_port", lambda first, host: next(looks, None) or free_port(first, host))
        page = app.build(service(tmp_path))
        opening = {"host": "127.0.0.1", "port": taken, "share": False, "inbrowser": False}
        address, _ = server.open_page(page, css=app.style(), **opening)
        try:
            port = urlsplit(address).port
            assert port > taken and address == f"http://127.0.0.1:{port}/"
            assert told_alone(address) == 200
        finally:
            compat.close(page)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_slow_start_gets_a_second_try_then_a_sentence(models, tmp_path, monkeypatch, failures):
    from gradio import networking

    answers = iter([False] * failures + [True])
    monkeypatch.setattr(networking, "url_ok", lambda url: next(answers))  # on a busy computer its own might say no
    made = service(tmp_path)
    page = app.build(made)
    opening = {"host": "127.0.0.1", "port": unused_port(), "share": False, "inbrowser": False, "programs": made}
    if failures == 2:
        with pytest.raises(UserError, match="did not answer itself in time.*[.]$"):
            server.open_page(page, css=app.style(), **opening)
        assert not page.is_running
        return
    address, _ = server.open_page(page, css=app.style(), **opening)
    try:
        assert told_alone(address, "l4f/v1/classes") == 200, "what answers is what a login is asked of"
        client = Client(address, verbose=False, httpx_kwargs={"timeout": 120})  # its own 5 s are few
        assert client.predict(api_name="/classes"), "jobs run"
    finally:
        compat.close(page)


def test_sub_paths_are_read_as_people_write_them():
    read = {"": "", "/": "", "studio": "/studio", "/studio/": "/studio", "/a/b": "/a/b"}
    read |= {f"{site}/studio/": f"{site}/studio" for site in ("https://example.org", "http://example.org")}
    for written, expected in {**read, "http://example.org": "http://example.org"}.items():
        assert server.checked_root_path(written) == expected
    for written in ("ftp://example.org", "/a b", "/a?b", "/a#b", "https://", "/a//b", "/../a"):
        assert "--root-path" in refusal(server.checked_root_path, written)
