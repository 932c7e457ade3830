"""Set-up: the bare call in made-up web UIs and the steps towards .venv. Nothing is downloaded."""

import ast
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What a web UI of 2024 brings; the odd last one is a version that pip would refuse to read.
BROUGHT = {
    "torch": "2.1.2+cu121",
    "numpy": "1.26.2",
    "pillow": "9.5.0",
    "gradio": "3.41.2",
    "huggingface_hub": "0.36.0",
    "safetensors": "0.4.2",
    "transformers": "4.30.2",
    "oddity": "2004d-custom build",
}
PIP_STUB = """
import json, os, sys
from pathlib import Path
constraints = Path(sys.argv[sys.argv.index("-c") + 1]).read_text()
options = sorted(name for name in os.environ if name.startswith("PIP_"))
Path(os.environ["STUB_REPORT"]).write_text(json.dumps([sys.argv[1:], constraints.split(), options]))
print(os.environ.get("STUB_OUTPUT", ""))
sys.exit(int(os.environ.get("STUB_EXIT", "0")))
"""


def run_python(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, **options)


class Host:
    """A web UI's folder with the plug-in in it, and a Python that has exactly the given packages."""

    def __init__(self, folder: Path):
        self.web_ui, self.packages = folder / "web ui", folder / "packages"
        self.plugin = self.web_ui / "extensions" / "labels4free"
        self.report, self.launched = folder / "report.json", folder / "launched"
        self.plugin.mkdir(parents=True)
        (self.web_ui / "modules").mkdir()
        for name in ("install.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.plugin)
        self.launch("args = type('args', (), {'skip_install': False})")
        for name, version in BROUGHT.items():
            self.bring(name, version)
        self.module("torch", "raise SystemExit('install.py imported torch')")
        self.module("pip/__init__")
        self.module("pip/__main__", PIP_STUB)

    def launch(self, code: str) -> None:
        (self.web_ui / "launch.py").write_text(f"open({str(self.launched)!r}, 'w')\n{code}\n")

    def module(self, name: str, code: str = "") -> None:
        path = self.packages / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)

    def bring(self, name: str, version: str) -> None:
        folder = self.packages / f"{name}.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def lack(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self.packages / f"{name}.dist-info")
            (self.packages / f"{name}.py").unlink(missing_ok=True)

    def files(self) -> set[Path]:
        return set(self.web_ui.parent.rglob("*"))

    def start(self, working_directory: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
        environment = dict(os.environ, STUB_REPORT=str(self.report), PYTHONDONTWRITEBYTECODE="1", **variables)
        environment["PYTHONPATH"] = os.pathsep.join([str(self.web_ui), str(self.packages)])
        # -S: none of the test's own packages
        return run_python("-S", str(self.plugin / "install.py"), cwd=working_directory or self.web_ui, env=environment)

    def asked_of_pip(self) -> tuple[list[str], list[str], list[str]]:
        return tuple(json.loads(self.report.read_text()))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install.py as a module whose folder is a temporary one."""
    specification = importlib.util.spec_from_file_location("install_under_test", ROOT / "install.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    places = {"ROOT": "", "ENVIRONMENT": ".venv", "PYTHON": ".venv/python"}
    for name, place in {**places, "STATE_FILE": ".venv/state.json", "LOG_FILE": "install.log"}.items():
        monkeypatch.setattr(module, name, str(tmp_path / place))
    return module


def test_bare_call_outside_a_web_ui_names_the_two_commands(tmp_path):
    for name in ("install.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = run_python("install.py", cwd=tmp_path, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    commands = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert commands == ["python3 install.py run", "python3 install.py test"]
    assert {path.name for path in tmp_path.iterdir()} == {"install.py", "pyproject.toml"}


def test_complete_host_is_left_alone_in_silence(host):
    before = host.files()
    result = host.start()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert host.files() == before  # no log, no report by pip, and the slow `launch` was not imported


def test_a_real_environment_freezes_the_same_before_and_after(host):
    """The Python of the tests as a web UI's, with its own pip; without an index a fault could add nothing to it."""
    environment = {**os.environ, "PYTHONPATH": str(host.web_ui), "PIP_NO_INDEX": "1"}

    def called(*arguments: str) -> str:
        ended = run_python(*arguments, cwd=host.web_ui, env=environment)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr

    before = called("-m", "pip", "freeze", "--all", "--disable-pip-version-check")
    assert {"torch", "gradio", "safetensors"} <= {line.partition("==")[0].lower() for line in before.splitlines()}
    assert called(str(host.plugin / "install.py")) == ""
    assert called("-m", "pip", "freeze", "--all", "--disable-pip-version-check") == before
    assert not host.launched.exists()


def test_missing_package_is_added_under_constraints(host):
    host.lack("safetensors", "huggingface_hub")
    result = host.start(PIP_TARGET="/elsewhere", PIP_UPGRADE="1", PIP_INDEX_URL="file:///packages")
    assert result.returncode == 0, result.stderr
    arguments, constraints, options = host.asked_of_pip()
    assert arguments[:2] == ["install", "-c"]
    assert arguments[3:] == ["huggingface-hub>=0.25", "safetensors>=0.4.2"]
    pinned = {"torch==2.1.2+cu121", "numpy==1.26.2", "pillow==9.5.0", "transformers==4.30.2"}
    assert pinned <= set(constraints) and not any("oddity" in line for line in constraints)
    assert "PIP_INDEX_URL" in options and not {"PIP_TARGET", "PIP_UPGRADE"} & set(options)
    assert len(result.stdout.splitlines()) == 1 and "safetensors" in result.stdout


def test_skip_install_is_obeyed(host):
    host.lack("safetensors")
    host.launch("args = type('args', (), {'skip_install': True})")
    result = host.start()
    assert result.returncode == 0 and not host.report.exists()
    assert "--skip-install" in result.stdout and "safetensors>=0.4.2" in result.stdout


@pytest.mark.parametrize("launch", ["args = object()", "", "raise RuntimeError('no')", "raise SystemExit(2)"])
def test_host_without_skip_install_gets_the_package(host, launch):
    host.lack("safetensors")
    host.launch(launch)
    result = host.start(working_directory=host.plugin)  # as SD.Next does
    assert result.returncode == 0, result.stderr
    assert host.launched.exists() and host.asked_of_pip()[0][-1] == "safetensors>=0.4.2"


@pytest.mark.parametrize("name", ["torch", "gradio"])
def test_what_a_web_ui_brings_is_never_installed(host, name):
    host.lack(name, "safetensors")
    result = host.start()
    assert result.returncode == 0 and not host.report.exists()
    assert f"lacks {name}" in result.stdout


def test_package_under_another_name_counts_as_present(host):
    host.lack("pillow")
    host.bring("pillow_simd", "9.5.0.post1")
    host.module("PIL/__init__")
    result = host.start()
    assert (result.returncode, result.stdout) == (0, "") and not host.report.exists()


def test_older_package_stays_and_is_named(host):
    host.bring("torch", "2.0.1+cu118")
    result = host.start()
    assert result.returncode == 0 and not host.report.exists()
    assert "torch 2.1 or newer" in result.stdout and "2.0.1+cu118" in result.stdout


def test_failing_pip_ends_in_one_remedy(host):
    host.lack("safetensors")
    result = host.start(STUB_EXIT="1", STUB_OUTPUT="ERROR: [Errno 28] No space left on device")
    assert result.returncode == 1
    assert "The disk is full" in result.stderr and "Traceback" not in result.stderr
    assert "No space left" in (host.plugin / "install.log").read_text()


def scripted(install, monkeypatch, probe):
    """Replace pip and the probe; returns the list of commands that would have run."""
    commands = []

    def run_logged(command, label, environment):
        commands.append(command[1:])
        if command[1:3] == ["-m", "venv"]:
            Path(install.PYTHON).touch()

    monkeypatch.setattr(install, "run_logged", run_logged)
    monkeypatch.setattr(install, "probe_environment", lambda: probe)
    return commands


def test_first_start_then_quick_start(install, monkeypatch):
    commands = scripted(install, monkeypatch, None)
    install.prepare(["app"], None)
    assert [command[-1] for command in commands] == [install.ENVIRONMENT, "torch==2.13.0", ".[app]"]
    assert not any("--upgrade" in command or "-U" in command for command in commands)
    commands.clear()
    install.prepare(["app"], None)
    assert commands == []


def test_only_what_changed_is_done_again(install, monkeypatch):
    scripted(install, monkeypatch, None)
    install.prepare(["app"], "cpu")
    commands = scripted(install, monkeypatch, [[3, 11, 7], "2.5.0+cpu"])
    install.prepare(["app", "test"], None)
    assert commands == [["-m", "pip", "install", "-e", ".[app,test]"]]  # a torch that is there is kept
    commands.clear()
    project = Path(install.ROOT, "pyproject.toml")
    project.write_text(project.read_text("utf-8") + "# changed\n", "utf-8")
    install.prepare(["app"], "cpu")
    assert commands == [["-m", "pip", "install", "-e", ".[app,test]"]]  # the test tools are kept as well


def test_a_torch_that_is_too_old_or_of_another_build_is_replaced(install, monkeypatch):
    commands = scripted(install, monkeypatch, [[3, 11, 7], "2.0.1"])
    os.makedirs(install.ENVIRONMENT)
    install.prepare(["app"], None)
    assert "torch==2.13.0" in commands[0] and "--force-reinstall" not in commands[0]
    commands = scripted(install, monkeypatch, [[3, 11, 7], "2.13.0+cpu"])
    install.prepare(["app"], "cu126")
    assert {"torch==2.13.0", "--force-reinstall"} < set(commands[0]) and "/whl/cu126" in " ".join(commands[0])


def test_interrupted_step_is_not_taken_for_done(install, monkeypatch):
    scripted(install, monkeypatch, None)
    stub = install.run_logged

    def interrupted(command, label, environment):
        stub(command, label, environment)
        if "-e" in command:
            raise KeyboardInterrupt

    monkeypatch.setattr(install, "run_logged", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install.prepare(["app"], None)
    commands = scripted(install, monkeypatch, [[3, 11, 7], "2.13.0"])
    install.prepare(["app"], None)
    assert [command[-1] for command in commands] == [".[app]"]


def test_broken_environment_is_remade_only_if_it_is_ours(install, monkeypatch):
    commands = scripted(install, monkeypatch, None)
    stranger = Path(install.ENVIRONMENT, "somebody's file")
    stranger.parent.mkdir()
    stranger.touch()
    with pytest.raises(install.SetupError, match="move it away"):
        install.prepare(["app"], None)
    assert stranger.exists() and commands == []
    install.write_state({})
    install.prepare(["app"], None)
    assert not stranger.exists() and commands[0][:2] == ["-m", "venv"]


def test_missing_venv_module_is_explained(install, monkeypatch):
    scripted(install, monkeypatch, None)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else found(name))
    with pytest.raises(install.SetupError, match=r"apt install python3\.\d+-venv"):
        install.prepare(["app"], None)


def test_torch_comes_from_the_index_that_is_named(install):
    assert install.torch_index_options(None) == install.torch_index_options("default") == []
    pytorch = "https://download.pytorch.org/whl/"
    for value, address in (("cpu", f"{pytorch}cpu"), ("rocm6.4", f"{pytorch}rocm6.4"), ("file:///w", "file:///w")):
        assert install.torch_index_options(value) == ["--index-url", address]
    for unknown in ("gpu", "cu", "../cpu", "--pre", ""):
        with pytest.raises(install.SetupError, match="--torch-index takes"):
            install.prepare(["app"], unknown)
    assert not Path(install.ENVIRONMENT).exists()


def test_options_are_passed_on(install, monkeypatch):
    started = []
    monkeypatch.setattr(install, "prepare", lambda *asked: started.append(asked))
    monkeypatch.setattr(install.os, "execve", lambda path, command, environment: started.append(command))
    monkeypatch.setattr(install.os, "chdir", lambda folder: started.append(folder))
    options = shlex.split("--no-browser --port 7000 --listen --auth=a:b --output-dir out --share --root-path /a")
    options += shlex.split("--allowed-host a.example --device cpu --release-after 60")
    assert not install.main(["run", "--torch-index", "cpu", *options])
    assert started == [(["app"], "cpu"), [install.PYTHON, "-m", "l4f_plugin", "app", *options]]
    started.clear()
    assert not install.main(["test", "tests/test_a.py", "-k", "mask", "--torch-index=cpu", "-x"])
    test_command = [install.PYTHON, "-m", "pytest", *install.SIDE_BY_SIDE, "tests/test_a.py", "-k", "mask", "-x"]
    assert started == [(["app", "test"], "cpu"), install.ROOT, test_command]


def test_mistaken_options_end_before_anything_is_fetched(install, monkeypatch):
    monkeypatch.setattr(install, "prepare", lambda *_: pytest.fail("prepared"))
    for options in ("--prot 7860", "--port web", "--auth", "extra", "--torch-index"):
        with pytest.raises(SystemExit, match="2"):
            install.main(["run", *options.split()])


def test_output_of_steps_goes_to_the_log(install, capfd):
    install.run_logged([sys.executable, "-c", "print('quiet')"], "[1/3] a step", install.child_environment())
    out = capfd.readouterr().out
    assert out.startswith("[1/3] a step ...") and "quiet" not in out and out.count("\n") == 1
    assert "quiet" in Path(install.LOG_FILE).read_text()


def test_failed_step_shows_only_its_own_last_lines(install):
    install.run_logged([sys.executable, "-c", "print('earlier')"], "first", install.child_environment())
    failing = "import sys\nfor line in range(20): print('line', line)\nsys.exit(3)"
    with pytest.raises(install.SetupError) as failure:
        install.run_logged([sys.executable, "-c", failing], "second", install.child_environment())
    message = str(failure.value)
    assert "line 19" in message and "line 11" not in message and "earlier" not in message
    assert message.endswith(f"All output is in {install.LOG_FILE}.")


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_ends_the_running_step(install, tmp_path):
    code = "import os, signal, time\nopen('pid', 'w').write(str(os.getpid()))\n"
    code += "os.kill(os.getppid(), signal.SIGINT)\ntime.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        install.run_logged([sys.executable, "-c", code], "a step", install.child_environment())
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        ("NewConnectionError(...)\nNo matching distribution found for torch==2.13.0", "cannot be reached"),
        ("ERROR: No matching distribution found for torch==2.13.0", "64-bit Python"),
        ("ERROR: No matching distribution found for gradio", "A package was not found"),
        ("ERROR: Could not install packages due to an OSError: Missing dependencies for SOCKS support.", "HTTP proxy"),
        ("ProxyError(OSError('Tunnel connection failed: 407 Proxy Authentication Required'))", "NAME:"),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))", "PIP_CERT"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: [Errno 13] Permission denied: 'x.dll'", "cannot be written"),
        ("something new", "This step failed"),
    ],
)
def test_failures_are_explained(install, output, remedy):
    assert remedy in install.explain_failure(output).splitlines()[-1]


