"""The rules of the house, read off the source: who imports whom, who opens files, what may be used.

Each rule is a function from source text to complaints, and is tried on lines that break it, so that a rule
which never complains does not pass for a kept one.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOST_MODULES = {"modules", "modules_forge", "launch", "backend", "installer", "scripts"}

# The engine from the ground up: a part imports from lower storeys only. Rooms of one storey do not know each
# other, but for the workshops, which share their data sets and measures.
STOREYS = [
    {"errors", "processor", "architecture"},
    {"jobs"},
    {"networks", "compositing", "runtime", "mask_probe"},
    {"bundles"},
    {"convert"},
    {"hub"},
    {"images"},
    {"arguments", "picture_archives"},
    {"provenance"},
    {"animations", "picture_files"},
    {"matting"},
    {"directions", "upscaling"},
    {"subject"},
    {"photos"},
    {"drawing"},
    {"pipeline"},
    {"model_cache", "motion", "exploring", "photo_batch", "projection", "sample_sheet"},
    {"training", "evaluation", "datasets"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
STORAGE = [("bundles",), ("convert",), ("hub",)]
WORKSHOPS = {"training", "evaluation", "datasets"}
NAMES_OF_THE_PACKAGE = {"arguments", "jobs", "subject", "pipeline"}  # what __init__ hands on

# Third-party modules that each folder may import. tqdm comes with huggingface-hub; fastapi, starlette and
# pydantic come with every Gradio, pandas with its plots.
# pillow_heif is used where a user has installed it.
ENGINE_PACKAGES = {"torch", "numpy", "PIL", "tqdm", "pillow_heif"}
CHECKPOINT_PACKAGES = ENGINE_PACKAGES | {"safetensors", "huggingface_hub"}
UI_PACKAGES = {"gradio", "numpy", "PIL", "fastapi", "starlette", "pydantic", "uvicorn", "spaces", "pandas"}

# Newer than the floors, or gone from newer releases than the floors. Names as they are written in source.
NEWER_THAN_PYTHON_310 = {
    "tomllib", "ExceptionGroup", "BaseExceptionGroup", "enum.StrEnum", "datetime.UTC", "typing.Self",
    "typing.override", "typing.assert_never", "typing.Never", "typing.LiteralString", "typing.Unpack",
    "typing.NotRequired", "typing.Required", "typing.TypeVarTuple", "typing.dataclass_transform",
    "contextlib.chdir", "hashlib.file_digest", "itertools.batched", "math.cbrt", "math.exp2", "math.sumprod",
    "asyncio.TaskGroup", "asyncio.timeout", "asyncio.Runner", "copy.replace", "warnings.deprecated",
    "operator.call", "logging.getHandlerByName", "inspect.getmembers_static", "os.process_cpu_count",
    "importlib.resources.abc", "wsgiref.types",
}  # fmt: skip
NEWER_THAN_TORCH_21 = {
    "torch.accelerator", "torch.amp.GradScaler", "torch.amp.custom_bwd", "torch.amp.custom_fwd",
    "torch.amp.is_autocast_available", "torch.compiler.set_stance", "torch.get_autocast_dtype",
    "torch.get_device_module", "torch.library.custom_op", "torch.library.register_fake", "torch.mtia",
    "torch.nn.attention", "torch.nn.Buffer", "torch.nn.RMSNorm", "torch.nn.functional.rms_norm",
    "torch.nn.utils.get_total_norm", "torch.nn.utils.clip_grads_with_norm_", "torch.optim.Adafactor",
    "torch.optim.Muon", "torch.serialization.add_safe_globals", "torch.serialization.safe_globals",
    "torch.serialization.skip_data", "torch.set_autocast_dtype", "torch.uint16", "torch.uint32",
    "torch.uint64", "torch.unravel_index", "torch.utils.swap_tensors", "torch.utils.module_tracker",
}  # fmt: skip
NOT_IN_EVERY_RELEASE = {
    # numpy 1.26 or 2.x
    "numpy.astype", "numpy.bool8", "numpy.concat", "numpy.cumulative_sum", "numpy.float_", "numpy.in1d",
    "numpy.isdtype", "numpy.matrix_transpose", "numpy.permute_dims", "numpy.pow", "numpy.product",
    "numpy.row_stack", "numpy.trapezoid", "numpy.trapz", "numpy.unique_values", "numpy.vecdot",
    # Pillow 9.5 to 13
    "PIL.Image.ANTIALIAS", "PIL.Image.LINEAR", "PIL.Image.CUBIC", "PIL.ImageText", "PIL.ImageMath.eval",
    # huggingface_hub 0.25 to 2.4
    "huggingface_hub.HfFolder", "huggingface_hub.cached_download", "huggingface_hub.Repository",
}  # fmt: skip
NEWER_METHODS = {"full_match", "with_segments", "add_note"}  # of Path and Exception, after Python 3.10
GONE_KEYWORDS = {"local_dir_use_symlinks", "walk_up", "delete_on_close", "onexc"}

FILE_MODULES = {"os", "io", "pathlib", "shutil", "tempfile", "json", "zipfile", "tarfile", "glob", "mmap"}
CODE_CARRIERS = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FILE_FUNCTIONS = {"open", "torch.load", "torch.save", "numpy.load", "numpy.save", "numpy.memmap"}
FILE_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "tofile", "fromfile"}


class Source:
    """One Python file: its path from the root, its tree, the full names of what it imports and uses."""

    def __init__(self, path: str, text: str):
        self.path, self.text = path, text
        self.tree = ast.parse(text, path, feature_version=(3, 10))
        self.parts = Path(path).with_suffix("").parts
        self.bindings: dict[str, str] = {}  # local name -> full dotted name
        self.imported: set[str] = set()  # full dotted names of all that is imported, anywhere in the file
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                self.imported |= {alias.name for alias in node.names}
                for alias in node.names:  # `import a.b` binds a, `import a.b as c` binds a.b
                    top = alias.name.split(".")[0]
                    self.bindings[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom):
                base = self.parts[: len(self.parts) - node.level] if node.level else ()
                module = ".".join([*base, *filter(None, [node.module])])
                for alias in node.names:
                    self.imported.add(f"{module}.{alias.name}")
                    self.bindings[alias.asname or alias.name] = f"{module}.{alias.name}"

    def full_name(self, node: ast.AST) -> str | None:
        """The dotted name that an expression stands for, by this file's imports: np.load -> numpy.load."""
        if isinstance(node, ast.Name):
            return self.bindings.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            value = self.full_name(node.value)
            return value and f"{value}.{node.attr}"
        return None

    def names_used(self) -> set[str]:
        expressions = [node for node in ast.walk(self.tree) if isinstance(node, ast.Name | ast.Attribute)]
        return self.imported | {name for name in map(self.full_name, expressions) if name}

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield self.full_name(node.func) or f"?.{getattr(node.func, 'attr', '')}", node

    def top_levels(self) -> set[str]:
        return {name.split(".")[0] for name in self.imported}


