"""Devices, precisions, whose turn it is, and what is in memory."""

import sys
import threading
import weakref
from contextlib import contextmanager

import pytest
import torch
from pages import in_thread, wait_until
from sentences import refusal

from l4f_plugin import runtime
from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.jobs import QUEUE, CancelToken, JobQueue
from l4f_plugin.model_cache import ModelCache
from l4f_plugin.pipeline import Labels4FreePipeline

CPU = torch.device("cpu")
OutOfMemoryError = torch.cuda.OutOfMemoryError  # the name it has since torch 1.13


class FakePipeline:
    """What the cache needs of a pipeline."""

    def __init__(self, name):
        self.name, self.device, self.unloaded = name, CPU, False

    def unload(self):
        self.unloaded = True

    def weight_bytes(self):
        return 1000


@pytest.fixture
def cache(monkeypatch):
    def load(name, device=None, dtype=None):
        cache.made.append(FakePipeline(name))
        return cache.made[-1]

    monkeypatch.setattr(Labels4FreePipeline, "from_pretrained", load)
    cache = ModelCache()
    cache.made = []
    return cache


def pretend(monkeypatch, cards=0, apple=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    monkeypatch.setattr(runtime, "_nvidia_card_present", lambda: False)


@pytest.mark.parametrize(("cards", "apple", "expected"), [(1, True, "cuda"), (0, True, "mps"), (0, False, "cpu")])
def test_the_best_device_is_chosen(monkeypatch, cards, apple, expected):
    pretend(monkeypatch, cards, apple)
    assert runtime.choose_device().type == expected
    assert runtime.choose_device("auto").type == expected
    assert runtime.choose_device("cpu") == CPU
    assert runtime.choose_device(CPU) == CPU


def test_devices_that_are_not_there_are_refused(monkeypatch):
    pretend(monkeypatch, cards=1)
    assert runtime.choose_device("cuda:0") == torch.device("cuda:0")
    for name in ("gpu", "cuda:x", "cuda:-1", "", "cpu:0", "meta", "cuda:9999"):
        assert "use auto" in refusal(runtime.choose_device, name)
    assert "sees 1 CUDA device" in refusal(runtime.choose_device, "cuda:1")
    assert "no Apple GPU" in refusal(runtime.choose_device, "mps")
    pretend(monkeypatch)
    assert "sees no CUDA device" in refusal(runtime.choose_device, "cuda")
    monkeypatch.setattr(runtime, "nvidia_hint", lambda: "The hint.")
    with pytest.raises(UserError, match=r"The hint\."):
        runtime.choose_device("cuda")


def test_precisions():
    cuda, mps = torch.device("cuda"), torch.device("mps")
    expected = [torch.float32, torch.float32, torch.float16]
    assert [runtime.choose_dtype(device) for device in (CPU, mps, cuda)] == expected
    assert runtime.choose_dtype(CPU, "bfloat16") == torch.bfloat16
    assert runtime.choose_dtype(CPU, torch.float32) == torch.float32
    assert runtime.choose_dtype(mps, "auto") == torch.float32
    for device, name in ((CPU, "float16"), (mps, "bfloat16"), (CPU, "int8"), (cuda, "float64")):
        assert "use auto or float32" in refusal(runtime.choose_dtype, device, name)


def test_the_hint_about_an_idle_card(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", None, raising=False)

    def hint(cuda: str | None, card: bool) -> str | None:
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(runtime, "_nvidia_card_present", lambda: card)
        return runtime.nvidia_hint()

    assert "install.py run --torch-index" in hint(None, True)
    assert hint("12.6", True) is None and hint(None, False) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", True),
        ("__version__ = '2.1.2+cpu'\ncuda = None\nhip = None\n", True),
        ("cuda: Optional[str] = '12.6'\nhip: Optional[str] = None\n", False),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n", False),
        ("something else", False),
    ],
)
def test_the_build_is_read_without_importing_torch(monkeypatch, tmp_path, text, expected):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('must not be imported')")
    (tmp_path / "torch" / "version.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch")
    assert runtime._torch_is_for_cpu() is expected


def test_jobs_run_one_at_a_time_in_the_order_of_their_coming():
    jobs, order, running = JobQueue(), [], []

    def job(number):
        with jobs.turn():
            running.append(number)
            assert len(running) == 1
            order.append(number)
            threading.Event().wait(0.002)
            running.remove(number)

    threads = []
    with jobs.turn():
        for number in range(20):
            threads.append(in_thread(job, number))
            wait_until(lambda expected=number + 2: len(jobs) == expected)
        assert order == []
    for thread in threads:
        thread.join(30)
    assert order == list(range(20))
    assert len(jobs) == 0


