"""The rules of the house: which folder may import which, how long files and functions may be, which names are out."""

import ast
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FOLDERS = ("retom", "baselines", "eval", "training", "scripts", "hydra_plugins")
ALLOWED = {
    "retom": {"retom"},
    "baselines": {"baselines", "retom"},
    "eval": {"eval"},
    "training": {"training", "eval"},
    "scripts": {"scripts", "baselines", "eval", "retom", "training", "hydra_plugins"},
    "hydra_plugins": {"hydra_plugins", "scripts"},
}
FOREIGN = {
    "retom": {"hydra", "omegaconf", "torchmetrics", "open_clip", "cleanfid", "datasets", "pandas", "transformers"},
    "baselines": {"hydra", "omegaconf"},
    "eval": {"hydra", "omegaconf"},
    "training": {"hydra", "omegaconf"},
    "scripts": set(),
    "hydra_plugins": set(),
}
MAX_LINES, MAX_FUNCTION = 300, 60
# Folders in which every file is one choice of one kind, or one command: they grow with what can be chosen.
CATALOGUES = {"baselines", "retom/families", "scripts"}
MAX_FILES = 12
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The top-level packages a file imports, anywhere in it; relative imports count as its own folder."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(path.relative_to(ROOT).parts[0] if node.level else (node.module or "").split(".")[0])
    return names


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources(*FOLDERS), ids=identify)
def test_imports_follow_the_arrows(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    names = imported(path)
    assert names & set(FOLDERS) <= ALLOWED[folder]
    assert not names & FOREIGN[folder]
    assert not names & {"tests"}


@functools.cache
def arrows() -> dict[str, set[str]]:
    """Module -> the modules of this project that it imports, anywhere in it, and their packages."""
    modules = {named(path): path for path in sources(*FOLDERS)}
    return {name: set(imported_modules(name, path, modules)) - {name} for name, path in modules.items()}


def named(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(name: str, path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in at_run_time(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        else:
            above = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, [above, node.module]))
            wanted = [f"{module}.{alias.name}" for alias in node.names]
            wanted = [one if one in modules else module for one in wanted]
        for one in wanted:
            # Python runs the packages around a module first, except those that are being imported already.
            around = [one.rsplit(".", depth)[0] for depth in range(one.count(".") + 1)]
            yield from (each for each in around if each in modules and not name.startswith(f"{each}."))
            if one in modules:
                yield one


def at_run_time(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from at_run_time(node)


def circle(graph: Mapping[str, set[str]], room: Callable[[str], str] = str) -> list[str]:
    """A circle of imports once each module is replaced by its `room`; empty if there is none."""
    rooms: dict[str, set[str]] = {}
    for name, others in graph.items():
        rooms.setdefault(room(name), set()).update(set(map(room, others)) - {room(name)})
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_module_imports_itself_through_others() -> None:
    assert not circle(arrows())


def test_rooms_of_eval_import_one_way() -> None:
    assert not circle(arrows(), lambda name: ".".join(name.split(".")[:2]) if name.startswith("eval.") else name)


@pytest.mark.parametrize("folder", sorted({path.parent for path in sources("eval")}), ids=identify)
def test_a_room_of_eval_does_not_import_what_imports_it(folder: Path) -> None:
    room = named(folder / "__init__.py")
    found = circle(arrows(), lambda name: f"{room}/" if name == room or name.startswith(f"{room}.") else name)
    assert not found


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in sources("eval", "retom", "scripts", "training")}), ids=identify
)
def test_a_room_is_seen_at_a_glance(folder: Path) -> None:
    name = identify(folder)
    assert len(list(folder.glob("*.py"))) <= MAX_FILES or name in CATALOGUES


def test_an_architecture_is_one_short_file() -> None:
    """Nothing else in the library names one, except the small U-Net that `check_method` merges in."""
    names = re.compile(
        r"\b(Flux|PixArt|SDXL|SD3)|UNet\w*Model|Transformer2DModel|TransformerBlock\b|diffusers.models.(un|tr)"
    )
    room = ROOT / "retom" / "families"
    others = [path for path in sources("retom") if room not in path.parents and path.stem != "testing"]
    assert [identify(path) for path in others if names.search(path.read_text(encoding="utf-8"))] == []
    families = [path for path in room.glob("*.py") if path.stem not in ("__init__", "base")]
    assert len(families) >= 4
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 80 for path in families)


@pytest.mark.parametrize("path", sources(*FOLDERS, "tests"), ids=identify)
def test_file_is_short_and_well_named(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert path.stem not in FORBIDDEN_NAMES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MAX_FUNCTION, f"{node.name} is too long"


@pytest.mark.parametrize("path", sources(*FOLDERS), ids=identify)
def test_file_and_public_names_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the file needs a docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} needs a docstring"


@pytest.mark.parametrize("path", sources(*FOLDERS), ids=identify)
def test_nothing_touches_global_state(path: Path) -> None:
    """No seeding of a global generator, no edit of sys.path, no wholesale warning filter."""
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    refused = {
        "torch.manual_seed",
        "np.random.seed",
        "random.seed",
        "warnings.simplefilter",
        "sys.path.append",
        "sys.path.insert",
    }
    allowed_inside_fork = {"torch.manual_seed"} if "torch.random.fork_rng" in called else set()
    assert not (called & refused) - allowed_inside_fork


@pytest.mark.parametrize("path", sources("eval", "scripts"), ids=identify)
def test_no_error_is_dealt_with_before_ctrl_c_is(path: Path) -> None:
    """`except Exception` may have caught what a library raised in place of KeyboardInterrupt (eval.interrupts)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "Exception"):
            assert ast.unparse(node.body[0]).startswith(("raise_if_pressed()", "if pressed()")), f"line {node.lineno}"


def test_the_wheel_holds_the_library_alone() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == ["retom*"]
    required = {requirement.split(">")[0] for requirement in project["project"]["dependencies"]}
    assert required == {"torch", "diffusers"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("constraints*.txt")), ids=lambda path: path.stem)
def test_every_package_is_pinned_within_its_range(path: Path) -> None:
    pinned = pins(path)
    for requirement in requirements("bench", "dev"):
        assert pinned[normal(requirement.name)] in requirement.specifier, requirement


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    """Of every package asked for by name, `make test-oldest` installs the lowest version that is admitted."""
    pinned = pins(ROOT / "constraints-oldest.txt")
    for requirement in requirements("bench", "cluster", "search", "trackers", "dev"):
        (lowest,) = (bound.version for bound in requirement.specifier if bound.operator == ">=")
        assert pinned[normal(requirement.name)] == Version(lowest), requirement


def requirements(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, with these extras."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in [*project["dependencies"], *lines]]


def pins(path: Path) -> dict[str, Version]:
    """The versions of a file of constraints, which holds nothing but exact ones."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    matches = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines]
    return {normal(match[1]): Version(match[2]) for match in matches}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")
