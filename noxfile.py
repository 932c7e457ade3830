"""The page under every generation of Gradio that the plug-in lives with, and all tests as on other processors.

    python -m nox                            every test of the page, under each Gradio
    python -m nox -s "page(3.41.2)" -- -k swap            one Gradio, with pytest's own options
    python -m nox -s "page(3.41.2)" -- -m clicked_path    what CI runs of the others
    python -m nox -s processor               all tests with other instruction sets and threads, without oneDNN, busy
    python -m nox -s "processor(avx2)" -- tests/test_pipeline.py

To be run by the Python of `.venv`, whose PyTorch the environments of the page share; everything else they install
themselves. The tests of `processor` are run by `.venv` itself.
"""

import os
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import nox
from packaging.requirements import Requirement

# The old two only live inside web UIs, so they are tried with the releases that those pin (but for Pillow where
# Python is too new for it).
PINNED_BY_BOTH = ["httpx==0.24.1", "pillow==9.5.0; python_version < '3.12'"]
GRADIOS = {
    "3.41.2": ["fastapi==0.94.0", "pydantic==1.10.15", "huggingface-hub==0.25.0", "numpy==1.26.2", *PINNED_BY_BOTH],
    "4.40.0": ["fastapi==0.104.1", "pydantic==2.8.2", "huggingface-hub==0.26.2", "numpy==1.26.4", *PINNED_BY_BOTH],
    "5.50.0": [],
    "6.31.0": [],
}
# of tests/test_*.py
PAGE = "api*|browser*|brush_form|export_panel|front|hosts*|models_*|photos_panel|server|train_panel|ui*"
SIDE_BY_SIDE = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")  # as install.py, see tests/conftest.py

# What differs from machine to machine and changes in which order sums are rounded. The tests' own process is without
# oneDNN in one of them, see tests/conftest.py.
PROCESSORS = {
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "default": {},
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "no onednn": {"L4F_WITHOUT_ONEDNN": "1"},
    "busy": {},
}
BUSY_PROCESSES = 8
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # ends with nox, however that ends

nox.options.sessions = ["page"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True


@nox.session(name="page")
@nox.parametrize("gradio", list(GRADIOS), ids=list(GRADIOS))
def page(session: nox.Session, gradio: str) -> None:
    """Tests of the page under one Gradio."""
    share_torch(session)
    # Most modules of the packages are never imported, so compiling all of them costs more than it saves.
    session.install("--no-compile", f"gradio=={gradio}", *GRADIOS[gradio], "-e", ".[test]")
    files = sorted(str(file) for pattern in PAGE.split("|") for file in Path("tests").glob(f"test_{pattern}.py"))
    session.run("python", "-m", "pytest", "-p", "no:cacheprovider", *SIDE_BY_SIDE, *files, *session.posargs)


@nox.session(name="processor", python=False)
@nox.parametrize("kind", list(PROCESSORS), ids=list(PROCESSORS))
def processor(session: nox.Session, kind: str) -> None:
    """All tests, or those that are named, as they would be on another processor or one that is busy."""
    count = BUSY_PROCESSES if kind == "busy" else 0
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        environment = {**os.environ, **PROCESSORS[kind]}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SIDE_BY_SIDE, *session.posargs]
        session.run(*command, env=environment, external=True)
    finally:
        for process in busy:
            process.kill()


def share_torch(session: nox.Session) -> None:
    """Links PyTorch and what it requires from the environment that runs nox, and nothing else of it.

    pip then finds them there. What it wants in another release it installs in the session's own folder, which
    comes first.
    """
    place = Path(session.virtualenv.location).resolve() / "shared_torch"
    place.mkdir(exist_ok=True)
    for distribution in closure("torch"):
        for name in {Path(file).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            link = place / name
            if not link.exists():
                link.symlink_to(Path(distribution.locate_file(name)).resolve())
    packages = sysconfig.get_path("purelib", vars={"base": session.virtualenv.location})
    (Path(packages) / "shared_torch.pth").write_text(f"{place}\n", encoding="utf-8")


def closure(name: str) -> list[metadata.Distribution]:
    """The installed distribution of that name and all that it requires here."""
    found: dict[str, metadata.Distribution] = {}
    wanted = [name]
    while wanted:
        distribution = metadata.distribution(wanted.pop())
        if found.setdefault(distribution.metadata["Name"], distribution) is not distribution:
            continue
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    return list(found.values())
