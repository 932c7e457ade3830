"""The HTTP API without a server: what it answers, whom it lets in, what it refuses."""

import base64
import io
import json
import re
import tempfile
import zipfile
import zlib

import numpy as np
import pytest
from alike import COLOUR_STEPS, assert_alike
from api_server import V1, client, picture, refused, service
from fastapi import FastAPI
from hostile_files import CANARY, corpus
from PIL import Image
from pixels import chunk, encoded, noise, png_that_claims
from starlette.testclient import TestClient

from l4f_plugin.arguments import Spot
from l4f_plugin.exploring import mixed
from l4f_plugin.images import DESCRIPTION, read_infotext, write_png
from l4f_plugin.provenance import read_recipe
from l4f_ui import api, login
from l4f_ui.api import guard, routes
from l4f_ui.api.answers import wanted
from l4f_ui.visitors import Visitors

JSON = {"content-type": "application/json"}
KINDS = ["picture", "mask", "cutout", "background"]


@pytest.fixture(scope="module")
def served(tiny_models, tmp_path_factory):
    made = service(tmp_path_factory.mktemp("out"))
    yield client(made)
    assert not list(made.outputs.folder.iterdir()), "the API answers, and writes nothing"
    assert not made.is_busy()
    made.outputs.forget_previews()


def ask(served, name: str, values: dict, **headers: str):
    return served.post(V1 + name, json=values, headers=headers)


def assert_alike_answers(one: dict, other: dict) -> None:
    """Two answers about one subject: its pictures are alike, and all else is the same."""
    assert one["images"].keys() == other["images"].keys()
    for kind, image in one["images"].items():
        assert_alike(picture(image), picture(other["images"][kind]), COLOUR_STEPS)
    assert one.get("mask_area", 0) == pytest.approx(other.get("mask_area", 0))
    first, second = ({**answer, "images": None, "mask_area": None} for answer in (one, other))
    assert first == second


# What it answers


def test_classes_are_listed(served):
    listed = served.get(V1 + "classes").json()["classes"]
    assert {"name": "tiny", "title": "Tiny things", "resolution": 32, "licence": "CC0-1.0"} in listed


def test_generated_pixels_are_those_of_the_library(served, pipeline):
    values = {"class": "tiny", "seeds": [3, 9], "truncation_psi": 0.8, "include": KINDS}
    answer = ask(served, "generate", values).json()
    assert answer["class"] == "tiny" and answer["truncation_psi"] == 0.8
    for given, sample in zip(answer["samples"], pipeline.generate([3, 9], 0.8), strict=True):
        assert given["seed"] == sample.seed and list(given["images"]) == KINDS
        expected = [sample.image, np.asarray(sample.mask()), np.asarray(sample.cutout()), sample.background]
        for kind, image in zip(KINDS, expected, strict=True):
            assert_alike(picture(given["images"][kind]), image)
        assert read_recipe(given["infotext"]).seed == sample.seed
        assert read_infotext(base64.b64decode(given["images"]["cutout"])) == given["infotext"]


@pytest.mark.parametrize("background", ["seed:7", "#336699", "blur:3", "transparent", "a picture"])
def test_swapped_pixels_are_those_of_the_library(served, pipeline, background):
    edge = {"threshold": 0.4, "grow": -1, "feather": 1.5, "keep_largest": True}
    values = {"seed": 5, "truncation_psi": 0.9, **edge, "include": KINDS}
    if background == "a picture":
        own = encoded(noise(50, 70, 3))
        in_json = ask(served, "swap", {**values, "picture": base64.b64encode(own).decode()})
        form = {name: json.dumps(value) for name, value in values.items()} | {"include": ",".join(KINDS)}
        in_form = served.post(V1 + "swap", data=form, files={"picture": ("../../beach.png", own)})
        assert_alike_answers(in_form.json(), in_json.json())
        answer, background = in_form.json(), own
    else:
        answer = ask(served, "swap", {**values, "background": background}).json()
    onto = isinstance(background, bytes)
    expected = pipeline.swap(5, background, truncation_psi=0.9, **edge, where=Spot() if onto else None)
    assert expected.composite.size == ((70, 50) if onto else (32, 32))
    assert_alike(picture(answer["images"]["picture"]), expected.composite, COLOUR_STEPS)
    assert_alike(picture(answer["images"]["mask"]), expected.alpha)
    assert_alike(picture(answer["images"]["cutout"]), expected.cutout)
    assert ("background" in answer["images"]) == (background != "transparent")
    assert answer["background"] == (background if isinstance(background, str) else "picture")


