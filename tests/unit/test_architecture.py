import ast
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache

import pytest

import walltrack

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "walltrack"
MODULES = {
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# One folder for each pattern. They know `core`, `http` and `telemetry`, and never each other.
BASE = {"core", "http", "telemetry"}
PATTERNS = (
    "auth",
    "circuit_breaker",
    "concurrency_limit",
    "hedging",
    "rate_limit",
    "retry",
    "timeout",
    "waiting_room",
)

# What each package may import of this library besides itself. `walltrack` may import all.
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "http": {"core"},
    "telemetry": {"core"},
    "dialects": {"core", "http"},
    **dict.fromkeys(PATTERNS, BASE),
    "layers": {*BASE, *PATTERNS},
    "stack": {*BASE, *PATTERNS, "layers"},
    "config": set(),
    "services": {*BASE, *PATTERNS, "layers", "stack", "config"},
    "sync": {"core", "http"},
    "fleet": {"core", "telemetry", "circuit_breaker"},
    "testing": BASE,
    "simulation": {*BASE, *PATTERNS, "stack", "testing"},
}

# Modules whose tests do not mirror their place.
ELSEWHERE = {
    "walltrack.config.settings": pathlib.PurePath("test_settings.py"),
    "walltrack.layers": pathlib.PurePath("test_stack.py"),
}

LONGEST_FILE = 250  # lines

READ_THE_ENVIRONMENT = {"os", "dotenv", "pydantic_settings", "urllib.request"}
ASKS_THE_SYSTEM = {
    # Proxies and authorities are no settings of ours: httpx, too, would read them.
    "walltrack.http.environment_proxies": {"os.environ", "urllib.request.getproxies"},
    # An event loop does not come along into a forked process.
    "walltrack.sync.loop_thread": {"os.getpid"},
}
DO_NOT_MERELY_DECIDE = {"anyio", "asyncio", "logging", "socket", "structlog", "trio"}
AWAITS = (ast.AsyncFor, ast.AsyncFunctionDef, ast.AsyncWith, ast.Await)
FUNCTIONS = (ast.AsyncFunctionDef, ast.FunctionDef, ast.Lambda)
IMPORTS = (ast.Import, ast.ImportFrom)


@cache
def tree_of(module: str) -> ast.Module:
    """The syntax of a module, with what it imports for type checkers alone."""
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imported_by(module: str) -> set[str]:
    """The full name of everything that a module imports, wherever the import stands."""
    names: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def package_of(name: str) -> str:
    """The package in this library to which a full name belongs; empty for the library itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ALLOWED else ""


def roots_of(names: set[str]) -> set[str]:
    """The distributions, roughly, to which full names belong."""
    return {name.partition(".")[0] for name in names}


def modules_behind(module: str) -> set[str]:
    """Every module of this library that a module imports, directly or through another one."""
    found: set[str] = set()
    pending = [module]
    while pending:
        for name in imported_by(pending.pop()):
            for candidate in (name, name.rpartition(".")[0]):
                if candidate in MODULES and candidate not in found:
                    found.add(candidate)
                    pending.append(candidate)
    return found


def has_code(module: str) -> bool:
    """Whether a module has a function with more in it than a docstring or an ellipsis."""
    return any(
        not isinstance(statement, ast.Expr)
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
    )


def inside_functions(module: str) -> Iterator[ast.AST]:
    """Every piece of syntax that stands in a function."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, FUNCTIONS):
            yield from ast.walk(node)