def python_files(*folders: str) -> list[str]:
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(str(path.relative_to(ROOT)) for path in files if "node_modules" not in path.parts)


PRODUCT = python_files("l4f_plugin", "ui", "scripts", "benchmarks", "tools") + ["install.py"]
TESTS = python_files("tests")


# The rules


def may_import(importer: str, imported: str) -> bool:
    if importer == "__init__":
        return imported in NAMES_OF_THE_PACKAGE
    storey = {part: number for number, parts in enumerate(STOREYS) for part in parts}
    if importer not in storey or imported not in storey:
        return False
    return importer == imported or storey[imported] < storey[importer] or {importer, imported} <= WORKSHOPS


def arrows_run_one_way(source: Source) -> Iterator[str]:
    if source.parts[0] != "l4f_plugin":
        return
    for name in sorted(source.imported - {"l4f_plugin.__version__"}):
        if name == "l4f_plugin":
            yield "imports the whole package"
        elif name.startswith("l4f_plugin.") and not may_import(source.parts[1], name.split(".")[1]):
            yield f"imports {name}"


def engine_knows_no_page_and_no_host(source: Source) -> Iterator[str]:
    if source.parts[0] == "l4f_plugin":
        for name in source.top_levels() & (HOST_MODULES | {"ui", "l4f_ui", "gradio"}):
            yield f"imports {name}"
        for name, call in source.calls():
            if name.rpartition(".")[2] in {"import_module", "__import__", "run_path"}:
                inner = (node for argument in call.args[:1] for node in ast.walk(argument))
                start = next((node for node in inner if isinstance(node, ast.Constant)), None)
                if not start or not str(start.value).startswith((".", "l4f_plugin.")):
                    yield f"{name} of something other than a part of the engine"


