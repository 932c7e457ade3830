"""What stands before the whole page: whose requests are let in, what answers carry, how much may be uploaded."""

import os
import socket
import time
from pathlib import Path

import httpx
import pytest
from api_server import page_served, service
from serving import served

from l4f_ui import compat, front, server
from l4f_ui import uploads as uploads_module
from l4f_ui.uploads import NoRoom, Uploads
from l4f_ui.visitors import HOSTS_VARIABLE, Visitors

REBOUND = {"host": "evil.example:7860", "origin": "http://evil.example:7860"}
OTHER_SITE = {"origin": "https://evil.example"}


@pytest.fixture(scope="module")
def site(tiny_models, tmp_path_factory):
    with page_served(tmp_path_factory.mktemp("out")) as server:
        yield server


@pytest.fixture(scope="module")
def closed_site(tiny_models, tmp_path_factory):
    """The page behind a login."""
    with page_served(tmp_path_factory.mktemp("out"), auth=("ann", "secret")) as server:
        yield server


def inner(site) -> str:
    """Where Gradio's own addresses begin."""
    return site.address.rstrip("/") + httpx.get(f"{site.address}config").json().get("api_prefix", "")


def addresses(site) -> dict[str, tuple[str, str]]:
    """Method and address of every kind of thing that there is, by what it is."""
    below = inner(site)
    saved = site.outputs.today() / "seed.txt"
    saved.parent.mkdir(parents=True, exist_ok=True)
    saved.write_text("a picture")
    return {
        "page": ("GET", site.address),
        "config": ("GET", f"{site.address}config"),
        "a file": ("GET", f"{below}/file={saved}"),
        "upload": ("POST", f"{below}/upload"),
        "queue": ("POST", f"{below}/queue/join"),
        "run": ("POST", f"{below}/run/predict"),
        "classes": ("GET", f"{site.address}l4f/v1/classes"),
        "segment": ("POST", f"{site.address}l4f/v1/segment"),
        "description": ("GET", f"{site.address}l4f/v1/docs"),
        "nothing": ("GET", f"{site.address}nothing"),
    }


def ask(kind: str, method: str, address: str, **headers: str) -> httpx.Response:
    body = {"files": {"files": ("x.png", b"x")}} if kind == "upload" else {"json": {}} if method == "POST" else {}
    return httpx.request(method, address, headers=headers, timeout=60, **body)


def answers(site, **headers: str) -> dict[str, httpx.Response]:
    """What every kind of thing answers to a request with these headers."""
    return {kind: ask(kind, *place, **headers) for kind, place in addresses(site).items()}


# Whose requests are let in


@pytest.mark.parametrize(
    "headers",
    [
        *({"host": host} for host in ("evil.example", "127.0.0.1.evil.example", "evil.example\\127.0.0.1")),
        *({**REBOUND, **more} for more in ({}, {"x-forwarded-host": "127.0.0.1"}, {"sec-fetch-site": "same-origin"})),
        {"host": "evil.example", "sec-fetch-mode": "navigate", "sec-fetch-site": "none"},
    ],
)
def test_a_name_that_anybody_can_point_here_reaches_nothing(site, headers):
    for kind, answer in answers(site, **headers).items():
        assert answer.status_code == 403, kind
        assert "--allowed-host" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        *({"origin": origin} for origin in ("https://evil.example", "null", "http://127.0.0.1:1")),
        {"sec-fetch-site": "cross-site"},
        {**OTHER_SITE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {**OTHER_SITE, "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    ],
)
def test_a_page_of_another_site_reaches_nothing(site, headers):
    assert {answer.status_code for answer in answers(site, **headers).values()} == {403}
    for path in ("config", "l4f/v1/segment"):
        asked = httpx.options(f"{site.address}{path}", headers={**headers, "access-control-request-method": "POST"})
        assert "access-control-allow-origin" not in asked.headers


def test_a_link_on_another_site_leads_to_the_page(site):
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert httpx.get(site.address, headers=followed).status_code == 200
    assert httpx.post(f"{site.address}l4f/v1/segment", headers=followed, json={"seed": 1}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "192.168.1.5:7860", "studio", "studio.local:7860"])
def test_addresses_and_names_of_the_local_network_reach_it(site, host):
    found = addresses(site)
    for kind in ("page", "config", "a file", "classes"):
        headers = {"host": host, "origin": f"http://{host}"}
        assert ask(kind, *found[kind], **headers).status_code == 200, kind