def test_programs_say_where_and_how_large(served, pipeline):
    own = encoded(Image.new("RGB", (70, 50), "green"))
    values = {"seed": 5, "picture": base64.b64encode(own).decode()}
    placed = ask(served, "swap", {**values, "placed": "0.3,0.9,0.5", "flipped": True}).json()
    expected = pipeline.swap(5, own, where=Spot(0.3, 0.9, 0.5, True))
    assert_alike(picture(placed["images"]["picture"]), expected.composite, COLOUR_STEPS)
    assert 'Placed: "0.3,0.9,0.5", Flipped: True' in placed["infotext"]
    small = ask(served, "swap", {**values, "class_size": True}).json()
    assert picture(small["images"]["picture"]).shape[:2] == (32, 32)
    wish = {"seed": 5, "canvas": "80x60", "margin": 0.1}
    answer = ask(served, "segment", wish).json()
    assert answer["dropped"] == 0 and "Canvas: 80x60, Margin: 10%" in answer["infotext"]
    assert picture(answer["images"]["cutout"]).shape == (60, 80, 4)
    before = ask(served, "segment", {**wish, "background": "#00ff00"}).json()
    assert tuple(picture(before["images"]["picture"])[0, 0]) == (0, 255, 0) and "#00ff00" in before["infotext"]
    refused(ask(served, "segment", {**wish, "background": "/etc/passwd"}), 422, "is not known")
    for name, wrong, words in (
        ("swap", {**values, "placed": "x"}, "is no place"),
        ("swap", {**values, "class_size": True, "flipped": True}, "choose one"),
        ("segment", {**wish, "canvas": "6000x6000"}, "megapixels"),
        ("segment", {**wish, "canvas": "90000x6000"}, "from 16 to 6000"),
    ):
        refused(ask(served, name, wrong), 422, words)


def test_a_seed_its_file_and_its_codes_have_one_mask(served, pipeline, tmp_path):
    sample = pipeline.segment(12, truncation_psi=0.7)
    sample.w_plus.save(tmp_path / "codes.safetensors")
    codes = (tmp_path / "codes.safetensors").read_bytes()
    answer = ask(served, "segment", {"seed": 12, "truncation_psi": 0.7}).json()
    assert list(answer["images"]) == ["cutout", "mask"] and answer["seed"] == 12
    saved = base64.b64decode(answer["images"]["cutout"])
    of_file = served.post(V1 + "segment", files={"picture": saved}).json()
    assert_alike_answers(of_file, answer)
    of_codes = served.post(V1 + "segment", files={"w_plus": codes}).json()
    assert of_codes["seed"] is None
    assert_alike_answers(of_codes, ask(served, "segment", {"w_plus": base64.b64encode(codes).decode()}).json())
    for given in (answer, of_codes):
        assert_alike(picture(given["images"]["mask"]), sample.mask())
        assert given["mask_area"] == pytest.approx(float(sample.alpha.mean()))
    assert picture(answer["images"]["cutout"]).shape == (32, 32, 4)
    subjects = ({"w_plus": base64.b64encode(codes).decode()}, {"seed": 12})
    values = {"background": "#336699", "truncation_psi": 0.7}
    swapped, by_seed = (ask(served, "swap", {**values, **subject}).json() for subject in subjects)
    assert swapped["seed"] is None
    assert_alike(picture(swapped["images"]["picture"]), picture(by_seed["images"]["picture"]), COLOUR_STEPS)
    in_form = served.post(V1 + "swap", data={"background": "#336699"}, files={"w_plus": codes}).json()
    assert_alike_answers(in_form, swapped)