def only_hosts_know_hosts(source: Source) -> Iterator[str]:
    if source.parts[:2] == ("ui", "hosts") or source.parts[0] in {"scripts", "install"}:
        return
    for name in sorted(source.top_levels() & HOST_MODULES):
        yield f"imports {name}"
    if source.parts[0] == "ui" and any(name.startswith("ui.hosts") for name in source.imported):
        yield "imports ui.hosts"


def ui_imports_itself_relatively(source: Source) -> Iterator[str]:
    if source.parts[0] == "ui":
        for node in ast.walk(source.tree):
            absolute = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            absolute += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            yield from (f"imports {n}" for n in absolute if n.split(".")[0] in {"ui", "l4f_ui"})


def networks_open_no_file(source: Source) -> Iterator[str]:
    if source.parts[:2] != ("l4f_plugin", "networks"):
        return
    for name in sorted(source.top_levels() & FILE_MODULES):
        yield f"imports {name}"
    for name, _ in source.calls():
        if name in FILE_FUNCTIONS or name.rpartition(".")[2] in FILE_METHODS:
            yield f"calls {name}"


def no_file_is_run_as_code(source: Source) -> Iterator[str]:
    """Weights are data. A class derived from pickle's reader is fine where it is in convert/."""
    in_convert = source.parts[:2] == ("l4f_plugin", "convert")
    for name in source.names_used():
        top, _, rest = name.partition(".")
        # reading opcodes one by one, and naming what was refused, builds nothing
        inert = rest.endswith("Error") or (in_convert and rest in {"Unpickler", ""})
        if top in CODE_CARRIERS and not inert:
            yield f"uses {name}"
    for name, call in source.calls():
        keywords = {keyword.arg: getattr(keyword.value, "value", ...) for keyword in call.keywords}
        if name == "torch.load" and keywords.get("weights_only") is not True:
            yield "calls torch.load without weights_only=True"
        if name.startswith("numpy.") and keywords.get("allow_pickle", False) is not False:
            yield f"calls {name} with allow_pickle"
        if name in {"eval", "exec", "compile", "os.system", "os.popen", "torch.hub.load", "torch.jit.load"}:
            yield f"calls {name}"
        if keywords.get("shell", False) is not False or keywords.get("trust_remote_code", False) is not False:
            yield f"calls {name} with shell or trust_remote_code"


def only_checkpoints_open_weights(source: Source) -> Iterator[str]:
    if source.parts[:1] == ("l4f_plugin",) and source.parts[1:2] in STORAGE:
        return
    for name in sorted(source.names_used()):
        if name.split(".")[0] in {"safetensors", "huggingface_hub"} or name in {"torch.load", "torch.save"}:
            yield f"uses {name}"


