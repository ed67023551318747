"""The commands in README, docs, configs, help texts and messages, each executed in an empty folder with small data."""

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

import pytest
from command_exceptions import NOT_EXECUTED, NOT_EXECUTED_PAGES
from command_files import FILES, TOKEN, build_shared_files, write_missing_weights
from command_rules import RULES, Rule, find_reason, find_rule
from command_settings import WORDS
from commands import run_here, start
from documented_commands import list_commands, list_mentions
from fork_server import REPOSITORY
from serve_process import ServeProcess
from shared_folders import build_once

from fastreid.cli.main import COMMANDS, build_parser
from fastreid.cli.predict import split_settings

DOCUMENTED = list_commands()
NAMES = [command.name for command in COMMANDS]


def list_cases():
    cases = []
    for command, source in DOCUMENTED:
        rule = find_rule(command)
        if rule is not None and find_reason(command, source) is None:
            cases.append(pytest.param(command, id=command, marks=[pytest.mark.slow] if rule.is_slow else []))
    return cases


@pytest.fixture(scope="session")
def shared(tmp_path_factory, drawings, trained):
    """Return the folder with the files that are copied or linked for the commands."""
    pytest.importorskip("lancedb", reason="the extra `search` is not installed")
    return build_once(
        tmp_path_factory,
        "files of documented commands",
        lambda folder: build_shared_files(folder, drawings=drawings, run=trained),
    )


def test_each_documented_command_is_executed_or_has_a_reason():
    unknown = [
        (source, command) for command, source in DOCUMENTED if not (find_rule(command) or find_reason(command, source))
    ]
    assert unknown == []


def test_each_rule_and_reason_has_a_command():
    rules = [find_rule(command) for command, source in DOCUMENTED if find_reason(command, source) is None]
    assert [rule.pattern for rule in RULES if rule not in rules] == []
    reasons = [find_reason(command, source) for command, source in DOCUMENTED]
    assert [reason for reason in (NOT_EXECUTED | NOT_EXECUTED_PAGES).values() if reason not in reasons] == []


@pytest.mark.parametrize("command", list_cases())
def test_documented_command_runs_in_an_empty_folder(command, tmp_path, request, monkeypatch):
    rule = find_rule(command)
    for package in rule.packages:
        pytest.importorskip(package, reason=f"{package} is not installed")
    folder = tmp_path / "empty"
    folder.mkdir()
    if rule.files:
        shared = request.getfixturevalue("shared")
        for name in rule.files:
            FILES[name](folder, shared)
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.chdir(folder)
    for first in rule.before:
        run(first, Rule(first), folder)
    globals()[rule.how](command, rule, folder, request)


def run(command, rule, folder, request=None):
    """Execute a `fastreid` command in this process."""
    words = replace_words(shlex.split(command.partition(" > ")[0])[1:], rule)
    name = find_name(words)
    execute(name, words[len(name.split()) :], rule, folder)


def run_tool(command, rule, folder, request):
    """Execute a script of tools/ in this process."""
    _, script, *words = shlex.split(command)
    execute(script.removeprefix("tools/"), replace_words(words, rule), rule, folder)


def run_with_milvus(command, rule, folder, request):
    """Execute a `fastreid` command with the address of a local Milvus server."""
    address = request.getfixturevalue("milvus_server")
    local = command.replace("https://milvus.example.org:19530", address)
    if " search " in local:
        run(re.sub("search (\\S+) .*", r"index add \1 drawings", local), rule, folder)
    run(local, rule, folder)


def replace_words(words, rule):
    words = [rule.replace.get(word, WORDS.get(word, word)) for word in words]
    return [*filter(None, words)]


def find_name(words):
    """Return the name of the sub-command that a command starts with, or ""."""
    return next(
        (name for name in sorted(NAMES, key=len, reverse=True) if words[: len(name.split())] == name.split()), ""
    )


