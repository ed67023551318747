"""Every file: size, docstring, atomic writes, keyed random numbers and no unpickling."""

import ast
import re

from source_tree import PACKAGE, ROOT, TOOLS, called, imports, label, tree, with_parents

MAX_LINES = 320
MAX_FUNCTION = 70
CODE = [*PACKAGE, *TOOLS]
# Modules that append to a file instead of replacing it, with the reason: docs/decisions/0009-append-only-files.md.
APPEND_ONLY = {
    "fastreid/monitoring/writers.py": "metrics.json gets one line per iteration; readers skip a torn line",
    "fastreid/utils/logger.py": "no program reads log.txt",
    "fastreid/engine/features/journal.py": "each record has a digest; readers drop a torn record",
    "fastreid/engine/resume/unreadable_record.py": "readers skip a torn line",
    "fastreid/engine/setup.py": "the lock file of an OUTPUT_DIR contains a process id that is only logged",
    "fastreid/utils/locks.py": "a lock file is empty",
    "fastreid/experiments/batch_size.py": "a file of /proc resets the peak memory of the process",
}
OPENERS = ("open_own_file", "append_line")  # of files that are not replaced as a whole
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def functions_in(path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def is_atomic(node) -> bool:
    """Return whether a node is a `with` block of `atomic_write` or `write_with_checksum`."""
    writers = ("atomic_write", "write_with_checksum")
    return isinstance(node, ast.With) and any(name in ast.unparse(item) for item in node.items for name in writers)


def writes_directly(node, parents) -> bool:
    """Return whether a call writes to a file without `atomic_write`."""
    name = called(node)
    last = name.rpartition(".")[2]
    if last == "open" and not name.startswith("os."):
        return bool(re.search("[wax+]", open_mode(node, 1 if name == "open" else 0)))
    if last in OPENERS:
        return True
    if name == "os.open":
        return bool(re.search("O_(WRONLY|RDWR|CREAT|APPEND)", ast.unparse(node))) and "devnull" not in ast.unparse(node)
    if name.startswith("shutil.copy") or name in ("shutil.move", "safetensors.torch.save_file"):
        return name != "shutil.copyfileobj" or not any(is_atomic(parent) for parent in parents)
    if last == "save" and name not in ("torch.save", "np.save") and node.args:  # an image
        is_path = not any(is_atomic(parent) for parent in parents) and not writes_to_memory(node, parents)
        return is_path and "checkpointer" not in name and name != "safetensors.torch.save"
    if name in ("torch.save", "np.save", "np.savez", "np.savetxt", "json.dump", "pickle.dump", "yaml.dump"):
        return not any(is_atomic(parent) for parent in parents) and not writes_to_memory(node, parents)
    return "." in name and last in ("write_text", "write_bytes", "tofile", "savez_compressed")


def open_mode(node, position) -> str:
    """Return the mode of an `open` call, given the position of that argument."""
    mode = node.args[position : position + 1] + [word.value for word in node.keywords if word.arg == "mode"]
    if mode and isinstance(mode[0], ast.Constant):
        return str(mode[0].value)
    return "w" if mode and position == 1 else "r"  # a computed mode of the builtin `open` may be any


def writes_to_memory(node, parents) -> bool:
    """Return whether an argument of the call is an `io.BytesIO` of the same function."""
    names = {ast.unparse(argument) for argument in node.args}
    functions = [ast.unparse(parent) for parent in parents if isinstance(parent, ast.FunctionDef)]
    return any(f"{name} = io.BytesIO()" in function for function in functions for name in names)


def is_allowed_append(path, node) -> bool:
    """Return whether a module of `APPEND_ONLY` opens a file to append to it."""
    return label(path) in APPEND_ONLY and (called(node) in ("os.open", *OPENERS) or open_mode(node, 0) == "a")


def direct_writes():
    """Yield (path, call, is_allowed) of every call that writes to a file without `atomic_write`."""
    for path in CODE:
        for node, parents in with_parents(path):
            if called(node) and writes_directly(node, parents):
                yield path, node, is_allowed_append(path, node)


def test_files_are_short():
    long = {label(path): len(path.read_text(encoding="utf-8").splitlines()) for path in [*CODE, *TESTS]}
    assert {name: lines for name, lines in long.items() if lines >= MAX_LINES} == {}


def test_functions_are_short():
    long = [
        f"{label(path)}:{node.lineno}: {node.name}"
        for path in [*CODE, *TESTS]
        for node in functions_in(path)
        if node.end_lineno - node.lineno >= MAX_FUNCTION and label(path).startswith(("fastreid", "tools"))
    ]
    assert long == []


def test_every_module_has_a_docstring():
    assert [label(path) for path in CODE if not ast.get_docstring(tree(path))] == []


def test_package_has_no_assert_statements():
    found = [
        f"{label(path)}:{node.lineno}" for path in CODE for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_files_are_written_atomically():
    found = [
        f"{label(path)}:{node.lineno}: {called(node)}"
        for path, node, is_allowed in direct_writes()
        if not is_allowed and label(path) != "fastreid/utils/files.py"
    ]
    assert found == []
    assert {label(path) for path, _, is_allowed in direct_writes() if is_allowed} == set(APPEND_ONLY)


def test_direct_writes_are_found():
    for code in ("open('x', 'w')", "p.open('ab')", "torch.save(a, b)", "p.write_text('x')", "open('x', mode='r+')"):
        assert writes_directly(ast.parse(code, mode="eval").body, ())
    for code in ("image.save('a.png')", "np.savetxt('x', a)", "os.open('x', os.O_WRONLY)", "shutil.copy('a', 'b')"):
        assert writes_directly(ast.parse(code, mode="eval").body, ())
    for code in ("open('x')", "p.open('rb')", "os.open('x', os.O_RDONLY)", "write_text(p, 'x')"):
        assert not writes_directly(ast.parse(code, mode="eval").body, ())


def test_random_numbers_do_not_use_global_generators():
    """The generators of `random` and `numpy.random` are global, so each caller changes the numbers of all others."""
    found = [
        f"{label(path)}:{node.lineno}: {called(node)}"
        for path in CODE
        for node in ast.walk(tree(path))
        if re.match(r"(random|np\.random|numpy\.random)\.(?!default_rng|Generator)", called(node))
    ]
    assert found == []
    assert [label(path) for path in CODE for _, module in imports(path) if module == "random"] == []


def test_files_are_never_unpickled():
    calls = [(label(path), node) for path in CODE for node in ast.walk(tree(path)) if called(node)]
    loads = [node for _, node in calls if called(node) == "torch.load"]
    assert all("weights_only=True" in ast.unparse(node) for node in loads)
    unsafe = ("pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "eval", "exec", "os.system")
    assert [(name, called(node)) for name, node in calls if called(node) in unsafe] == []
    assert [name for name, node in calls if "allow_pickle=True" in ast.unparse(node)] == []
