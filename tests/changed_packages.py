"""Print the unit tests of the packages with uncommitted changes, and the architecture tests: `make quick`."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tests_of(path: str) -> list[str]:
    """Return the test folders or files that cover a changed file."""
    parts = Path(path).parts
    if parts[0] == "fastreid" and len(parts) > 2:
        return [f"tests/unit/{parts[1]}"]
    if parts[0] == "fastreid":
        return ["tests/unit"]
    if parts[:2] == ("tests", "unit") and parts[-1].startswith("test_"):
        return [path]
    if parts[:2] == ("tests", "unit"):
        return ["/".join(parts[:-1])]
    return []


def main() -> None:
    command = ["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=all", "--no-renames"]
    changes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    selected = sorted({test for line in changes for test in tests_of(line[3:].strip('"'))})
    existing = [test for test in selected if (ROOT / test).exists()]
    print("tests/architecture", *existing)


if __name__ == "__main__":
    main()
