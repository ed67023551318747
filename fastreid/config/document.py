"""`docs/configs.md`, made from `defaults.py` so that it cannot fall behind."""

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

from fastreid.config import defaults
from fastreid.config.config import get_cfg
from fastreid.config.ranges import NOT_HERE, RULES, Rule

_LINE = re.compile(r"_C\.(?P<key>[A-Z0-9_.]+) = (?P<value>.+?)(?:  # (?P<meaning>.+))?")
_MARKS = re.compile(r" \((ours|accepted)\)$")

_HEAD = """\
# Settings

<!-- made by tools/document_configs.py from fastreid/config/defaults.py; `make fix` makes it again -->

A config is a YAML file of sections and settings; whatever it leaves out keeps its default. `KEY VALUE` pairs on the command line win over the file:

```bash
fastreid train --config-file demo/stage1.yml SOLVER.MAX_EPOCH 3 INPUT.SIZE_TRAIN "(96, 96)"
```

- **A file may build on another**: `_BASE_: ../Base-SBS.yml` on top, relative to the file itself or from `~`. The base is read first; sections merge, values replace, lists included. A base lies in the working folder, in the folder `configs` the file is in, in the folder above the file's own, or below the home folder when written with `~`; it is never fetched.
- **Kinds give way where nothing is lost**: `1` for `1.0`, `64.0` for `64`, `1e-4` in either spelling, `Patent` for `[Patent]`, `(1, 2)` for `[1, 2]`.
- **All else is refused** with file, line and mend: an unknown key (with the nearest one), a wrong kind, a number out of range, NaN, a key that stands twice, an empty file, YAML tags, Python files.
- **Once frozen it stays so.** `OUTPUT_DIR/config.yaml` holds every setting of a training run; give it to `--config-file` to run it again.
- Files for fast-reid load as they are. Keys that exist only here are marked *ours*. Parts of fast-reid that are left out are listed at the end: their keys are known, and any value but the default is refused.
- `SOLVER.OPT_ARGS` is the one section that takes keys of its own: the arguments of the optimizer's class, such as `SOLVER.OPT_ARGS.betas "(0.9, 0.98)"`.

From Python:

```python
from fastreid.config import get_cfg

cfg = get_cfg()
cfg.merge_from_file("configs/demo/stage1.yml")
cfg.merge_from_list(["SOLVER.MAX_EPOCH", 3])
cfg.freeze()
print(cfg.SOLVER.MAX_EPOCH)
```
"""


class Entry(NamedTuple):
    """A line of `defaults.py`.

    Args:
        key: dotted name.
        value: the default as it is written there; "Node()" and the like for a section.
        meaning: the comment behind it, without its marks; empty when there is none.
        mark: "ours", "accepted" or "".
    """

    key: str
    value: str
    meaning: str
    mark: str

    @property
    def is_section(self) -> bool:
        return self.value.startswith("Node(")


def entries(source: str | None = None) -> Iterator[Entry]:
    """The settings and sections of `defaults.py`, or of another text like it, in its order."""
    for line in (inspect.getsource(defaults) if source is None else source).splitlines():
        if found := _LINE.fullmatch(line):
            comment = found["meaning"] or ""
            mark = _MARKS.search(comment)
            yield Entry(found["key"], found["value"], _MARKS.sub("", comment), mark[1] if mark else "")


def document() -> str:
    """The text of `docs/configs.md`."""
    parts = [_HEAD]
    settings = [entry for entry in entries() if not entry.is_section or entry.meaning]
    here = [entry for entry in settings if entry.key not in NOT_HERE]
    for top in dict.fromkeys(_top(entry) for entry in here):
        rows = [_row(entry) for entry in here if _top(entry) == top]
        parts.append(f"## {top or 'The run'}\n\n| key | default | may be | meaning |\n| --- | --- | --- | --- |\n")
        parts[-1] += "".join(f"{row}\n" for row in rows)
    parts.append("## Left out\n\n| key | default | belongs to |\n| --- | --- | --- |\n")
    parts[-1] += "".join(
        f"| `{entry.key}` | `{entry.value}` | {NOT_HERE[entry.key]} |\n" for entry in settings if entry.key in NOT_HERE
    )
    return "\n".join(parts)


def _top(entry: Entry) -> str:
    """The heading a setting stands under: its section, one level finer inside MODEL."""
    *sections, _ = entry.key.split(".")
    return ".".join(sections[: 2 if sections[:1] == ["MODEL"] else 1])


def _row(entry: Entry) -> str:
    ours = " *(ours)*" if entry.mark == "ours" else ""
    cells = [f"`{entry.key}`", "" if entry.is_section else f"`{entry.value}`", _may_be(entry), f"{entry.meaning}{ours}"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _may_be(entry: Entry) -> str:
    if entry.is_section:
        return "names of its own"
    default = get_cfg()
    for word in entry.key.split("."):
        default = default[word]
    words = RULES.get(entry.key, Rule()).words(default)
    return words.replace("a text on one line, in quotes where it looks like a number", "text")