def test_a_picture_of_a_mixed_subject_is_segmented_by_the_codes_in_its_text(served, pipeline, tmp_path):
    first, second = pipeline.codes([1, 2], 0.7)
    [drawn] = pipeline.draw([mixed(first, second, second)])
    write_png(tmp_path / "mixed.png", drawn.cutout(), drawn.infotext())
    answer = served.post(V1 + "segment", files={"picture": (tmp_path / "mixed.png").read_bytes()}).json()
    assert answer["seed"] is None and answer["infotext"] == drawn.infotext()
    assert_alike(picture(answer["images"]["mask"]), drawn.mask())


def test_what_is_not_given_is_the_class_s_own(served):
    answer = ask(served, "generate", {"seeds": "3"}).json()
    assert answer["class"] == "tiny" and answer["truncation_psi"] == 0.6
    bare = ask(served, "generate", {"seeds": 3, "class": None, "truncation_psi": None}).json()
    for given, same in zip(bare.pop("samples"), answer.pop("samples"), strict=True):
        assert_alike_answers(given, same)
    assert bare == answer
    assert [sample["seed"] for sample in ask(served, "generate", {"seeds": 3, "count": 2}).json()["samples"]] == [3, 4]
    drawn = {ask(served, name, {"seed": -1}).json()["seed"] for name in ("swap", "segment")}
    drawn |= {sample["seed"] for sample in ask(served, "generate", {"count": 3}).json()["samples"]}
    assert len(drawn) == 5 and min(drawn) >= 0


def test_files_come_as_the_client_accepts_them(served):
    packed = ask(served, "generate", {"seeds": [3, 3, 4]}, accept="application/zip")
    assert packed.headers["content-type"] == "application/zip" and ".zip" in packed.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        names = archive.namelist()
        kinds = ("", "_alpha", "_cutout")
        assert names == [f"tiny_seed{seed}{kind}.png" for seed in ("0003", "0004") for kind in kinds]
        assert picture(archive.read(names[1])).ndim == 2
    for kind, channels in (("picture", 3), ("cutout", 4)):
        single = ask(served, "generate", {"seeds": "3", "include": [kind]}, accept="image/png")
        assert single.headers["content-type"] == "image/png" and picture(single.content).shape[2] == channels
    one = ask(served, "swap", {"seed": 3}, accept="image/*")
    assert picture(one.content).shape[2] == 4, "transparent output arrives transparent"
    small = ask(served, "swap", {"seed": 3, "background": "#ffffff"}, accept="image/jpeg")
    assert small.headers["content-disposition"].endswith('_swapped.jpg"')
    with Image.open(io.BytesIO(small.content)) as opened:
        assert opened.format == "JPEG" and "Background: #ffffff" in opened.getexif()[DESCRIPTION]
    refused(ask(served, "swap", {"seed": 3}, accept="image/jpeg"), 406, "no transparency")
    refused(ask(served, "generate", {"seeds": "3,4"}, accept="image/png"), 406, "one picture")
    refused(ask(served, "swap", {"include": ["background"]}, accept="image/png"), 406, "no background")
    refused(ask(served, "generate", {}, accept="text/html"), 406)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("image/*, application/json;q=0.5", "image/png"),
        ("application/zip;q=0.9, application/json;q=0.1", "application/zip"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/json;q=x, image/png;q=0.1", "image/png"),
        ("image/jpeg, image/*;q=0.8", "image/jpeg"),
    ],
)
def test_the_best_of_what_is_accepted_is_sent(accept, media):
    assert wanted(accept) == media


# The description


def test_the_documentation_needs_no_network(served):
    page = served.get(V1)
    assert page.status_code == 200 and page.url.path == V1 + "docs"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    parts = re.findall(r"(?:src=|href=|url: )[\"']([^\"']+)", page.text)
    assert {"swagger-ui-bundle.js", "swagger-ui.css", "openapi.json"} <= set(parts)
    for part in parts:
        assert part == "data:," or served.get(V1 + part).status_code == 200, part