def only_declared_packages(source: Source) -> Iterator[str]:
    allowed = {"ui": UI_PACKAGES, "scripts": HOST_MODULES | {"l4f_plugin"}, "install": {"launch"}}
    allowed["l4f_plugin"] = CHECKPOINT_PACKAGES if source.parts[1:2] in STORAGE else ENGINE_PACKAGES
    if source.parts[0] in allowed:
        hosts = HOST_MODULES if source.parts[:2] == ("ui", "hosts") else set()
        own = {source.parts[0], "l4f_plugin", "__future__"} if source.parts[0] != "install" else set()
        for name in sorted(source.top_levels() - set(sys.stdlib_module_names) - own):
            if name not in allowed[source.parts[0]] | hosts:
                yield f"imports {name}"


def nothing_newer_than_the_floors(source: Source) -> Iterator[str]:
    for name in sorted(source.names_used()):
        for banned in NEWER_THAN_PYTHON_310 | NEWER_THAN_TORCH_21 | NOT_IN_EVERY_RELEASE:
            if name == banned or name.startswith(f"{banned}."):
                yield f"uses {name}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in NEWER_METHODS:
            yield f"uses .{node.attr}"
        if isinstance(node, ast.keyword) and node.arg in GONE_KEYWORDS:
            yield f"uses {node.arg}="


def constants_are_set_once(source: Source) -> Iterator[str]:
    named: set[str] = set()
    for node in source.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for name in (part for target in targets if target is not None for part in ast.walk(target)):
            if isinstance(name, ast.Name) and name.id.isupper():
                if name.id in named:
                    yield f"sets {name.id} twice"
                named.add(name.id)


RULES: list[Callable[[Source], Iterator[str]]] = [
    arrows_run_one_way,
    engine_knows_no_page_and_no_host,
    only_hosts_know_hosts,
    ui_imports_itself_relatively,
    networks_open_no_file,
    no_file_is_run_as_code,
    only_checkpoints_open_weights,
    only_declared_packages,
    nothing_newer_than_the_floors,
    constants_are_set_once,
]


@cache
def parsed(path: str) -> Source:
    """A file of the project, read once for all rules."""
    return Source(path, (ROOT / path).read_text("utf-8"))


