"""The package as an installation sees it: what importing costs, which names it offers, what the wheel holds."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

import hf_vasso

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hf_vasso"
COMMAND = Path(sysconfig.get_path("scripts")) / "hf-vasso"


def run(*command: str | Path, **options) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def seconds(*command: str | Path) -> float:
    """The shortest of a few runs: the time that a busy machine adds is none of the command's."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run(*command)
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture(scope="module")
def torch_seconds() -> float:
    return seconds(sys.executable, "-c", "import torch")


# --- importing ---


def test_import_takes_under_half_the_time_of_torch(torch_seconds):
    assert seconds(sys.executable, "-c", "import hf_vasso") < torch_seconds / 2


def test_help_takes_under_half_the_time_of_torch(torch_seconds):
    assert seconds(COMMAND, "--help") < torch_seconds / 2


@pytest.mark.parametrize(
    "statement",
    [
        "import hf_vasso; dir(hf_vasso); hf_vasso.__version__",
        "import hf_vasso.cli; assert hf_vasso.cli.main(['--help']) == 0",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(statement):
    check = "import sys; print(*sorted({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)), sep='\\n')"
    assert run(sys.executable, "-c", f"{statement}; print('loaded:'); {check}").partition("loaded:")[2].strip() == ""


STARTED = """
import importlib, pkgutil, sys
started = []
STARTS = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "os.system")
sys.addaudithook(lambda event, arguments: started.append((event, arguments)) if event in STARTS else None)
import hf_vasso
for module in pkgutil.walk_packages(hf_vasso.__path__, "hf_vasso."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in hf_vasso.__all__:
    getattr(hf_vasso, name)
print("started:", [(event, arguments[:2]) for event, arguments in started])
"""


def test_importing_starts_no_other_process():
    assert run(sys.executable, "-c", STARTED, cwd=ROOT).partition("started:")[2].strip() == "[]"


# --- names ---


def test_public_names():
    assert set(hf_vasso.__all__) == {
        "VassoTrainer",
        "VassoSeq2SeqTrainer",
        "SharpnessAwareMixin",
        "VassoTrainingArguments",
        "VassoSeq2SeqTrainingArguments",
        "METHODS",
        "Method",
        "get_method",
        "SharpnessAwareStep",
        "__version__",
    }
    assert set(hf_vasso.__all__) <= set(dir(hf_vasso))


@pytest.mark.parametrize("name", hf_vasso.__all__)
def test_public_name_loads(name):
    assert getattr(hf_vasso, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'hf_vasso' has no attribute 'Vasso'"):
        _ = hf_vasso.Vasso


def test_type_checkers_are_told_the_same_homes():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in imports for alias in node.names} == hf_vasso._HOMES
    assert {*hf_vasso._HOMES, "__version__"} == set(hf_vasso.__all__)


# --- the wheel ---


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy: a build leaves files beside its sources, and a later one would pick them up."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    shutil.copytree(PACKAGE, source / "hf_vasso", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", built, source)
    return next(built.glob("hf_vasso-*.whl"))


def test_wheel_holds_the_package_and_nothing_else(wheel):
    shipped = (".py", ".typed", ".yaml", ".j2", ".css", ".js")
    sources = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.suffix in shipped}
    assert any(name.startswith("hf_vasso/recipes/") for name in sources)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert any(name.endswith("/LICENSE") for name in names)


def test_command_of_the_installed_wheel(wheel, tmp_path):
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    # `--system-site-packages` would show the base interpreter's packages, not those of the environment that runs the
    # tests. A .pth file shows these, without the editable installation: .pth files inside are not followed.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "tests.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))

    outside = {"cwd": tmp_path, "env": {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}}
    command = environment / "bin" / "hf-vasso"
    assert Path(run(python, "-c", "import hf_vasso; print(hf_vasso.__file__)", **outside).strip()).is_relative_to(site)
    assert "hf-vasso" in run(command, "--help", **outside)
    methods = run(command, "methods", **outside)
    assert all(name in methods for name in hf_vasso.METHODS)
    plan = run(
        *(command, "glue", "--config", "glue/rte", "--model_name_or_path", "x", "--dry_run", "--use_cpu"), **outside
    )
    assert "training examples  2490" in plan