def test_every_package_has_a_place_in_the_order() -> None:
    """A new package has to be added to the order, or the order would not apply to it."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert packages | modules == set(ALLOWED)


@pytest.mark.parametrize("folder", sorted(path.name for path in PACKAGE.iterdir() if path.is_dir()))
def test_every_folder_is_a_package_that_says_what_it_is_for(folder: str) -> None:
    """The docstring of each folder's `__init__` states its purpose."""
    if folder != "__pycache__":
        assert ast.get_docstring(tree_of(f"walltrack.{folder}.__init__"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_docstring_of_a_pattern_names_each_of_its_files(pattern: str) -> None:
    """It says what each file decides, and in which order to read them."""
    docstring = ast.get_docstring(tree_of(f"walltrack.{pattern}.__init__")) or ""
    files = {path.stem for path in (PACKAGE / pattern).glob("*.py")} - {"__init__"}
    assert files <= set(re.findall(r"`(\w+)`", docstring))


def test_imports_go_one_way() -> None:
    """core, then http and telemetry, then the patterns, stack, services; only these read config."""
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if (package := package_of(module))
        for name in imported_by(module)
        if name.partition(".")[0] == "walltrack"
        and package_of(name) not in {package, *ALLOWED[package]}
    ]
    assert wrong == []


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_reaches_no_other_by_any_way(pattern: str) -> None:
    """No pattern imports another one, not even indirectly, since each is used alone."""
    behind = {package_of(name) for name in modules_behind(f"walltrack.{pattern}.transport")}
    assert "http" in behind
    assert behind <= {pattern, *BASE}


def test_a_file_is_short_enough_to_read_at_once() -> None:
    """A file that is longer has more than one job, and has to be split by them."""
    lengths = {
        module: path.read_text(encoding="utf-8").count("\n") for module, path in MODULES.items()
    }
    assert {module: lines for module, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_nothing_is_imported_inside_a_function() -> None:
    """All imports of a module are at its top."""
    wrong = [
        (module, ast.unparse(node))
        for module in MODULES
        for node in inside_functions(module)
        if isinstance(node, IMPORTS)
    ]
    assert wrong == []


def test_every_import_names_its_module_in_full() -> None:
    """A relative import would bypass the check of the order."""
    wrong = [
        (module, ast.unparse(node))
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert wrong == []


def test_the_environment_is_read_by_config_alone() -> None:
    """Other modules do not read it, except for proxies, authorities and the process."""
    reading = {
        module: names
        for module in MODULES
        if package_of(module) != "config" and (names := read_from_the_environment(module))
    }
    assert reading == ASKS_THE_SYSTEM


def read_from_the_environment(module: str) -> set[str]:
    """What a module imports to read the environment with."""
    return {
        name
        for name in imported_by(module)
        for reader in READ_THE_ENVIRONMENT
        if name == reader or name.startswith(f"{reader}.")
    }


def test_a_dialect_is_imported_by_its_user_alone() -> None:
    """No layer knows a vendor, and a program loads only the dialects that it asks for."""
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if package_of(module) != "dialects"
        for name in imported_by(module)
        if package_of(name) == "dialects"
    ]
    assert wrong == []


def merely_decides(module: str) -> bool:
    """Whether a module of a pattern decides or computes, and leaves acting to others."""
    docstring = ast.get_docstring(tree_of(module)) or ""
    acts = module.endswith(".transport") or "Awaits" in docstring
    return package_of(module) in PATTERNS and not acts


def test_a_pattern_acts_in_its_transport_alone() -> None:
    """Its other files never await or log, unless their docstring says that they await."""
    deciding = [module for module in MODULES if merely_decides(module)]
    assert deciding
    for module in deciding:
        assert not roots_of(imported_by(module)) & DO_NOT_MERELY_DECIDE, module
        assert not [n for n in ast.walk(tree_of(module)) if isinstance(n, AWAITS)], module


def test_every_module_with_code_has_its_test_file() -> None:
    """The tests mirror the source file by file, but for the listed exceptions."""
    untested = []
    for module, path in MODULES.items():
        inside = path.relative_to(PACKAGE)
        mirror = ELSEWHERE.get(module) or inside.with_name(f"test_{path.name}")
        expected = has_code(module) and package_of(module)
        if expected and not (ROOT / "tests" / "unit" / mirror).is_file():
            untested.append(module)
    assert untested == []


def test_nothing_needs_a_test_framework() -> None:
    """The kit for tests serves any framework, and a program that has none installed."""
    frameworks = {"_pytest", "hypothesis", "pytest", "respx", "unittest"}
    assert [m for m in MODULES if roots_of(imported_by(m)) & frameworks] == []


def test_the_kit_for_tests_needs_no_test_framework_at_run_time() -> None:
    """It imports none, not even indirectly."""
    code = "import sys, walltrack.testing; assert not {'pytest', 'trio.testing'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_the_public_face_is_sorted() -> None:
    """`__all__` is sorted and has each name once."""
    assert walltrack.__all__ == sorted(set(walltrack.__all__))


def test_the_public_face_is_what_is_imported_for_it() -> None:
    """No name is missing, and none is there by accident."""
    ours = (name for name in imported_by("walltrack.__init__") if name.startswith("walltrack."))
    assert {name.rpartition(".")[2] for name in ours} == set(walltrack.__all__)


def test_the_public_face_can_be_imported() -> None:
    """Every name can be imported and is public."""
    assert all(getattr(walltrack, name) is not None for name in walltrack.__all__)
    assert [name for name in walltrack.__all__ if name.startswith("_")] == ["__version__"]


def test_the_public_face_does_nothing_else() -> None:
    """It imports, at once or on demand, and lists what it imported."""
    nodes = list(ast.walk(tree_of("walltrack.__init__")))
    assigned = {ast.unparse(node.targets[0]) for node in nodes if isinstance(node, ast.Assign)}
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    assert assigned == {"__all__", "__docformat__", "_HOMES", "value"}
    assert functions == {"__getattr__", "__dir__"}


def test_a_name_is_imported_from_where_a_type_checker_finds_it() -> None:
    """A name that is imported on demand comes from the declared module."""
    promised = {name.rpartition(".")[::2] for name in imported_by("walltrack.__init__")}
    promised = {(home, name) for home, name in promised if home.startswith("walltrack")}
    assert {(home, name) for name, home in vars(walltrack)["_HOMES"].items()} == promised


def test_only_what_is_used_is_imported() -> None:
    """A program that uses one layer does not import the others."""
    code = (
        "import sys, walltrack; assert 'httpx' not in sys.modules; "
        "from walltrack import CircuitBreaker; assert 'walltrack.http' not in sys.modules; "
        "from walltrack import RetryTransport; "
        "assert 'walltrack.circuit_breaker.transport' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_pydantic_waits_until_it_is_needed() -> None:
    """A program that uses only transports does not import what only the settings need."""
    code = (
        "import sys; from walltrack import CircuitBreakerTransport, RetryTransport; "
        "assert 'pydantic' not in sys.modules; import walltrack; "
        "assert 'BaseAPIClient' in dir(walltrack); "
        "from walltrack import BaseAPIClient; assert 'pydantic' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_completion_offers_the_public_names_alone() -> None:
    """Those that are imported on demand as well, and none that only serves to import them."""
    assert dir(walltrack) == walltrack.__all__


def test_the_version_is_that_of_the_package() -> None:
    """As its metadata has it, so that it is written down once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert walltrack.__version__ == importlib.metadata.version("walltrack") == project["version"]


def test_the_version_costs_an_import_nothing() -> None:
    """Metadata is read only when the version is used."""
    code = (
        "import sys, walltrack; assert 'importlib.metadata' not in sys.modules; "
        "assert walltrack.__version__; assert 'importlib.metadata' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """An unknown name raises the same error as in any other module."""
    with pytest.raises(AttributeError, match="'walltrack' has no attribute 'nothing'"):
        _ = walltrack.nothing  # type: ignore[attr-defined]


def test_the_package_is_marked_as_typed() -> None:
    """The marker of PEP 561 is in the package, and empty, as for one that is typed throughout."""
    assert (PACKAGE / "py.typed").read_text(encoding="utf-8") == ""
