"""The shell commands in README, docs, configs, help texts and messages."""

import ast
import re

from fork_server import REPOSITORY

from fastreid.cli.main import COMMANDS

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yml"))
SHELL_BLOCK = re.compile(r"```(?:bash|sh|console)\n(.*?)```", re.DOTALL)
ANY_BLOCK = re.compile(r"```.*?```", re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
PROGRAMS = "fastreid|make|pip|pytest|python|torchrun|curl|tensorboard|milvus-lite|openssl|sha256sum"
IS_COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:{PROGRAMS}|pre-commit) \S")
MENTION = re.compile(r"fastreid(?: [a-z][a-z-]*)+(?: --[a-z-]+)*")  # names a command, without its arguments
OPTIONAL = re.compile(r"\[((?:--|KEY)[^\]]*)\]")  # [--resume]
EXECUTED_ELSEWHERE = ("docs/tutorials/",)  # test_tutorial_commands.py


def join_continued_lines(text):
    return re.sub(r"\\\n\s*(#\s*)?", " ", text)


def list_commands():
    """Return (source, command) of each command with arguments; optional parts in brackets are included."""
    found = [(f"{command.name} --help", command.example) for command in COMMANDS]
    for page in PAGES:
        source, text = page.relative_to(REPOSITORY).as_posix(), page.read_text(encoding="utf-8")
        if source.startswith(EXECUTED_ELSEWHERE):
            continue
        blocks = (join_continued_lines(block).splitlines() for block in SHELL_BLOCK.findall(text))
        found += [(source, line.strip()) for block in blocks for line in block]
        spans = CODE.findall(ANY_BLOCK.sub("", text))
        found += [(source, span) for span in spans if IS_COMMAND.match(span) and not MENTION.fullmatch(span)]
    for config in CONFIGS:
        source, text = config.relative_to(REPOSITORY).as_posix(), config.read_text(encoding="utf-8")
        lines = join_continued_lines(text.split("\n\n")[0]).splitlines()
        comments = [line[2:] for line in lines if line.startswith("# ")]
        found += [(source, line) for line in comments if IS_COMMAND.match(line)]
        spans = [span for line in comments for span in CODE.findall(line)]
        found += [(source, span) for span in spans if IS_COMMAND.match(span) and not MENTION.fullmatch(span)]
    found = [(source, OPTIONAL.sub(r"\1", remove_comment(line))) for source, line in found]
    return sorted({command: source for source, command in reversed(found) if command}.items())


def remove_comment(line):
    """Return a line without its comment: a `#` at the start or behind two spaces or more."""
    return re.sub(r"(?:^|\s{2,}|\s(?=# ))#.*", "", line).strip()


def list_mentions():
    """Return (source, mention) of each command that pages and messages name, such as "fastreid extract --split"."""
    found = []
    for page in PAGES:
        spans = CODE.findall(ANY_BLOCK.sub("", page.read_text(encoding="utf-8")))
        found += [(page, span) for span in spans if MENTION.fullmatch(span)]
    for module in sorted((REPOSITORY / "fastreid").rglob("*.py")):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        code = [span for text in texts if isinstance(text, str) for span in CODE.findall(text)]
        found += [(module, match[0]) for span in code if (match := MENTION.match(span))]
    return sorted({(path.relative_to(REPOSITORY).as_posix(), mention) for path, mention in found})