def test_a_login_keeps_strangers_out_under_any_name(closed_site):
    """Behind a reverse proxy, say; no cookie goes to a name that the person has not logged in to."""
    own = {"host": "studio.example", "origin": "https://studio.example"}
    login = {"username": "ann", "password": "secret"}
    answer = httpx.post(f"{closed_site.address}login", data=login, headers=own)
    given = [line.partition(";")[0] for line in answer.headers.get_list("set-cookie")]
    cookies, made_up = "; ".join(given), "; ".join(f"{cookie.partition('=')[0]}=guess" for cookie in given)
    for path in ("config", "l4f/v1/classes"):
        asked = ({}, {"cookie": cookies}, {"cookie": made_up}, {"cookie": cookies, **OTHER_SITE})
        found = [httpx.get(f"{closed_site.address}{path}", headers={**own, **more}).status_code for more in asked]
        assert found == [401, 200, 401, 403], path
    for status, password in ((200, "secret"), (401, "wrong")):
        assert httpx.get(f"{closed_site.address}l4f/v1/classes", auth=("ann", password)).status_code == status


def judged(visitors: Visitors, method: str = "POST", **headers: str) -> str | None:
    return visitors.complaint(method, {name.replace("_", "-"): value for name, value in headers.items()})


def test_names_that_were_given_reach_it(monkeypatch):
    visitors = Visitors(["Studio.Example", "*.hf.space"])
    for name in ("studio.example", "studio.example:8443", "me-mine.hf.space", "STUDIO.example."):
        assert judged(visitors, host=name, origin=f"https://{name}") is None, name
    # Asked by a proxy under another name than the browser's.
    assert judged(visitors, host="127.0.0.1:7860", origin="https://studio.example") is None
    assert judged(visitors, host="127.0.0.1:7860", origin="https://other.example") == "http.other_site"
    assert judged(visitors, host="hf.space.evil.example") == "http.unknown_host"
    monkeypatch.setenv(HOSTS_VARIABLE, "one.example, two.example")
    assert judged(Visitors(), host="two.example") is None


def test_reverse_proxies_may_pass_on_the_name_in_all_their_ways():
    visitors, own = Visitors(), "127.0.0.1:7860"
    named = {"x_forwarded_host": "studio.example, inner", "origin": "https://studio.example"}
    assert judged(visitors, host=own, **named) is None
    assert judged(visitors, host="studio.lan", origin="http://studio.lan:8080") is None  # without its port
    assert judged(visitors, host=own, origin="https://x.example", sec_fetch_site="same-origin") is None
    assert judged(visitors, host=own, origin="http://127.0.0.1:3000") == "http.other_site"


def test_websockets_are_judged_too(site):
    """Gradio 3 starts jobs through one, and browsers let every site open one."""
    key = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    key += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]
    address, port = site.address.split("/")[2].split(":")
    for host, origin in (("127.0.0.1", "https://evil.example"), ("evil.example", "http://evil.example")):
        asked = ["GET /queue/join HTTP/1.1", f"Host: {host}", f"Origin: {origin}", *key]
        with socket.create_connection((address, int(port))) as opened:
            opened.sendall("\r\n".join(asked).encode())
            assert b" 403 " in opened.recv(1000).partition(b"\r\n")[0]


# What answers carry


def test_answers_say_how_browsers_are_to_take_them(site):
    found = {kind: answer.headers for kind, answer in answers(site).items()}
    for kind, headers in found.items():
        assert headers["x-content-type-options"] == "nosniff", kind
        assert headers["x-frame-options"] == "SAMEORIGIN", kind
        assert "frame-ancestors 'self'" in headers["content-security-policy"], kind
    assert "default-src 'none'" in found["description"]["content-security-policy"]


def test_a_space_may_be_embedded(tiny_models, tmp_path):
    with served(service(tmp_path), embeddable=True) as site:
        headers = httpx.get(site.address).headers
        assert "x-frame-options" not in headers and "content-security-policy" not in headers
        assert headers["x-content-type-options"] == "nosniff"


def test_the_login_stays_on_this_site_and_covers_the_description(closed_site):
    for path in ("openapi.json", "docs", "redoc"):
        assert httpx.get(closed_site.address + path).status_code == 401, path
        assert httpx.get(closed_site.address + path, auth=("ann", "secret")).status_code in (200, 404), path
    login = httpx.post(f"{closed_site.address}login", data={"username": "ann", "password": "secret"})
    cookies = login.headers.get_list("set-cookie")
    assert cookies and all("samesite=strict" in cookie.lower() for cookie in cookies)
    assert all(cookie.lower().count("samesite") == 1 and "httponly" in cookie.lower() for cookie in cookies)