def test_the_end_of_a_wait_is_reported_too():
    jobs, ahead = JobQueue(), []

    def wait():
        with jobs.turn(CancelToken(ahead.append)):
            ahead.append("ran")

    threads = []
    with jobs.turn():
        for count in (2, 3):
            threads.append(in_thread(wait))
            wait_until(lambda count=count: len(jobs) == count and count - 1 in ahead)
    for thread in threads:
        thread.join(30)
    assert ahead.count("ran") == 2 and ahead[-1] == "ran"
    assert ahead.count(0) == 2 and ahead.index(0) < ahead.index("ran")
    told = []
    with jobs.turn(CancelToken(told.append)):
        assert told == [], "nobody waited"


def test_a_turn_ends_with_its_job_whatever_happens():
    jobs = JobQueue()
    with pytest.raises(ZeroDivisionError), jobs.turn():
        raise ZeroDivisionError

    def results():
        with jobs.turn():
            yield 1
            yield 2

    abandoned = results()
    next(abandoned)
    assert len(jobs) == 1
    in_thread(abandoned.close).join(30)  # another thread than the one that began
    assert len(jobs) == 0


def test_the_cache_loads_once_and_keeps_one(cache):
    assert cache.loaded is None and cache.memory() == 0
    with cache.job("avatar") as first:
        pass
    with cache.job("avatar") as second:
        assert second is first
    assert cache.loaded == "avatar" and cache.memory() == 1000
    with cache.job("cat") as other:
        assert first.unloaded and other.name == "cat"
    with cache.job("cat", dtype="bfloat16"):
        assert other.unloaded
    assert [made.name for made in cache.made] == ["avatar", "cat", "cat"]


def test_release_frees_and_reports(cache):
    with cache.job("avatar") as pipeline:
        gone = weakref.ref(pipeline)
    del pipeline
    cache.made.clear()
    assert cache.release() == (1000, 0)
    assert gone() is None
    assert cache.loaded is None
    assert cache.release() == (0, 0)
    with cache.job("avatar", release_after=0):
        pass
    assert cache.loaded is None


def test_an_idle_pipeline_leaves_memory_but_not_one_in_use(cache):
    gone = threading.Event()
    cache._on_release = gone.set
    with cache.job("avatar", release_after=0.05) as pipeline:
        pass
    with cache.job("avatar", release_after=0.4) as again:  # comes before the first clock has run out, and stops it
        assert again is pipeline
        assert not gone.wait(0.15), "released while a job ran"
    assert cache.loaded == "avatar"
    assert gone.wait(30)
    assert cache.loaded is None and pipeline.unloaded
    with cache.job("avatar", release_after=None):
        pass
    assert cache.loaded == "avatar" and cache._timer is None


def test_the_gate_stands_around_the_turn_of_each_job(cache):
    steps = []

    @contextmanager
    def gate(cancel):
        steps.append(("in", len(QUEUE)))
        yield
        steps.append(("out", cache.loaded))

    cache._gate = gate
    with cache.job("avatar"):
        steps.append(len(QUEUE))
    with cache.turn():
        steps.append(len(QUEUE))
    assert steps == [("in", 0), 1, ("out", "avatar"), ("in", 0), 1, ("out", "avatar")]


def test_a_pipeline_that_fails_to_load_leaves_the_cache_usable(cache, monkeypatch):
    def refuse(name, device=None, dtype=None):
        raise UserError("No such class.")

    with monkeypatch.context() as patch:
        patch.setattr(Labels4FreePipeline, "from_pretrained", refuse)
        with pytest.raises(UserError, match="No such class"), cache.job("nothing"):
            pass
    assert cache.loaded is None
    with cache.job("avatar") as pipeline:
        assert pipeline.name == "avatar"


def run_out_of_memory(kept):
    tensor = torch.zeros(3)
    kept.append(weakref.ref(tensor))
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")


def test_running_out_of_memory_is_cleaned_up_and_explained(cache):
    kept = []
    with pytest.raises(UserError, match="batch size of 1") as refusal, cache.job("avatar"):
        run_out_of_memory(kept)
    assert kept[0]() is None, "the failed work must not be kept alive by its error"
    assert refusal.value.__suppress_context__
    assert cache.loaded is None
    with cache.job("avatar"):
        pass


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (MemoryError(), runtime.OutOfMemory),
        (OutOfMemoryError("x"), runtime.OutOfMemory),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18 GB)"), runtime.OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), runtime.OutOfMemory),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8"), runtime.OutOfMemory),
        (RuntimeError("shapes do not fit"), RuntimeError),
        (Cancelled(), Cancelled),
    ],
)
def test_every_way_of_running_out_of_memory_is_known_and_other_errors_pass(error, becomes):
    with pytest.raises(becomes) as caught, runtime.out_of_memory_in_words():
        raise error
    assert caught.type is becomes
