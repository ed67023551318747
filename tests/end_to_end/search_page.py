"""The search page for tests: a collection, its server, and what users do with the page."""

import base64
import contextlib
import re
import shutil
import time
import urllib.error
import urllib.request

import pytest
from commands import start
from index_pages import write_model, write_pages

import fastreid.index

for package in ("lancedb", "fastapi", "uvicorn", "prometheus_client", "playwright"):
    pytest.importorskip(package, reason=f"{package} is not installed")
expect, sync_playwright = (
    getattr(pytest.importorskip("playwright.sync_api"), name) for name in ("expect", "sync_playwright")
)
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

TOKEN = "0123456789abcdef0123"
LIMIT_MS = 30_000
MARKUP = "<img src=x onerror=alert(1)>"
NAMES = [f"D{number // 3}/{number}.png" for number in range(12)]
ROWS = (
    "patent,title,locarno,year",
    f"D0,{MARKUP},06-01,2001",
    "D1,Cup,07-02,2002",
    "D2,Sofa,06-03,2003",
    "D3,=1+1,06-01,2004",
)


@contextlib.contextmanager
def launch_browser():
    """Start Chromium until the block ends."""
    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Pages:
    """Opens the page in its own contexts, and checks that it sends nothing elsewhere and reports no fault."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address
        self.contexts, self.faults = [], []

    def open(self, fragment="", *, token=TOKEN, expected_faults=0, **options):
        context = self.browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(LIMIT_MS)
        if token:
            context.add_init_script(f"sessionStorage.setItem('fastreid.token', '{token}')")
        page = context.new_page()
        found = []
        page.on("request", lambda request: self.is_own(request.url) or found.append(f"request to {request.url}"))
        page.on("pageerror", lambda error: found.append(f"error: {error}"))
        page.on("console", lambda message: message.type in ("error", "warning") and found.append(message.text))
        self.contexts.append(context)
        self.faults.append((found, expected_faults))
        page.goto(self.address + fragment)
        return page

    def is_own(self, url):
        return url.startswith((self.address, "data:", f"blob:{self.address}"))

    def close(self):
        for context in self.contexts:
            context.close()
        for found, expected in self.faults:
            assert len(found) == expected, found
            assert all(text.startswith("Failed to load resource") for text in found), found


def wait_for_focus(page, label):
    """Wait until the focused element has a label that starts with a text."""
    code = "label => document.activeElement.getAttribute('aria-label')?.startsWith(label)"
    page.wait_for_function(code, arg=label, timeout=LIMIT_MS)


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


def check_images_in_memory(page):
    """Check that the page frees the oldest images when it has more than 500."""
    revoked, expected = page.evaluate(
        """async () => {
          const { getImage, makeAddress } = await import(new URL("api.js", document.baseURI));
          const revoked = [], made = [];
          window.fetch = async () => new Response("image");
          URL.revokeObjectURL = (address) => revoked.push(address);
          for (let number = 0; number < 1000; number += 1) made.push(makeAddress(await getImage(`${number}.png`)));
          await Promise.resolve();
          return [revoked.filter((address) => made.includes(address)), made.slice(0, 500)];
        }"""
    )
    assert revoked == expected