def test_version_comparison(install):
    assert install.is_older("2.0.1+cu118", "2.1") and install.is_older("1.9", "1.26")
    new_enough = ("2.1", "2.1.0", "2.13.0", "2.1.0a0+git1", "", "odd")
    assert not any(install.is_older(version, "2.1") for version in new_enough)


def test_environment_of_children(install, monkeypatch):
    given = {"PYTHONHOME": "/elsewhere", "PYTHONPATH": "/elsewhere", "SSL_CERT_FILE": "network.pem"}
    for name, value in {**given, "PIP_REQUIRE_HASHES": "1", "PIP_CONSTRAINT": "limits.txt"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_CERT", raising=False)
    private, in_host = install.child_environment(), install.child_environment(in_host=True)
    assert not {"PYTHONHOME", "PYTHONPATH", "PIP_REQUIRE_HASHES"} & set(private)
    assert private["PIP_CONSTRAINT"] == "limits.txt" and private["PIP_USER"] == "0" and "PATH" in private
    assert private["PIP_CERT"] == "network.pem"
    assert in_host["PYTHONPATH"] == "/elsewhere" and "PIP_REQUIRE_HASHES" not in in_host


def test_requirements_are_read_as_toml_has_them(install):
    toml = pytest.importorskip("tomllib", reason="the standard library reads TOML from Python 3.11 on")
    project = toml.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert [f"{name}>={floor}" for name, floor in install.required_packages()] == project["dependencies"]


def test_old_python_gets_a_sentence(install, monkeypatch):
    source = (ROOT / "install.py").read_text("utf-8")
    tree = ast.parse(source, feature_version=(3, 7))  # raises where 3.7 could not read the file at all
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for node in imports for alias in node.names}
    assert names <= set(sys.stdlib_module_names) and not any(hasattr(node, "module") for node in imports)
    monkeypatch.setattr(install, "OLDEST_PYTHON", (99, 0))
    with pytest.raises(SystemExit, match="needs Python 3.10 or newer"):
        install.main([])


def test_help_and_unknown_command(install, capsys):
    assert install.main(["--help"]) == 0 and "--torch-index" in capsys.readouterr().out
    assert install.main(["isntall"]) == 2 and "install.py run" in capsys.readouterr().out