def execute(name, words, rule, folder):
    words = [*words, *map(str, rule.settings)]
    needs_config = name in ("test.py", "extract", "test") and "--config-file" not in words
    if needs_config:
        words = ["--config-file", WORDS["FILE"], *words]
    if (
        "--config-file" in words
        and "--features" not in words
        and name in ("train", "test", "extract", "test.py", "models save", "export")
    ):
        config = words[words.index("--config-file") + 1]
        write_missing_weights(config, split_settings([word for word in words if word[0] != "-"])[1])
    try:
        code, output, errors = run_here(name, *words, folder=folder)
    except SystemExit as end:  # after --help
        code, output, errors = end.code, "", ""
    assert code == 0, f"{errors}\n{output[-1000:]}\n{name} {words}"


def follow(command, rule, folder, request):
    """Start a command that follows folders, and stop it."""
    process = start_command(command, rule, folder)
    wait_for_output(process, "following its sources")
    stop(process)


def serve(command, rule, folder, request):
    """Start a server on a free port, and stop it after it has answered."""
    _, _, collection, *words = shlex.split(command.replace("--port 8000", ""))
    server = ServeProcess(folder, *words, name=collection)
    assert server.get("/")[0] == 200
    stop(server.process)


def start_command(command, rule, folder):
    words = replace_words(shlex.split(command)[1:], rule)
    name = find_name(words)
    return start(name, *words[len(name.split()) :], folder=folder)


def wait_for_output(process, text):
    deadline = time.monotonic() + 60
    while text not in process.read_output():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop(process):
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, output + errors


def request(command, rule, folder, request):
    """Send a request to a server in the folder; changes have a token."""
    import fastreid.index

    changes = ("--token-file", "token.txt", "--enable-changes", "uploads") if "$TOKEN" in command else ()
    server = ServeProcess(folder, *changes, name="patents.index")
    rows = next(iter(fastreid.index.open("patents.index").scan(["id"])))
    command = command.replace("8000", str(server.port)).replace("0c1f3a5e7b9d2468", rows[0]["id"])
    try:
        run_in_shell(command.replace("curl", "curl --fail-with-body -sS"), rule, folder, request)
    finally:
        stop(server.process)


def run_in_shell(command, rule, folder, request):
    """Execute a command of another program."""
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} is not installed")
    environment = {**os.environ, "TOKEN": TOKEN}
    shell = ["bash", "-c", command]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def make(command, rule, folder, request):
    """Check that the target exists, without making it."""
    words = command[command.index("make ") :].split()[1:]
    done = subprocess.run(
        ["make", "-n", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def find_tests(command, rule, folder, request):
    """Check that the files, folders and markers of a test command exist."""
    words = command.partition("pytest ")[2].split()
    assert [word for word in words if word.startswith("tests/") and not missing_is_placeholder(word)] == []
    markers = [line.partition(":")[0] for line in request.config.getini("markers")]
    assert [marker for flag, marker in itertools.pairwise(words) if flag == "-m" and marker not in markers] == []


def missing_is_placeholder(word):
    return (REPOSITORY / word).exists() or word.endswith("/FILE")


def find_extras(command, rule, folder, request):
    """Check that the extras exist."""
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    extras = [extra for group in re.findall(r"\[(.*?)\]", command) for extra in group.split(",")]
    assert [extra for extra in extras if f'"{extra}": [' not in setup] == []


@pytest.mark.parametrize(("source", "mention"), list_mentions())
def test_mentioned_command_and_its_options_exist(source, mention):
    words = mention.split()[1:]
    name = find_name(words)
    groups = {command.partition(" ")[0] for command in NAMES}
    assert name or " ".join(words) in groups
    options = [word for word in words if word.startswith("--") and word != "--help"]
    known = {option for action in find_parser(name)._actions for option in action.option_strings} if options else set()
    assert [option for option in options if option not in known] == []


def find_parser(name):
    parser = build_parser()
    for word in name.split():
        parser = next(action.choices[word] for action in parser._actions if word in (action.choices or ()))
    return parser
