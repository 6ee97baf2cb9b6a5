"""
The direction of imports, read from the source: down the layers, never up, never in a circle.

    __main__, cli, suite, tasks, training, engine, methods, spelling        results: beside them

Each kind of task has a folder in tasks. They do not know of each other, and what they share does not know of them.
Imports inside functions and for type checkers count too: a late import hides a circle, it does not remove it.
"""

import ast
from pathlib import Path

import pytest

from hf_vasso.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]

LAYERS = ("__main__", "cli", "suite", "tasks", "training", "engine", "methods", "spelling")
MAY_IMPORT = {layer: set(LAYERS[position:]) for position, layer in enumerate(LAYERS)}
MAY_IMPORT["results"] = {"results", "spelling"}
for _layer in ("__main__", "cli", "suite", "tasks"):
    MAY_IMPORT[_layer].add("results")

HUGGING_FACE = {"transformers", "accelerate", "datasets", "evaluate", "peft"}
KEEPS_OUT = {"engine": HUGGING_FACE, "methods": HUGGING_FACE, "results": HUGGING_FACE | {"torch"}}

# The one module of tasks that knows the kinds of tasks.
KNOWS_KINDS_OF_TASKS = "hf_vasso/tasks/commands.py"
KNOWS_DTENSOR = "hf_vasso/engine/tensors.py"
# The default of `method`, the one place above the methods where a preset's name may stand.
NAMES_A_METHOD = {"hf_vasso/training/arguments.py": {"vasso"}}


