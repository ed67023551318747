"""The search page for tests: a collection, its server, and what users do with the page."""

import base64
import contextlib
import re
import time
import urllib.error
import urllib.request

from commands import start
from index_pages import write_model, write_pages

import fastreid.index

TOKEN = "0123456789abcdef0123"
MARKUP = "<img src=x onerror=alert(1)>"
NAMES = [f"D{number // 3}/{number}.png" for number in range(12)]
ROWS = (
    "patent,title,locarno,year",
    f"D0,{MARKUP},06-01,2001",
    "D1,Cup,07-02,2002",
    "D2,Sofa,06-03,2003",
    "D3,=1+1,06-01,2004",
)


def write_collection(folder):
    """Write a collection of twelve drawings of four patents, its drawings, and the token."""
    write_pages(folder / "drawings", NAMES)
    (folder / "meta.csv").write_text("\n".join(ROWS))
    (folder / "token").write_text(TOKEN)
    collection = fastreid.index.create(folder / "c", model=write_model(folder / "model"))
    collection.add([folder / "drawings"], metadata=str(folder / "meta.csv"))


@contextlib.contextmanager
def serve(folder):
    """Serve the collection of a folder with a token until the block ends; yield the address."""
    process = start("serve", "c", "--port", 0, "--token-file", "token", "--no-access-log", folder=folder)
    deadline = time.monotonic() + 120
    found = None
    try:
        while not (found and is_ready(found[0])):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, process.read_errors()
            time.sleep(0.05)
            found = found or re.search(r"http://127\.0\.0\.1:\d+/", process.read_errors())
        yield found[0]
    finally:
        process.kill()


def is_ready(address):
    try:
        with urllib.request.urlopen(f"{address}readyz", timeout=30):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False


def search(page, *paths):
    """Choose pictures, search, and wait for the results."""
    page.set_input_files("#files", paths)
    with page.expect_response("**/api/v1/search") as answer:
        page.click("#start")
    page.locator("#results[aria-busy=false] article").first.wait_for()
    return answer.value.json()


def list_patents(page):
    return page.locator("#results article h3").evaluate_all("items => items.map(item => item.textContent)")


def give(page, path, *, event):
    """Paste or drop a picture, as the browser does after Ctrl-V or with a file of the desktop."""
    data = base64.b64encode(path.read_bytes()).decode()
    page.evaluate(
        """([data, name, event]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], name, { type: "image/png" }));
            const options = { clipboardData: files, dataTransfer: files, cancelable: true, bubbles: true };
            const constructor = event === "paste" ? ClipboardEvent : DragEvent;
            document.dispatchEvent(new constructor(event, options));
        }""",
        [data, path.name, event],
    )


def save(page, format):
    """Export in the open dialog and return the content of the file."""
    with page.expect_download() as download:
        page.click(f"button[data-format={format}]")
    return download.value.path().read_text(encoding="utf-8")
