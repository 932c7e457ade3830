"""What several test files share: hypothesis settings and a tiny object class with random weights."""

import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

# Derandomised: a commit passes or fails on every machine alike. No time is looked at: CI machines stall.
settings.register_profile(
    "l4f", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("l4f")
# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Tests ask this computer only, and so past every proxy; what fetches packages is handed those of the user.
_NAMES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
PROXIES = {name: os.environ.pop(name) for name in _NAMES if name in os.environ}

# Gradio names a copy by its content and writes it in place: of two processes with one folder, one reads half a picture.
_UPLOADS = tempfile.TemporaryDirectory(prefix="labels4free-tests-")
os.environ["GRADIO_TEMP_DIR"] = _UPLOADS.name


# Side by side (pytest-xdist), one process a core: a file's tests stay together, since they share what is costly to
# make (`--dist loadfile`), and the files that take longest start first (`--no-loadscope-reorder`), so that none of
# them is still running when all others have ended.
LONGEST = ("test_matrix.py", "test_browser.py")
MOST_PROCESSES = 8  # each takes most of a gigabyte
if "PYTEST_XDIST_WORKER" in os.environ:  # as many threads each as there are cores would be in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if "L4F_WITHOUT_ONEDNN" in os.environ:  # see noxfile.py; other libraries compute then, and round otherwise
    import torch

    torch.backends.mkldnn.set_flags(False)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means: no more processes than files are asked for; one file is run in this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    files = {argument.partition("::")[0] for argument in config.args}
    if all(file.endswith(".py") for file in files):
        cores = min(cores, len(files))
    return 0 if cores == 1 else min(cores, MOST_PROCESSES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # of xdist
        ranks = {name: rank for rank, name in enumerate(LONGEST)}
        items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For what is promised to the bit: a training that goes on where it stopped, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_bundle_folder(tmp_path_factory) -> Path:
    """The folder of a 32 px class "tiny" with masks and learned backgrounds. Read only: tests share it."""
    import torch
    from bundles import tiny_bundle

    from l4f_plugin.bundles.bundle import save_bundle

    bundle = tiny_bundle(truncation_psi=0.6, alpha_threshold=0.4)
    with torch.no_grad(), torch.random.fork_rng():
        # Untrained networks ignore noise and offsets: tests would pass whatever those are.
        torch.manual_seed(1)
        for convolution in bundle.generator.synthesis.convolutions:
            convolution.noise_strength.fill_(0.3)
        for to_rgb in bundle.generator.synthesis.to_rgb:
            to_rgb.weight.mul_(0.3)  # pictures within the range, so that few pixels are clipped
        torch.nn.init.normal_(bundle.background.style_offset)
        bundle.alpha.output.weight.mul_(4.0)
    folder = tmp_path_factory.mktemp("classes") / "tiny"
    save_bundle(bundle, folder, dtype=torch.float32)
    return folder


@pytest.fixture(scope="module")
def tiny_models(tiny_bundle_folder) -> Iterator[Path]:
    """The tiny class, installed, for all tests of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELS4FREE_MODELS", str(tiny_bundle_folder.parent))
        yield tiny_bundle_folder


@pytest.fixture
def own_folders(tmp_path, monkeypatch) -> Path:
    """Folders of the test's own for classes (`models`) and all that can be made again (`cache`)."""
    monkeypatch.setenv("LABELS4FREE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def loopback_hub(tmp_path, monkeypatch):
    """A Hub on this computer with nothing in it, which this process uses, with folders of the test's own."""
    from hub_server import Hub, point_at

    with Hub() as server:
        point_at(server, monkeypatch, tmp_path)
        yield server


@pytest.fixture
def upload_hub(tmp_path, monkeypatch):
    """A Hub on this computer that takes what is published, which this process uses."""
    from upload_server import UploadHub, point_at

    with UploadHub() as server:
        point_at(server, monkeypatch, tmp_path)
        yield server


@pytest.fixture(scope="module")
def pipeline(tiny_bundle_folder):
    """The tiny class, ready to draw."""
    from l4f_plugin.pipeline import Labels4FreePipeline

    return Labels4FreePipeline.from_pretrained(tiny_bundle_folder, device="cpu")


@pytest.fixture
def few_compared(monkeypatch) -> None:
    """Photographs are compared with 20 pictures of their class and not with 1000, which takes five seconds."""
    from l4f_plugin.training import runs

    monkeypatch.setattr(runs, "compared", functools.partial(runs.compared, count=20))


@pytest.fixture
def quick_photographs(few_compared, monkeypatch) -> None:
    """Photographs are learned in six steps, and no mask is too bad to learn from."""
    from test_student import TINY

    from l4f_plugin.training import chain, cut_pictures, learning

    for module in (chain, learning):
        monkeypatch.setattr(module, "photograph_settings", lambda *_: TINY)
    monkeypatch.setattr(cut_pictures, "flaws_of", lambda alphas: [None for _ in alphas])


@pytest.fixture(scope="session")
def red(tmp_path_factory) -> Path:
    """The folder of a class "tiny" that finds what is red in photographs. Read only: tests share it."""
    from bundles import red_finder, saved

    return saved(tmp_path_factory.mktemp("photographed") / "red", student=red_finder())


@pytest.fixture
def notices(monkeypatch) -> list[str]:
    """What the page tells in notices."""
    import gradio as gr

    told: list[str] = []
    monkeypatch.setattr(gr, "Warning", told.append)
    monkeypatch.setattr(gr, "Info", told.append)
    return told


@pytest.fixture
def page(tiny_bundle_folder, tmp_path, monkeypatch, notices):
    """A page over the tiny class, whose notices are collected in `page.notices`."""
    from l4f_ui import app
    from l4f_ui.outputs import Outputs
    from l4f_ui.service import Service, Settings

    monkeypatch.setenv("LABELS4FREE_MODELS", str(tiny_bundle_folder.parent))
    service = Service(lambda: Settings(device="cpu"), Outputs(tmp_path / "out"))
    parts = app.build(service).l4f
    yield SimpleNamespace(**vars(parts), notices=notices, service=service, outputs=service.outputs)
    service.outputs.forget_previews()


@pytest.fixture
def no_shipped_class(tmp_path, monkeypatch):
    """The repository's catalogue without the bundles beside it."""
    from l4f_plugin.bundles import catalogue

    weights = tmp_path / "weights"
    weights.mkdir()
    shutil.copy(catalogue.WEIGHTS_FOLDER / catalogue.CATALOGUE_NAME, weights)
    monkeypatch.setattr(catalogue, "WEIGHTS_FOLDER", weights)