def test_the_description_is_whole(served):
    described = served.get(V1 + "openapi.json").json()
    assert set(described["paths"]) == {"/classes", "/generate", "/swap", "/segment"}
    models = described["components"]["schemas"]
    for model in models.values():
        assert all(part["description"] for part in model["properties"].values())
    for name in ("swap", "segment"):
        form = described["paths"][f"/{name}"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert form["properties"]["picture"]["format"] == "binary"
    for path, methods in described["paths"].items():
        if "post" in methods:
            example = methods["post"]["requestBody"]["content"]["application/json"]["example"]
            assert ask(served, path[1:], example).status_code == 200, "the example can be sent as it stands"
    fields = models["SegmentRequest"]["properties"]
    null = {"type": "null"}
    nullable = {name for name, field in fields.items() if null in field.get("anyOf", []) or field.get("nullable")}
    assert nullable == set(fields) - {"keep_largest", "margin"}
    assert ask(served, "segment", dict.fromkeys(nullable) | {"seed": 3}).json()["seed"] == 3


# Who may come in


def test_mounting_twice_serves_once_and_before_everything_else(served, tiny_bundle_folder, tmp_path):
    outer = FastAPI()

    @outer.api_route("/{path:path}", methods=["GET", "POST"])
    def swallow(path: str) -> str:
        return "swallowed"

    for folder in ("one", "two"):
        api.mount(outer, service(tmp_path / folder), None, Visitors(programs=True), "")
    visitor = TestClient(outer, base_url="http://localhost")
    assert visitor.get("/else").json() == "swallowed"
    assert visitor.get(V1 + "classes").json()["classes"]
    for path in ("classes/", "docs/"):
        refused(visitor.get(V1 + path, follow_redirects=False), 404)
    assert [getattr(route, "path", "") for route in outer.router.routes].count("/l4f/v1") == 1
    refused(visitor.get(V1 + "nothing"), 404)
    refused(visitor.get(V1 + "generate"), 405)


def test_a_login_is_asked_of_every_address(served, tmp_path):
    guarded = client(service(tmp_path), login.accounts({"anna": "pässword:x", "bert": "b"}))
    for path in ("classes", "docs", "openapi.json", "", "nothing"):
        answer = guarded.get(V1 + path, follow_redirects=False)
        refused(answer, 401, "login")
        assert answer.headers["www-authenticate"].startswith("Basic ")
    for name in ("generate", "swap", "segment"):
        refused(guarded.post(V1 + name, content=b"\0" * 100), 401)
    for wrong in (("anna", "b"), ("bert", "pässword:x"), ("", ""), ("anna", ""), ("anna", "pässword")):
        encoded = base64.b64encode(":".join(wrong).encode()).decode()
        refused(guarded.get(V1 + "classes", headers={"authorization": f"Basic {encoded}"}), 401)
    for odd in ("Basic", "Basic =", "Basic " + base64.b64encode(b"\xff\xfe:x").decode(), "Bearer x", "Basic YW5uYQ=="):
        refused(guarded.get(V1 + "classes", headers={"authorization": odd}), 401)
    for right in ("anna:pässword:x", "bert:b"):
        encoded = base64.b64encode(right.encode()).decode()
        assert guarded.get(V1 + "classes", headers={"authorization": f"basic {encoded}"}).status_code == 200


OWN_NAMES = ("127.0.0.1:7860", "[::1]:7860", "mybox:7860", "mybox.local")
HERE = {"host": "127.0.0.1:7860"}
STRANGERS = [
    *({**HERE, "origin": origin} for origin in ("http://evil.example", "http://127.0.0.1:3000", "null")),
    {**HERE, "sec-fetch-site": "cross-site"},
    {"host": "localhost:7860", "sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
    # names that somebody made to point here
    *({"host": host, "origin": f"http://{host}"} for host in ("evil.example:7860", "127.0.0.1.evil.example")),
    *({"host": host, "user-agent": "Mozilla/5.0"} for host in ("evil.example:7860", "evil.example\\127.0.0.1")),
    *({"host": host, "user-agent": "Mozilla/5.0"} for host in ("[::1", "")),
]


@pytest.mark.parametrize(
    "headers",
    [
        *({"host": host, "origin": f"http://{host}"} for host in OWN_NAMES),
        {"host": "localhost:7860", "sec-fetch-site": "same-origin", "origin": "http://localhost:7860"},
        {"host": "proxy.example"},  # a program: no browser, no stranger's page
        *STRANGERS,
    ],
)
def test_no_other_site_can_drive_it(served, headers):
    asked = {"headers": headers}
    for answer in (served.get(V1 + "classes", **asked), served.post(V1 + "segment", json={"seed": 1}, **asked)):
        if headers in STRANGERS:
            refused(answer, 403)
        else:
            assert answer.status_code == 200
    assert served.get(V1 + "docs", **asked).status_code == 200, "a link to the documentation works"


def test_names_that_the_server_is_known_by_are_let_in(tiny_models, tmp_path):
    outer = FastAPI()
    api.mount(outer, service(tmp_path), None, Visitors(["Abc.Example"]), "")
    visitor = TestClient(outer, base_url="https://abc.example")
    assert visitor.get(V1 + "classes", headers={"origin": "https://abc.example"}).status_code == 200
    refused(visitor.get(V1 + "classes", headers={"host": "other.example", "origin": "https://other.example"}), 403)


# What it refuses


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("generate", {"seeds": "0-9999"}, "at most 64"),
        ("generate", {"seeds": [1] * 10_000}, "64"),
        ("generate", {"seeds": 1, "count": 10_000}, "count"),
        ("generate", {"seeds": ""}, "Seeds is empty"),
        ("generate", {"seeds": 2**32 - 1, "count": 2}, "seed"),
        ("generate", {"seeds": "0" * 1001}, "1000 characters"),
        *(("generate", {"seeds": seeds}, "seeds") for seeds in ([-2], [2**32], [1.5], [[1]], [], "x" * 5000)),
        ("generate", {"seeds": "\ud800"}, "seed"),
        ("generate", {"class": "x" * 201}, "200 characters"),
        ("generate", {"class": 1}, "str"),
        *(("generate", {"class": name}, "class") for name in ("../../etc/passwd", "owner/name", "\ud800", "")),
        *(("generate", {"truncation_psi": psi}, "truncation_psi") for psi in (9, "0.5", True)),
        ("generate", {"include": []}, "include"),
        ("generate", {"include": ["all"]}, "include"),
        ("generate", {"include": "mask"}, "list"),
        ("generate", {"out": "/srv/x"}, "no field out"),
        ("generate", {"class_name": "tiny"}, "no field class_name"),
        *(("swap", {"background": f"{scheme}/etc/passwd"}, "not known") for scheme in ("", "file://", "http://[::1]")),
        ("swap", {"background": "#12"}, "colour"),
        *(("swap", {name: value}, name) for name, value in (("grow", 1000), ("feather", -1), ("threshold", 2))),
        ("swap", {"grow": 0.5}, "integer"),
        ("swap", {"keep_largest": "yes"}, "boolean"),
        ("swap", {"seed": "3"}, "seed"),
        ("swap", {"picture": "/etc/passwd"}, "base64"),
        ("swap", {"picture": base64.b64encode(b"<svg xmlns='x'/>").decode()}, "SVG"),
        *((name, {"picture": "AAAA"}, "not a picture") for name in ("swap", "segment")),
        *(("segment", subjects, "exactly one") for subjects in ({}, {"seed": 1, "w_plus": "AAAA"})),
        ("segment", {"w_plus": "AAAA"}, "zeros"),
        ("segment", {"seed": 10**30}, "seed"),
    ],
)
def test_values_out_of_bounds_are_refused_in_a_sentence(served, name, values, words):
    body = json.dumps(values).encode()
    message = refused(served.post(V1 + name, content=body, headers=JSON), 422, words)
    assert tempfile.gettempdir() not in message


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe"),
        *(b'{"truncation_psi": %s}' % number for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999")),
        b'{"seeds": %s}' % (b"9" * 100_000),
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"seeds": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    ],
)
def test_malformed_json_is_refused(served, body):
    refused(served.post(V1 + "generate", content=body, headers=JSON), 400, "JSON")


