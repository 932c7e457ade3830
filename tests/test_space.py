"""A Space made of a class: what its folder holds and lacks, whether it runs, what a visitor may ask of it."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from bundles import saved
from gradio.context import LocalContext
from sentences import refusal
from serving import unused_port
from shell import ended, start

from l4f_plugin.cli import main
from l4f_plugin.hub.sharing.model_repository import Publication
from l4f_plugin.hub.sharing.space import GRADIO_VERSION, REQUIREMENTS, prepare_space, publish_space
from l4f_plugin.hub.sharing.terms import Declared
from l4f_ui.run_buttons import RunButtons
from l4f_ui.service import Service
from l4f_ui.space import zero_gpu
from l4f_ui.space.limits import Doorkeeper, Limits
from l4f_ui.space.space_service import visitor


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    """The dry run of a tiny class. Read only: tests share it."""
    place = tmp_path_factory.mktemp("space")
    tiny, out = saved(place / "tiny", alpha_origin="learned"), place / "out"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(["space", str(tiny), "me/tiny-demo", "--json", "--dry-run", str(out)]) == 0
    assert json.loads(said.getvalue()) == {"repository": "me/tiny-demo", "address": None, "folder": str(out)}
    return out


def front_matter(folder: Path) -> dict[str, str]:
    front = (folder / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    return dict(line.split(": ", 1) for line in front.splitlines() if ": " in line)


def test_the_folder_is_complete_and_pinned(space):
    names = {path.name for path in space.iterdir()}
    assert names == set(
        ["LICENSE", "README.md", "app.py", "l4f_plugin", "l4f_ui", "requirements.txt", "space.json", "weights"]
    )
    front = front_matter(space)
    assert (front["sdk"], front["sdk_version"], front["app_file"]) == ("gradio", GRADIO_VERSION, "app.py")
    assert re.fullmatch(r'"3\.\d+\.\d+"', front["python_version"])
    required = (space / "requirements.txt").read_text().split()
    assert required == list(REQUIREMENTS) and all("==" in line for line in required)
    assert f"gradio=={GRADIO_VERSION}" in required and any(line.startswith("torch==") for line in required)
    assert (space / "weights/tiny/config.json").is_file() and (space / "weights/tiny/README.md").is_file()


def test_nothing_a_visitor_must_not_reach_is_in_it(space):
    files = [path.relative_to(space).as_posix() for path in space.rglob("*") if path.is_file()]
    for forbidden in ("training", "datasets", "evaluation", "commands", "sharing", "hosts", "api", "cli.py"):
        assert not [file for file in files if forbidden in file.split("/")], forbidden
    assert not [file for file in files if "models_" in file]  # every part of the panel Models
    assert not [file for file in files if file.endswith((".pyc", ".pt", ".pkl"))]
    classes = json.loads((space / "weights/catalogue.json").read_text())["classes"]
    assert list(classes) == ["tiny"] and classes["tiny"]["folder"] == "tiny"
    written = [file for file in files if file.endswith((".py", ".md", ".json"))]
    text = "".join((space / file).read_text("utf-8", "replace") for file in written)
    assert str(space.parent) not in text and "hf_" not in (space / "app.py").read_text()


def test_the_folder_needs_nothing_of_ours_from_elsewhere(space):
    """Where the plug-in is installed for development, what is missing in the folder would be found there."""
    code = """
        import sys
        sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]
        import l4f_ui.space.space_service, l4f_ui.front, l4f_ui.login
    """
    said = ended(start(code, env={**os.environ, "PYTHONPATH": str(space)}, cwd=space))
    assert said.code == 0, said.err


def test_licence_rules_hold_for_spaces(tmp_path):
    tiny, authors = saved(tmp_path / "tiny", licence="unknown"), saved(tmp_path / "authors", alpha_origin="imported")
    assert "licence of tiny is unknown" in refusal(prepare_space, tiny, "me/x", tmp_path / "out")
    assert "may not be passed on" in refusal(prepare_space, authors, "me/x", tmp_path / "out")
    nvidia = saved(tmp_path / "nvidia", licence="NVIDIA Source Code License-NC", source="by NVIDIA")
    prepare_space(nvidia, "me/x", tmp_path / "out")
    assert front_matter(tmp_path / "out")["license"] == "other"
    assert "Nvidia Source Code License-NC" in (tmp_path / "out/LICENSE.txt").read_text()
    assert "- non-commercial" in (tmp_path / "out/README.md").read_text()
    bare = Publication(Declared(without_masks=True))
    assert "no masks" in refusal(prepare_space, nvidia, "me/x", tmp_path / "b", bare)


def test_weights_of_a_repository_are_pinned_by_its_commit(loopback_hub, tmp_path):
    loopback_hub.put_folder("me/l4f-tiny", saved(tmp_path / "tiny"))
    prepare_space("me/l4f-tiny", "me/demo", tmp_path / "out")
    prepare_space("me/l4f-tiny", "me/demo", tmp_path / "copied", Publication(copy=True))
    described = json.loads((tmp_path / "out/weights/catalogue.json").read_text())["classes"]["tiny"]
    commit = loopback_hub.repositories["me/l4f-tiny"].commit
    assert (described["repository"], described["revision"]) == ("me/l4f-tiny", commit)
    assert not list((tmp_path / "out/weights").rglob("*.safetensors"))
    assert (tmp_path / "out/l4f_plugin/upscaler.safetensors").is_file(), "the Space enlarges pictures too"
    assert commit in (tmp_path / "out/README.md").read_text()
    assert (tmp_path / "copied/weights/tiny/generator.safetensors").is_file()


def test_upload_makes_a_gradio_space(upload_hub, tmp_path):
    tiny = saved(tmp_path / "tiny")
    address = publish_space(tiny, "me/demo")
    made = upload_hub.repositories["me/demo"]
    made.files["l4f_plugin/old.py"] = b"of an earlier release"
    publish_space(tiny, "me/demo")
    assert address == f"{upload_hub.address}/spaces/me/demo"
    assert (made.kind, made.sdk, made.private) == ("space", "gradio", False)
    assert {"app.py", "l4f_ui/space/serve.py", "weights/tiny/generator.safetensors"} <= set(made.files)
    assert "l4f_plugin/old.py" not in made.files


@contextlib.contextmanager
def running(folder: Path, python: str = sys.executable, **environment: str):
    """The Space, started as the Hub does; gives its address."""
    port = unused_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "LABELS4FREE", "PYTHONPATH"))}
    kept |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    kept |= {"OMP_NUM_THREADS": "1", **environment}
    with open(folder.parent / "space.log", "w+") as log:
        process = subprocess.Popen([python, "app.py"], cwd=folder, env=kept, stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(1200):
                assert process.poll() is None, (folder.parent / "space.log").read_text()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read()


def press(address: str, config: dict, button: str, session: str, **values: object) -> str:
    """Clicks as the page does; all that the server said until it was done."""
    ids = {item["props"].get("elem_id"): item["id"] for item in config["components"] if item["props"].get("elem_id")}
    described = {item["id"]: item["props"] for item in config["components"]}
    names = {number: name for name, number in ids.items()}
    event = next(item for item in config["dependencies"] if [ids[button], "click"] in map(list, item["targets"]))
    data = [values.get(names.get(number, ""), described[number].get("value")) for number in event["inputs"]]
    body = json.dumps({"data": data, "fn_index": event["id"], "session_hash": session, "trigger_id": ids[button]})
    prefix = address + config.get("api_prefix", "")
    request = urllib.request.Request(f"{prefix}/queue/join", body.encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).close()
    said = ""
    with urllib.request.urlopen(f"{prefix}/queue/data?session_hash={session}", timeout=120) as stream:
        for line in stream:
            said += line.decode()
            if "process_completed" in said and '"close_stream"' in said:
                break
    return said


def test_the_folder_runs_and_serves_nothing_else(space):
    code = "import l4f_plugin, l4f_ui; print(l4f_plugin.__file__, l4f_ui.__file__)"
    assert ended(start(code, cwd=space, env=dict(os.environ))).out.count(str(space)) == 2
    with running(space) as address:
        config = json.loads(get(f"{address}/config"))
        page = json.dumps(config)
        assert "l4f_generate_run" in page and "l4f_swap_run" in page
        assert not [word for word in ("models_panel", "l4f_tab_models", "l4f_unload", "learn-masks") if word in page]
        drawn = press(address, config, "l4f_generate_run", "one", l4f_generate_seeds="0-3")
        assert "_seed0003_" in drawn and str(Path.home()) not in drawn
        refused = press(address, config, "l4f_generate_run", "two", l4f_generate_seeds="0-30")
        assert "at most 8 pictures" in refused and "_seed0003_" not in refused
        other = press(address, config, "l4f_generate_run", "three", l4f_generate_class="../../etc")
        assert "_seed" not in other
        files = ("app.py", "space.json", "/etc/passwd", "weights/tiny/config.json")
        hidden = [f"{config.get('api_prefix', '')}/file={path}" for path in files]
        for path in (*hidden, *(f"/l4f/v1/{path}" for path in ("", "docs", "classes", "generate"))):
            with pytest.raises(urllib.error.HTTPError, match="40[34]" if path in hidden else "404"):
                get(address + path)


@pytest.fixture
def clock():
    return SimpleNamespace(now=0.0)


def keeper(clock, **limits) -> Doorkeeper:
    return Doorkeeper(Limits(**limits), lambda: clock.now)


def ask(door, visitor=("a", "x"), pictures=1) -> None:
    with door.admitted(visitor, pictures):
        pass


def test_a_visitor_has_a_share_of_the_window_and_gets_it_anew(clock):
    door = keeper(clock, requests_per_window=3)
    for _ in range(3):
        ask(door)
    assert "come back in about 10 min" in refusal(ask, door)
    ask(door, ("b", "x"))
    clock.now = 601.0
    ask(door)


def test_pictures_of_the_window_count_and_refusals_do_not(clock):
    door = keeper(clock, pictures_per_window=10)
    assert "at most 8 pictures" in refusal(ask, door, pictures=9)
    ask(door, pictures=8)
    for _ in range(5):
        assert refusal(ask, door, pictures=3)
    ask(door, pictures=2)


def test_new_sessions_of_one_address_do_not_help_for_ever(clock):
    door = keeper(clock, requests_per_window=2, sessions_per_address=2)
    for number in range(4):
        ask(door, (f"session {number}", "x"))
    assert "come back" in refusal(ask, door, ("session 9", "x"))
    ask(door, ("session 9", "y"))


def test_requests_at_once_of_one_visitor_and_of_all(clock):
    door = keeper(clock, requests_at_once=1, waiting=2)
    with door.admitted(("a", "x"), 1):
        assert "under way already" in refusal(ask, door)
        with door.admitted(("b", "y"), 1):
            assert "hands full" in refusal(ask, door, ("c", "z"))
    ask(door)


def test_visitors_are_forgotten(clock):
    door = keeper(clock)
    for number in range(50):
        ask(door, (f"session {number}", f"address {number}"))
    clock.now = 601.0
    ask(door)
    assert len(door._records) == 2


def test_a_job_knows_whose_request_it_is():
    """Handlers may work in other threads: what they know of the visitor goes with them."""

    def work(*_inputs):
        seen.append(visitor())
        yield {}

    seen: list[tuple[str, str]] = []
    with gr.Blocks():
        job = RunButtons(Service(), "generate")
    request = SimpleNamespace(session_hash="one", client=SimpleNamespace(host="10.0.0.1"))
    token = LocalContext.request.set(request)
    try:
        list(job.guarded(work)())
    finally:
        LocalContext.request.reset(token)
    assert seen == [("session one", "address 10.0.0.1")]


@pytest.fixture
def on_zero_gpu(tmp_path, monkeypatch):
    """A Space with a package `spaces` as on the Hub."""
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces/__init__.py").write_text("def GPU(duration):\n    return lambda work: work\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SPACE_ID", "me/demo")
    monkeypatch.delitem(sys.modules, "spaces", raising=False)
    zero_gpu.gpu_decorator.cache_clear()
    yield zero_gpu
    sys.modules.pop("spaces", None)
    zero_gpu.gpu_decorator.cache_clear()


def test_the_decorator_is_used_on_a_space_only(on_zero_gpu, monkeypatch):
    assert on_zero_gpu.gpu_decorator() is not None
    on_zero_gpu.gpu_decorator.cache_clear()
    monkeypatch.delenv("SPACE_ID")
    assert on_zero_gpu.gpu_decorator() is None


def test_a_file_of_that_name_is_not_the_package(on_zero_gpu, tmp_path):
    shutil.rmtree(tmp_path / "spaces")
    (tmp_path / "spaces.py").write_text("raise SystemExit('Forge')\n")
    assert on_zero_gpu.gpu_decorator() is None


def test_the_card_is_lent_for_each_call_and_tokens_stay(on_zero_gpu):
    calls = []
    pipeline = SimpleNamespace(
        to=lambda device: calls.append(device),
        generate=lambda *given, **options: calls.append((given, options)) or ["sample"],
    )
    lender = on_zero_gpu.Lender(on_zero_gpu.gpu_decorator())
    lender.pipeline = pipeline
    token = SimpleNamespace(check=lambda: calls.append("checked"))
    assert lender.generate([1], 0.7, cancel=token, batch_size=4) == ["sample"]
    assert calls == ["checked", "cuda", (([1], 0.7), {"batch_size": 4})]