def test_only_results_are_fetched_and_errors_of_gradio_tell_no_path_of_this_computer(site, monkeypatch):
    """What nobody foresaw is named in the terminal only; what we say ourselves is shown."""
    secret = f"Cannot move {Path.home()}/private/picture.png to the cache"

    def fail(*_, **__):
        raise ValueError(secret)

    monkeypatch.setattr(type(site.blocks), "process_api", fail)
    below = inner(site)
    for path in ("run", "api"):
        answer = httpx.post(f"{below}/{path}/classes", json={"data": []}, timeout=60)
        assert answer.status_code in (404, 500) and "private" not in answer.text, answer.text
    (site.outputs.folder / "secret.txt").write_text("no result, beside them")
    # Gradio 3 serves the whole working folder: under it what must not be fetched is looked for elsewhere.
    program = __file__ if compat.MAJOR >= 4 else os.__file__
    for path in (site.outputs.folder / "secret.txt", program):
        assert httpx.get(f"{below}/file={path}").status_code == 403
    for path in ("/etc/passwd", "../../../etc/passwd", str(Path(__file__).resolve().parent / "no" / "such.png")):
        answer = httpx.get(f"{below}/file={path}")
        assert answer.status_code in (403, 404) and str(Path.cwd()) not in answer.text.replace(path, "")


def test_bodies_that_are_no_uploads_are_bounded(site, monkeypatch):
    monkeypatch.setattr(front, "MOST_BYTES", 100_000)
    address = addresses(site)["queue"][1]
    for content in (b"x" * 100_001, iter([b"x" * 60_000] * 2)):
        answer = httpx.post(address, content=content, headers={"content-type": "application/json"}, timeout=60)
        assert answer.status_code >= 400 and (answer.status_code == 413 or not isinstance(content, bytes))
    assert ask("config", *addresses(site)["config"]).status_code == 200


# Uploads


def sent(site, size: int, **headers: str) -> httpx.Response:
    return httpx.post(f"{inner(site)}/upload", files={"files": ("x.png", b"x" * size)}, headers=headers, timeout=60)


def files_in(folder: Path) -> list[Path]:
    return list(folder.rglob("x.png"))  # not the pictures that the page itself offers


@pytest.fixture
def upload_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


def test_what_strangers_may_upload_is_bounded_in_sum(
    tiny_models, no_shipped_class, upload_folder, tmp_path, monkeypatch
):  # whose examples would lie there too
    with served(service(tmp_path), uploads=250_000) as site:
        assert sent(site, 100_000).status_code == 200 and len(files_in(upload_folder)) == 1
        assert sent(site, 100_001).status_code == 200
        refused = sent(site, 100_002)
        assert refused.status_code == 507 and "quarter of an hour" in refused.json()["error"]["message"]
        assert sent(site, 10, **OTHER_SITE).status_code == 403
        assert len(files_in(upload_folder)) == 2
        old = min(files_in(upload_folder), key=lambda path: path.stat().st_size)
        os.utime(old, (1, time.time() - uploads_module.SPARED - 1))
        assert sent(site, 100_002).status_code == 200, "the oldest makes room"
        assert not old.exists()


def test_an_upload_that_does_not_say_how_long_it_is_is_refused(site):
    pieces, kind = iter([b"--x\r\n", b"nothing"]), {"content-type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{inner(site)}/upload", content=pieces, headers=kind)
    assert answer.status_code == 411 and answer.json()["error"]["code"] == "length_required"


def test_old_uploads_go_and_the_others_stay(tmp_path):
    kept, old = tmp_path / "a" / "kept", tmp_path / "b" / "old"
    for path in (kept, old):
        path.parent.mkdir()
        path.write_bytes(b"x" * 1000)
    os.utime(old, (1, time.time() - uploads_module.LIFETIME - 1))
    unbounded = Uploads(tmp_path)
    assert unbounded.are_due
    unbounded.make_room()
    assert kept.exists() and not old.exists() and not unbounded.are_due
    unbounded.make_room(1 << 50)


def test_uploads_that_come_at_once_count_together(tmp_path):
    bounded = Uploads(tmp_path, 1000)
    bounded.make_room(600)
    with pytest.raises(NoRoom):
        bounded.make_room(600)
    bounded.has_come(600)
    bounded.make_room(600)


def test_a_page_has_a_folder_of_its_own_for_uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "of the user"))
    folder = server.own_upload_folder()
    assert folder.parent == tmp_path / "of the user" and compat.upload_folder() == folder and folder.is_dir()
