#!/usr/bin/env python3
"""Set-up of the Labels4Free plug-in. Standard library only; runs before anything is installed.

    python3 install.py run [options]     make .venv, install what is missing there, open the page
    python3 install.py test [options]    the same with the test tools, then run the tests
    python3 install.py                   called by a web UI: add what its Python lacks, upgrade nothing

options of both:
  --torch-index BUILD   which torch: cpu, cu126, rocm6.4 ..., an index address, or default (pip's own choice)
options of run:
  --no-browser          only print the address           --listen          answer other machines too
  --port N              first port to try                --auth USER:PASS  ask for this login
  --output-dir DIR      where pictures are saved         --share           public address, through a relay
  --root-path PATH      where a reverse proxy shows it   --allowed-host X  a further name of this computer
options of test: pytest's, for example -k compositing; -n 0 runs the tests one after the other (for --pdb, -s)
"""

# Syntax that Python 3.7 reads, so that an old Python gets a sentence and not a traceback.
import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
ENVIRONMENT = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(ENVIRONMENT, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
STATE_FILE = os.path.join(ENVIRONMENT, "labels4free-setup.json")
LOG_FILE = os.path.join(ROOT, "install.log")

OLDEST_PYTHON = (3, 10)
TORCH_VERSION = "2.13.0"  # asked for where no torch is installed; the floor is in pyproject.toml
TORCH_BUILDS = "https://download.pytorch.org/whl/"  # followed by cpu, cu126, rocm6.4 ...
MODULE_NAMES = {"pillow": "PIL", "huggingface-hub": "huggingface_hub"}  # where they differ from the package's
SIDE_BY_SIDE = ["-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder"]  # of pytest; see tests/conftest.py

# pip takes every option from PIP_* too. Where packages come from is the user's to say; what is installed, and
# where, is not: a PIP_TARGET, PIP_NO_DEPS or PIP_UPGRADE meant for another project would break this one.
PASSED_ON = re.compile(
    "(?!PIP_|PYTHONHOME$).*|PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|TRUSTED_HOST|PROXY|CERT|CLIENT_CERT|TIMEOUT|RETRIES"
    "|DEFAULT_TIMEOUT|CACHE_DIR|NO_CACHE_DIR|CONSTRAINT|CONFIG_FILE|KEYRING_PROVIDER)"
)

# What pip's output tells, and the remedy. The first match counts: no network, too, ends in "No matching ...".
REMEDIES = (
    ("No space left on device|Errno 28|WinError 112", "The disk is full: free some gigabytes"),
    ("SOCKS support", "pip lacks a package for the SOCKS proxy: name an HTTP proxy in HTTPS_PROXY, unset ALL_PROXY"),
    ("407 Proxy", "The proxy asks for a login: put it into HTTPS_PROXY, as in http://NAME:PASSWORD@HOST:PORT"),
    ("CERTIFICATE_VERIFY_FAILED|SSLError", "A secure connection failed: check the clock, and name the file of your "
     "network's certificates in PIP_CERT, SSL_CERT_FILE or REQUESTS_CA_BUNDLE"),
    ("NewConnectionError|NameResolutionError|Max retries exceeded|ReadTimeout|ProxyError",
     "The package index cannot be reached: check the connection, or the proxy (HTTPS_PROXY)"),
    ("No matching distribution found for torch", f"No torch {TORCH_VERSION} for this Python and system was found: "
     "check the connection and --torch-index, or start with a 64-bit Python 3.10 to 3.13"),
    ("No matching distribution found", "A package was not found: check the connection and pip's settings"),
    ("Permission denied|Errno 13|WinError 5", "A file cannot be written: close programs that use it"),
)  # fmt: skip


class SetupError(Exception):
    """Ends the set-up with a sentence for the user."""


def dotted(numbers):
    return ".".join(str(number) for number in numbers)


def required_packages():
    """[(name, floor)] from pyproject.toml; read as lines, since Python 3.10 has no TOML reader."""
    with open(os.path.join(ROOT, "pyproject.toml"), encoding="utf-8") as file:
        block = file.read().split("\ndependencies = [", 1)[1].split("\n]", 1)[0]
    return re.findall(r'^\s*"([A-Za-z0-9._-]+)>=([0-9.]+)"', block, re.MULTILINE)


def installed_version(name):
    """A package's version in this interpreter, "" if only its module is there, None if it is missing."""
    from importlib import metadata

    try:
        return metadata.version(name) or ""
    except metadata.PackageNotFoundError:
        # pillow-simd, say, is pillow under another name: installing pillow would overwrite it.
        return None if importlib.util.find_spec(MODULE_NAMES.get(name, name)) is None else ""


def is_older(version, floor):
    """Compare release numbers, 2.1.2+cu121 as 2.1.2. An unknown version ("") is not older."""
    release = re.match(r"[\d.]*", version).group().strip(".")
    return bool(release) and [int(n) for n in release.split(".")] < [int(n) for n in floor.split(".")]


def child_environment(in_host=False):
    """The user's variables without those that send pip or Python to another installation."""
    kept = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    if not in_host:
        kept.pop("PYTHONPATH", None)
    certificates = {"PIP_CERT": kept["SSL_CERT_FILE"]} if kept.get("SSL_CERT_FILE") else {}  # not every pip reads it
    # PIP_USER also overrules "user = true" in a configuration file, which fails in an environment.
    return {**certificates, **kept, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run_logged(command, label, environment):
    """Run a command with its output in the log and one line of progress here. Raises SetupError."""
    started = time.monotonic()
    redraw = f"\r{label} ..." if sys.stdout.isatty() else ""
    print(f"{label} ...", end="", flush=True)
    with open(LOG_FILE, "a", encoding="utf-8") as log:
        print("$", *command, file=log, flush=True)
        start = log.tell()
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        child = subprocess.Popen(command, cwd=ROOT, env=environment, **streams)
        try:
            while child.poll() is None:
                print(redraw and f"{redraw} {time.monotonic() - started:.0f} s", end="", flush=True)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=1)
        finally:
            child.terminate()  # pip must not go on after Ctrl-C; a child that has ended is left alone
            child.wait()
    print(f"{redraw} {time.monotonic() - started:.0f} s", flush=True)
    if child.returncode:
        with open(LOG_FILE, encoding="utf-8", errors="replace") as log:
            log.seek(start)
            raise SetupError(explain_failure(log.read()))


def explain_failure(output):
    """The last lines that a failed command wrote, and a sentence on what to do."""
    remedies = [remedy for pattern, remedy in REMEDIES if re.search(pattern, output)] or ["This step failed"]
    tail = [f"    {line.rstrip()[:300]}" for line in output.splitlines() if line.strip()][-8:]
    return "\n".join([*tail, f"{remedies[0]}; then run the same command again. All output is in {LOG_FILE}."])


def read_state():
    """What was finished before: {"digest", "extras", "torch_index"}, or {} for nothing."""
    try:
        with open(STATE_FILE, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def write_state(state):
    with open(STATE_FILE, "w", encoding="utf-8") as file:
        json.dump(state, file, indent=1)


def probe_environment():
    """[Python version, torch version or None] of .venv, or None if it does not work or has no pip."""
    code = (
        "import json, sys, pip\nfrom importlib.metadata import distributions\n"
        "torch = [found.version for found in distributions(name='torch')] or [None]\n"
        "print(json.dumps([sys.version_info[:3], torch[0]]))"
    )
    try:
        found = json.loads(subprocess.run([PYTHON, "-c", code], env=child_environment(), capture_output=True).stdout)
    except (OSError, ValueError):
        return None
    return found if tuple(found[0]) >= OLDEST_PYTHON else None


def make_environment():
    """Make .venv; one of ours that no longer works (its Python was removed, say) is replaced."""
    if os.path.lexists(ENVIRONMENT):
        if not os.path.exists(STATE_FILE):
            raise SetupError(
                f"{ENVIRONMENT} is not from this set-up and has no Python {dotted(OLDEST_PYTHON)} or "
                "newer with pip: move it away, then run the same command again."
            )
        shutil.rmtree(ENVIRONMENT)
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise SetupError(
            "This Python lacks a part of its venv module: on Debian and Ubuntu run "
            f"'sudo apt install python{dotted(sys.version_info[:2])}-venv', then the same command again."
        )
    os.makedirs(ENVIRONMENT)
    write_state({})  # marks the folder as ours, even if the next step is interrupted
    label = f"[1/3] environment .venv, Python {dotted(sys.version_info[:3])}"
    run_logged([sys.executable, "-m", "venv", ENVIRONMENT], label, child_environment())


def torch_index_options(torch_index):
    """pip's options for the value of --torch-index."""
    if torch_index in (None, "default"):
        return []
    if re.fullmatch(r"cpu|xpu|cu\d{2,3}|rocm\d+(\.\d+)*", torch_index):
        torch_index = TORCH_BUILDS + torch_index
    if "://" not in torch_index:
        raise SetupError(f"--torch-index takes cpu, cu126 ..., an address or default; not {torch_index}.")
    return ["--index-url", torch_index]


def hint_at_torch_build():
    """One line where the default torch is seldom the one that a person wants."""
    nvidia = shutil.which("nvidia-smi") or os.path.exists("/proc/driver/nvidia/version")
    if sys.platform.startswith("linux") and not nvidia:
        print("No NVIDIA card is seen; if torch still brings gigabytes for one, use --torch-index cpu.")
    elif os.name == "nt" and nvidia:
        print("An NVIDIA card is seen: the torch that uses it comes with, for example, --torch-index cu126.")


def prepare(extras, torch_index):
    """Bring .venv to what this checkout needs. Quick when nothing changed since the last time."""
    torch_index_options(torch_index)  # a mistake in it is said before anything is made
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:  # the environment points into ROOT, too
        digest = hashlib.sha256(file.read() + os.fsencode(ROOT)).hexdigest()
    state = read_state()
    had, had_index = state.get("extras", []), state.get("torch_index")
    other_index = torch_index not in (None, had_index)
    done = os.path.exists(PYTHON) and state.get("digest") == digest and set(extras) <= set(had)
    if done and not other_index:
        return
    with open(LOG_FILE, "w", encoding="utf-8"):
        probe = probe_environment()
    if probe is None:
        make_environment()
    else:
        print(f"[1/3] environment .venv, Python {dotted(probe[0])}: already there")
    torch = probe and probe[1]
    state = {"extras": sorted({*extras, *had}), "torch_index": torch_index or had_index}
    pip = [PYTHON, "-m", "pip", "install"]
    if torch is None or other_index or is_older(torch, dict(required_packages())["torch"]):
        if not state["torch_index"]:
            hint_at_torch_build()
        command = [*pip, f"torch=={TORCH_VERSION}", *torch_index_options(state["torch_index"])]
        if torch and other_index:  # builds for two devices share a version number: pip exchanges them when forced
            command.append("--force-reinstall")
        run_logged(command, f"[2/3] torch {TORCH_VERSION}, the largest download", child_environment())
        write_state(state)
    else:
        print(f"[2/3] torch {torch}: already there")
    command = [*pip, "-e", f".[{','.join(state['extras'])}]"]
    run_logged(command, "[3/3] the plug-in and its requirements", child_environment())
    write_state({**state, "digest": digest})


def split_options(face, arguments):
    """(value of --torch-index or None, the arguments to pass on)"""
    parser = argparse.ArgumentParser(usage="see install.py --help", add_help=False, allow_abbrev=False)
    parser.add_argument("--torch-index", metavar="BUILD")
    options, rest = parser.parse_known_args(arguments)
    if face == "run":  # only to find a misspelt option before gigabytes are fetched: `l4f app` reads them
        for flag in ("--no-browser", "--listen", "--share"):
            parser.add_argument(flag, action="store_true")
        words = ("--auth", "--output-dir", "--root-path", "--allowed-host", "--device", "--dtype")
        numbers = {"--port": int, "--release-after": float, "--api-megapixels": float}
        for option, kind in {**dict.fromkeys(words, str), **numbers}.items():
            parser.add_argument(option, type=kind)
        parser.parse_args(rest)
    return options.torch_index, rest


def run_or_test(face, arguments):
    torch_index, rest = split_options(face, arguments)
    prepare(["app"] if face == "run" else ["app", "test"], torch_index)
    command = [PYTHON, "-m", *(["l4f_plugin", "app"] if face == "run" else ["pytest", *SIDE_BY_SIDE]), *rest]
    if face == "test":
        os.chdir(ROOT)
    sys.stdout.flush()
    if os.name == "nt":  # exec on Windows would give the console back at once
        return subprocess.call(command, env=child_environment())
    os.execve(command[0], command, child_environment())


def host_folder():
    """The web UI's folder, "" if only this folder's place ("extensions") tells of one, None for no host."""
    python_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    for folder in [*filter(None, python_path), os.getcwd(), os.path.dirname(os.path.dirname(ROOT))]:
        if {"launch.py", "modules"} <= set(os.listdir(folder) if os.path.isdir(folder) else ()):
            return os.path.abspath(folder)
    return "" if os.path.basename(os.path.dirname(ROOT)) == "extensions" else None


def host_forbids_installing(host):
    """The host's --skip-install. Asked only when something is missing, since `launch` is slow to import."""
    sys.path[:] = [host] + [path for path in sys.path if os.path.abspath(path) != ROOT]
    try:
        import launch
    except (Exception, SystemExit):  # whatever a host's launcher does, it is no reason to stop
        return False
    return bool(getattr(getattr(launch, "args", None), "skip_install", False))


def installed_constraints():
    """A `name==version` line for each package of this interpreter, so that pip moves none of them."""
    from importlib import metadata

    valid = re.compile(r"(\d+!)?\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)*(\+[\w.]+)?")
    versions = {}
    for distribution in metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        if name and valid.fullmatch(version or ""):  # pip refuses the whole file for one odd line
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return "".join(f"{name}=={version}\n" for name, version in versions.items())


def complete_host():
    """Add what the calling web UI's Python lacks, upgrading nothing. Silent and quick if that is nothing."""
    host = host_folder()
    if host is None:
        print("python3 install.py run     sets everything up and opens the page")
        print("python3 install.py test    sets everything up and runs the tests")
        return
    missing = {}
    for name, floor in required_packages():
        version = installed_version(name)
        if version is None:
            missing[name] = f"{name}>={floor}"
        elif is_older(version, floor):
            print(f"Labels4Free needs {name} {floor} or newer; {version} is the web UI's own and stays.")
    hosts_own = [name for name in ("torch", "gradio") if name in missing]
    if hosts_own:
        print(f"Labels4Free: {sys.executable} lacks {' and '.join(hosts_own)}; is it the web UI's Python?")
    elif missing and host and host_forbids_installing(host):
        print(f"Labels4Free: not installed, because of --skip-install: {' '.join(missing.values())}")
    elif missing:
        with tempfile.TemporaryDirectory() as folder:
            constraints = os.path.join(folder, "installed.txt")
            with open(constraints, "w", encoding="utf-8") as file:
                file.write(installed_constraints())
            command = [sys.executable, "-m", "pip", "install", "-c", constraints, *missing.values()]
            run_logged(command, f"Labels4Free: adding {' '.join(missing)}", child_environment(in_host=True))


def main(arguments):
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"Labels4Free needs Python 3.10 or newer; this is {dotted(sys.version_info[:2])}.")
    face = arguments[0] if arguments else None
    if face not in (None, "run", "test") or {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return 0 if {"-h", "--help"} & set(arguments) else 2
    try:
        return complete_host() if face is None else run_or_test(face, arguments[1:])
    except SetupError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or ROOT} cannot be used: {error.strerror or error}."
    except KeyboardInterrupt:
        message = "\nStopped; the same command goes on from here."
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