def test_other_bodies_are_refused(served):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "application/xml"):
        refused(served.post(V1 + "generate", content=b'{"seeds": 1}', headers={"content-type": kind}), 415)
    for body in (b"", b"--x\r\nnonsense", b'--x\r\nContent-Disposition: form-data; name="seed"\r\n\r\n3'):
        answer = served.post(V1 + "segment", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code in (400, 422), answer.text
    refused(served.post(V1 + "segment", content=b"x", headers={"content-type": "multipart/form-data"}), 400)
    refused(served.post(V1 + "swap", data={"grow": "many"}, files={"picture": b"x"}), 422, "grow")
    refused(served.post(V1 + "swap", data={"seed": ["3", "4"]}, files={"picture": b"x"}), 422, "seed")
    refused(served.post(V1 + "segment", files={"passwd": ("/etc/passwd", b"x")}), 422, "no field passwd")
    for name in ("seed", "truncation_psi", "include", "class"):  # a file where none is wanted
        refused(served.post(V1 + "segment", files={name: ("3.txt", b"3")}), 422, name)
    many = {f"f{number}": "x" for number in range(3000)}
    assert 400 <= served.post(V1 + "segment", data=many, files={"picture": b"x"}).status_code < 500


def test_a_body_beyond_the_limit_is_not_read(served, monkeypatch):
    monkeypatch.setattr(guard, "MOST_BYTES", 100_000)
    for kind in ("application/json", "multipart/form-data; boundary=x"):
        declared = served.post(V1 + "generate", content=b"x" * 100_001, headers={"content-type": kind})
        refused(declared, 413, "MB at most")
    for length in ("-5", "1e9", "99999999999999999999999"):
        refused(served.post(V1 + "generate", content=b"{}", headers={**JSON, "content-length": length}), 413)


@pytest.mark.parametrize("name", ["swap", "segment"])
def test_bombs_and_drawings_are_refused(served, name):
    for side in (30_000, 2**31 - 1):
        refused(served.post(V1 + name, files={"picture": png_that_claims(side, side, bytes(1_000_000))}), 422)
    small, text = encoded(Image.new("RGB", (4, 4))), b"XML\0\x01\0\0\0" + zlib.compress(b"x" * 9_000_000)
    inflated = small[:33] + chunk(b"iTXt", text) + small[33:]
    refused(served.post(V1 + name, files={"picture": inflated}), 422)
    for content in (b"<svg onload='x'/>", b"%!PS-Adobe", b"%PDF-1.7", b"\x89PNG\r\n\x1a\n", b"\0" * 1000, b""):
        refused(served.post(V1 + name, files={"picture": ("x.png", content)}), 422)


def test_damage_that_shows_only_in_decoding_is_told(served):
    whole = encoded(noise(64, 64, 3))
    refused(served.post(V1 + "swap", files={"picture": whole[:3000]}), 422, "damaged")


def test_hostile_pickles_are_refused_as_files(served, tmp_path, monkeypatch):
    """However a file is called and wherever it is given, nothing in it is run, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    files = [content for content, _ in corpus().values() if len(content) < 100_000]  # all: test_hostile_pickles
    assert len(files) >= 200
    for number, content in enumerate(files):
        refused(served.post(V1 + "segment", files={"w_plus": ("codes.safetensors", content)}), 422)
        if number % 10 == 0:
            refused(served.post(V1 + "segment", json={"w_plus": base64.b64encode(content).decode()}), 422)
            refused(served.post(V1 + "swap", files={"picture": ("picture.png", content)}), 422)
    assert not (tmp_path / CANARY).exists() and not list(tmp_path.iterdir())


def test_one_request_too_many_is_told_to_come_back(served, tiny_bundle_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(routes, "MOST_UNDER_WAY", 0)
    answer = client(service(tmp_path)).post(V1 + "generate", json={})
    refused(answer, 503, "try again")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"]["code"] == "busy"


def test_what_nobody_foresaw_is_one_sentence_too(tiny_bundle_folder, tmp_path, monkeypatch, capsys):
    made = service(tmp_path)
    monkeypatch.setattr(made, "segment", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(made, "entry", lambda name: type("Entry", (), {"name": name, "title": name}))
    refused(client(made).post(V1 + "segment", json={"seed": 1}), 500)
    assert "ZeroDivisionError" in capsys.readouterr().err