class Tree:
    """The modules below a folder that holds `hf_vasso`, parsed."""

    def __init__(self, root: Path) -> None:
        self.sources: dict[str, tuple[str, ast.Module]] = {}  # module -> path below root, syntax tree
        for path in sorted((root / "hf_vasso").rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            parsed = ast.parse(path.read_text(encoding="utf-8"))
            self.sources[module] = (path.relative_to(root).as_posix(), parsed)

    def imports(self, module: str) -> list[tuple[int, str]]:
        """
        Line and full name of all that a module imports: `from a import b` is a.b where that is a module, else a.

        The package's version is left out. It is written in the package itself and costs no import.
        """
        found = []
        for node in ast.walk(self.sources[module][1]):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level:
                found.append((node.lineno, "." * node.level + (node.module or "")))
            elif isinstance(node, ast.ImportFrom):
                full = {f"{node.module}.{alias.name}" for alias in node.names} - {"hf_vasso.__version__"}
                found += [(node.lineno, name if name in self.sources else str(node.module)) for name in sorted(full)]
        return found


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def direction_problems(tree: Tree) -> list[str]:
    """Imports that go up, sideways or through the package's own front door."""
    problems = []
    for module, (path, _) in tree.sources.items():
        if module == "hf_vasso":  # its late imports are for users; nothing inside may come in this way
            continue
        if layer(module) not in MAY_IMPORT:
            problems.append(f"{path}: {layer(module)!r} is not in the list of layers")
            continue
        for line, name in tree.imports(module):
            where = f"{path}:{line}: {layer(module)} imports {name}"
            if name.startswith("."):
                problems.append(f"{where}: write it as an absolute import")
            elif name == "hf_vasso":
                problems.append(f"{where}: import from the module that defines the name")
            elif name.startswith("hf_vasso."):
                if layer(name) not in MAY_IMPORT[layer(module)]:
                    problems.append(f"{where}: imports point down")
            elif name.split(".")[0] in KEEPS_OUT.get(layer(module), ()):
                problems.append(f"{where}: this layer does without it")
    return problems


def kind_of_task(module: str) -> str:
    """The folder in tasks that a module belongs to; empty for what is shared, and for other layers."""
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["tasks"] and len(parts) > 3 else ""


def kind_problems(tree: Tree) -> list[str]:
    """Imports between kinds of tasks, and from what they share into one of them."""
    return [
        f"{path}:{line}: imports {name}: kinds of tasks are apart, and what they share knows none"
        for module, (path, _) in tree.sources.items()
        if layer(module) == "tasks" and path != KNOWS_KINDS_OF_TASKS
        for line, name in tree.imports(module)
        if kind_of_task(name) not in ("", kind_of_task(module))
    ]


def circle_problems(tree: Tree) -> list[str]:
    """Modules that reach themselves again by following imports."""
    graph = {
        module: {name for _, name in tree.imports(module) if name in tree.sources and name != "hf_vasso"}
        for module in tree.sources
        if module != "hf_vasso"
    }
    problems, done = [], set()

    def follow(module: str, trail: list[str]) -> None:
        if module in trail:
            problems.append("circle: " + " -> ".join([*trail[trail.index(module) :], module]))
        elif module not in done:
            for name in sorted(graph[module]):
                follow(name, [*trail, module])
            done.add(module)

    for module in graph:
        follow(module, [])
    return problems


def dtensor_problems(tree: Tree) -> list[str]:
    """Code, not prose, that names DTensor outside the one file that handles it."""
    problems = []
    for module, (path, parsed) in tree.sources.items():
        named = {node.id for node in ast.walk(parsed) if isinstance(node, ast.Name)}
        named |= {node.attr for node in ast.walk(parsed) if isinstance(node, ast.Attribute)}
        named |= {alias.name for node in ast.walk(parsed) if isinstance(node, ast.ImportFrom) for alias in node.names}
        imported = any(name.startswith("torch.distributed.tensor") for _, name in tree.imports(module))
        if path != KNOWS_DTENSOR and (imported or "DTensor" in named):
            problems.append(f"{path}: names DTensor, which only {KNOWS_DTENSOR} knows")
    return problems


def method_name_problems(tree: Tree, names: set[str]) -> list[str]:
    """
    Strings in the engine and the training layer that are a preset's name, and comparisons with one in all layers but
    the methods: they ask a method's parts instead.
    """
    problems = []
    for module, (path, parsed) in tree.sources.items():
        if layer(module) != "methods":
            problems += [
                f"{path}:{node.lineno}: compares with the method {constant.value!r} by name"
                for node in ast.walk(parsed)
                if isinstance(node, ast.Compare) or _asks_for_beginning(node)
                for constant in ast.walk(node)
                if isinstance(constant, ast.Constant) and constant.value in names
            ]
        if layer(module) in ("engine", "training"):
            allowed = NAMES_A_METHOD.get(path, set())
            # torch's word for a loss that is not summed up
            keywords = [node for node in ast.walk(parsed) if isinstance(node, ast.keyword)]
            reductions = {id(keyword.value) for keyword in keywords if keyword.arg == "reduction"}
            strings = [
                node
                for node in ast.walk(parsed)
                if isinstance(node, ast.Constant) and node.value in names and id(node) not in reductions
            ]
            problems += [
                f"{path}:{node.lineno}: knows the method {node.value!r} by name"
                for node in strings
                if node.value not in allowed
            ]
    return problems


def _asks_for_beginning(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "startswith"


def problems(root: Path, names: set[str]) -> list[str]:
    tree = Tree(root)
    return [
        *direction_problems(tree),
        *kind_problems(tree),
        *circle_problems(tree),
        *dtensor_problems(tree),
        *method_name_problems(tree, names),
    ]


def test_layers():
    assert "hf_vasso.methods.vasso" in Tree(ROOT).sources  # it looked at the package
    assert problems(ROOT, set(METHODS)) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        (
            "engine/step.py",
            "from hf_vasso.training.trainer import VassoTrainer",
            "engine imports hf_vasso.training.trainer",
        ),
        ("engine/step.py", "def late():\n    import hf_vasso.cli", "step.py:2: engine imports hf_vasso.cli"),
        ("engine/step.py", "from hf_vasso import training", "engine imports hf_vasso.training"),
        ("engine/step.py", "from transformers import Trainer", "does without it"),
        ("methods/sam.py", "import accelerate.utils", "does without it"),
        ("methods/sam.py", "from hf_vasso.engine import step", "imports point down"),
        ("training/trainer.py", "from hf_vasso.results import records", "imports point down"),
        ("results/tables.py", "import torch", "does without it"),
        ("results/tables.py", "from hf_vasso.tasks import glue", "imports point down"),
        ("spelling.py", "import hf_vasso.methods", "imports point down"),
        (
            "tasks/plan.py",
            "from hf_vasso.tasks.glue.table import TASKS",
            "plan.py:1: imports hf_vasso.tasks.glue.table",
        ),
        ("tasks/translation/bleu.py", "from hf_vasso.tasks.glue import table", "kinds of tasks are apart"),
        ("methods/sam.py", "from . import base", "absolute import"),
        ("training/trainer.py", "from hf_vasso import METHODS", "the module that defines the name"),
        ("training/trainer.py", "import hf_vasso", "the module that defines the name"),
        ("helpers/misc.py", "", "not in the list of layers"),
        (
            "methods/base.py",
            "from hf_vasso.methods import sam",
            "circle: hf_vasso.methods.",
        ),
        ("engine/step.py", "from torch.distributed.tensor import distribute_tensor", "names DTensor"),
        ("methods/base.py", "import torch\nassert torch.distributed.tensor.DTensor", "names DTensor"),
        ("engine/step.py", "def f(m): return m.name == 'sam'", "step.py:1: knows the method 'sam' by name"),
        (
            "tasks/glue/table.py",
            "def f(m): return m in ('sam', 'x')",
            "table.py:1: compares with the method 'sam' by name",
        ),
        ("results/tables.py", "def f(m): return m.startswith('vasso')", "with the method 'vasso' by name"),
        ("training/arguments.py", "other = 'sam'", "knows the method 'sam' by name"),
        ("engine/step.py", "f(reduction='vasso', method='sam')", "step.py:1: knows the method 'sam' by name"),
        ("cli.py", "from hf_vasso import __version__", None),
        ("cli.py", "from hf_vasso.results import tables", None),
        ("tasks/glue/table.py", "import datasets\nfrom hf_vasso.training import trainer", None),
        ("engine/tensors.py", "from torch.distributed.tensor import DTensor", None),
        ("engine/step.py", "'''Never sees a DTensor; sam is a method.'''\nimport torch", None),
        ("training/arguments.py", "method = 'vasso'", None),
        ("engine/step.py", "f(reduction='sam')", None),
        ("tasks/glue/table.py", "f(report_to='sam')", None),
    ],
)
def test_layers_can_fail(tmp_path, path, source, complaint):
    tree = {
        "__init__.py": "",
        "cli.py": "import hf_vasso.tasks.glue.table",
        "tasks/glue/table.py": "from hf_vasso.tasks import plan",
        "tasks/plan.py": "",
        "tasks/commands.py": "from hf_vasso.tasks.glue import table",
        "training/__init__.py": "",
        "training/trainer.py": "from hf_vasso.engine import step",
        "engine/step.py": "from hf_vasso.methods import sam",
        "methods/sam.py": "from hf_vasso.methods.base import Method",
        "methods/base.py": "Method = object",
        "results/tables.py": "from hf_vasso.spelling import unknown_name",
        "spelling.py": "",
    }
    for name, text in {**tree, path: source}.items():
        file = tmp_path / "hf_vasso" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = problems(tmp_path, {"sam", "vasso"})
    if complaint is None:
        assert found == []
    else:
        assert any(complaint in problem for problem in found), found
