import ast
import re

from source_tree import PACKAGE, ROOT, TOOLS, called, imports, label, tree, with_parents

MAX_LINES = 320
MAX_FUNCTION = 70
CODE = [*PACKAGE, *TOOLS]
# Files that grow and are not written whole, with the reason: docs/decisions/0009-append-only-files.md.
GROW = {
    "fastreid/monitoring/writers.py": "metrics.json gets a line at a time, and a torn line is passed over when it is read",
    "fastreid/engine/feature_journal.py": "each record has a digest, and one that was cut off does not count",
    "fastreid/engine/setup.py": "the lock of an OUTPUT_DIR holds a process id that is told and never relied on",
    "fastreid/utils/locks.py": "a lock's file is empty",
    "fastreid/experiments/batch_size.py": "the system's own file that forgets the peak of memory",
}
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def functions(path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def is_atomic(node) -> bool:
    ways = ("atomic_write", "write_with_checksum")
    return isinstance(node, ast.With) and any(way in ast.unparse(item) for item in node.items for way in ways)


def writes_by_itself(node, above) -> bool:
    """Whether a call puts bytes in a file other than through `atomic_write`."""
    name = called(node)
    last = name.rpartition(".")[2]
    if last == "open" and not name.startswith("os."):
        return bool(re.search("[wax+]", mode_of(node, 1 if name == "open" else 0)))
    if name == "os.open":
        return bool(re.search("O_(WRONLY|RDWR|CREAT|APPEND)", ast.unparse(node))) and "devnull" not in ast.unparse(node)
    if name.startswith("shutil.copy") or name in ("shutil.move", "safetensors.torch.save_file"):
        return name != "shutil.copyfileobj" or not any(is_atomic(parent) for parent in above)
    if last == "save" and name not in ("torch.save", "np.save") and node.args:  # a picture's
        is_path = not any(is_atomic(parent) for parent in above) and not into_memory(node, above)
        return is_path and "checkpointer" not in name and name != "safetensors.torch.save"
    if name in ("torch.save", "np.save", "np.savez", "np.savetxt", "json.dump", "pickle.dump", "yaml.dump"):
        return not any(is_atomic(parent) for parent in above) and not into_memory(node, above)
    return "." in name and last in ("write_text", "write_bytes", "tofile", "savez_compressed")


def mode_of(node, place) -> str:
    mode = node.args[place : place + 1] + [word.value for word in node.keywords if word.arg == "mode"]
    if mode and isinstance(mode[0], ast.Constant):
        return str(mode[0].value)
    return "w" if mode and place == 1 else "r"  # of `open`, a mode that is not written out may be any


def into_memory(node, above) -> bool:
    names = {ast.unparse(argument) for argument in node.args}
    functions = [ast.unparse(parent) for parent in above if isinstance(parent, ast.FunctionDef)]
    return any(f"{name} = io.BytesIO()" in function for function in functions for name in names)


def grows(path, node) -> bool:
    """Whether a file that may grow is opened to grow."""
    return label(path) in GROW and (called(node) == "os.open" or mode_of(node, 0) == "a")


def test_files_are_short():
    long = {label(path): len(path.read_text(encoding="utf-8").splitlines()) for path in [*CODE, *TESTS]}
    assert {name: lines for name, lines in long.items() if lines >= MAX_LINES} == {}


def test_functions_are_short():
    long = [
        f"{label(path)}:{node.lineno}: {node.name}"
        for path in [*CODE, *TESTS]
        for node in functions(path)
        if node.end_lineno - node.lineno >= MAX_FUNCTION and label(path).startswith(("fastreid", "tools"))
    ]
    assert long == []


def test_every_file_says_what_it_is_for():
    assert [label(path) for path in CODE if not ast.get_docstring(tree(path))] == []


def test_assert_is_for_tests():
    found = [
        f"{label(path)}:{node.lineno}" for path in CODE for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_every_file_is_written_whole_or_not_at_all():
    found = [
        f"{label(path)}:{node.lineno}: {called(node)}"
        for path in CODE
        if label(path) != "fastreid/utils/files.py"
        for node, above in with_parents(path)
        if called(node) and writes_by_itself(node, above) and not grows(path, node)
    ]
    assert found == []
    needed = {
        label(path)
        for path in CODE
        for node, above in with_parents(path)
        if called(node) and writes_by_itself(node, above) and grows(path, node)
    }
    assert needed == set(GROW)


def test_a_file_written_past_atomic_write_would_be_seen():
    for code in ("open('x', 'w')", "p.open('ab')", "torch.save(a, b)", "p.write_text('x')", "open('x', mode='r+')"):
        assert writes_by_itself(ast.parse(code, mode="eval").body, ())
    for code in ("image.save('a.png')", "np.savetxt('x', a)", "os.open('x', os.O_WRONLY)", "shutil.copy('a', 'b')"):
        assert writes_by_itself(ast.parse(code, mode="eval").body, ())
    for code in ("open('x')", "p.open('rb')", "os.open('x', os.O_RDONLY)", "write_text(p, 'x')"):
        assert not writes_by_itself(ast.parse(code, mode="eval").body, ())


def test_chance_is_keyed():
    """numpy's and Python's own generators are global: whoever draws from them changes what others get."""
    found = [
        f"{label(path)}:{node.lineno}: {called(node)}"
        for path in CODE
        for node in ast.walk(tree(path))
        if re.match(r"(random|np\.random|numpy\.random)\.(?!default_rng|Generator)", called(node))
    ]
    assert found == []
    assert [label(path) for path in CODE for _, module in imports(path) if module == "random"] == []


def test_pickles_are_never_trusted():
    calls = [(label(path), node) for path in CODE for node in ast.walk(tree(path)) if called(node)]
    loads = [(place, node) for place, node in calls if called(node) == "torch.load"]
    assert all("weights_only=True" in ast.unparse(node) for _, node in loads)
    unsafe = ("pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "eval", "exec", "os.system")
    assert [(place, called(node)) for place, node in calls if called(node) in unsafe] == []
    allowed = [ast.unparse(node) for _, node in calls if "allow_pickle=True" in ast.unparse(node)]
    assert allowed == []