def test_no_name_of_a_module_occurs_twice():
    names = Counter(path.rpartition("/")[2] for path in PRODUCT)
    assert [name for name, count in names.items() if count > 1 and not name.startswith("__")] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_product_keeps(rule):
    sources = [parsed(path) for path in PRODUCT]
    assert len(sources) > 10, "the product's files were not found"
    complaints = [f"{source.path} {complaint}" for source in sources for complaint in rule(source)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("rule", [nothing_newer_than_the_floors], ids=lambda rule: rule.__name__)
def test_tests_keep(rule):
    sources = [parsed(path) for path in TESTS]
    complaints = [f"{source.path} {complaint}" for source in sources for complaint in rule(source)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (arrows_run_one_way, "l4f_plugin/networks/ops.py", "from ..bundles import bundle"),
        (arrows_run_one_way, "l4f_plugin/networks/ops.py", "from l4f_plugin.pipeline import Subject"),
        (arrows_run_one_way, "l4f_plugin/hub/hub.py", "from .. import pipeline"),
        (arrows_run_one_way, "l4f_plugin/compositing.py", "from .images import load"),
        (arrows_run_one_way, "l4f_plugin/pipeline.py", "def f():\n    from .training import losses"),
        (arrows_run_one_way, "l4f_plugin/training/loop.py", "import l4f_plugin.cli"),
        (arrows_run_one_way, "l4f_plugin/commands/swap.py", "import l4f_plugin"),
        (engine_knows_no_page_and_no_host, "l4f_plugin/cli.py", "import gradio as gr"),
        (engine_knows_no_page_and_no_host, "l4f_plugin/cli.py", "def f():\n    from l4f_ui import app"),
        (engine_knows_no_page_and_no_host, "l4f_plugin/runtime.py", "from modules import shared"),
        (engine_knows_no_page_and_no_host, "l4f_plugin/cli.py", "__import__('ui')"),
        (only_hosts_know_hosts, "ui/app.py", "from modules import shared"),
        (only_hosts_know_hosts, "ui/app.py", "from .hosts import settings"),
        (ui_imports_itself_relatively, "ui/app.py", "from l4f_ui.texts import text"),
        (ui_imports_itself_relatively, "ui/app.py", "import ui.texts"),
        (networks_open_no_file, "l4f_plugin/networks/ops.py", "def f(p):\n    return open(p)"),
        (networks_open_no_file, "l4f_plugin/networks/ops.py", "from pathlib import Path"),
        (networks_open_no_file, "l4f_plugin/networks/ops.py", "import torch\ntorch.save({}, 'x')"),
        (no_file_is_run_as_code, "l4f_plugin/convert/a.py", "import pickle\npickle.load(f)"),
        (no_file_is_run_as_code, "l4f_plugin/convert/a.py", "from pickle import loads as read"),
        (no_file_is_run_as_code, "l4f_plugin/training/a.py", "from pickle import Unpickler"),
        (no_file_is_run_as_code, "l4f_plugin/convert/a.py", "import torch as t\nt.load('x')"),
        (no_file_is_run_as_code, "l4f_plugin/convert/a.py", "import torch\ntorch.load(p, None, False)"),
        (no_file_is_run_as_code, "benchmarks/a.py", "import numpy as np\nnp.load('x', allow_pickle=True)"),
        (no_file_is_run_as_code, "ui/a.py", "import subprocess\nsubprocess.run('ls', shell=True)"),
        (no_file_is_run_as_code, "ui/a.py", "eval(text)"),
        (only_checkpoints_open_weights, "l4f_plugin/pipeline.py", "from safetensors.torch import load_file"),
        (only_checkpoints_open_weights, "l4f_plugin/cli.py", "import huggingface_hub"),
        (only_checkpoints_open_weights, "benchmarks/a.py", "from torch import load\nload('x')"),
        (only_declared_packages, "l4f_plugin/evaluation/frechet.py", "from scipy import linalg"),
        (only_declared_packages, "ui/app.py", "import torch"),
        (only_declared_packages, "install.py", "import packaging"),
        (nothing_newer_than_the_floors, "ui/app.py", "import tomllib"),
        (nothing_newer_than_the_floors, "ui/app.py", "from typing import Self"),
        (nothing_newer_than_the_floors, "l4f_plugin/runtime.py", "from torch.amp import GradScaler"),
        (nothing_newer_than_the_floors, "l4f_plugin/runtime.py", "import torch.nn as nn\nnn.RMSNorm(3)"),
        (nothing_newer_than_the_floors, "l4f_plugin/runtime.py", "import torch.nn\ntorch.nn.RMSNorm(3)"),
        (nothing_newer_than_the_floors, "l4f_plugin/images.py", "import numpy as np\nnp.concat([a])"),
        (constants_are_set_once, "l4f_plugin/matting.py", "RADIUS = 4\nSIDE, RADIUS = 9, 5"),
    ],
)
def test_rule_complains(rule, path, text):
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize("text", ["try:\n    f()\nexcept* ValueError:\n    pass", "class Box[T]: pass"])
def test_syntax_after_python_310_is_refused(text):
    with pytest.raises(SyntaxError):
        Source("ui/app.py", text)


def test_package_list_matches_the_folders():
    """Setuptools takes the list in pyproject.toml literally: a folder that is not in it is not in a wheel."""
    toml = pytest.importorskip("tomllib", reason="the standard library reads TOML from Python 3.11 on")
    listed = toml.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = {Path(path).parent for path in python_files("l4f_plugin", "ui")}
    names = {".".join(folder.parts) for folder in folders}
    assert set(listed) == {f"l4f_{name}" if name.split(".")[0] == "ui" else name for name in names}
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    "task", [["check", "--output-format=concise"], ["format", "--check"]], ids=lambda task: task[0]
)
def test_ruff_is_content(task):
    command = [sys.executable, "-m", "ruff", *task, "--no-cache", "."]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
