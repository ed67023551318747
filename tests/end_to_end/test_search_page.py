"""The search page of `fastreid serve` in Chromium: mouse, keyboard, a small screen, exports and errors."""

import csv
import io
import json
import re

import pytest
from search_page import (
    MARKUP,
    NAMES,
    TOKEN,
    Pages,
    check_images_in_memory,
    expect,
    give,
    launch_browser,
    list_patents,
    save,
    search,
    serve,
    wait_for_focus,
    write_collection,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_collection(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with serve(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with launch_browser() as browser:
        yield browser


@pytest.fixture
def open_page(browser, address):
    """Return a function that opens the page; afterwards it has sent nothing elsewhere and reported no fault."""
    pages = Pages(browser, address)
    yield pages.open
    pages.close()


def test_upload_filter_group_and_more(open_page, folder):
    page = open_page()
    answer = search(page, folder / "drawings/D1/4.png")
    assert answer["results"][0]["patent"] == "D1"
    assert answer["query"]["group"] == "patent"
    assert len(list_patents(page)) == 4
    expect(page.locator("#status")).to_have_text("4 patents among 12 drawings, best first.")
    expect(page.locator(f"dd:text-is('{MARKUP}')")).to_have_count(1)  # metadata are text
    page.click("summary:has-text('Locarno')")
    value = page.locator("label:has-text('06-01')")
    expect(value.locator(".count")).to_have_text("6")
    value.click()
    expect(page.locator("#changed")).to_be_visible()
    with page.expect_response("**/api/v1/search") as filtered:
        page.click("#start")
    assert filtered.value.json()["query"]["filter"] == 'locarno = "06-01"'
    page.locator("#results article h3:has-text('D3')").wait_for()
    assert sorted(name[-2:] for name in list_patents(page)) == ["D0", "D3"]
    page.locator("label:has-text('06-01')").click()
    page.select_option("#page-size", "10")
    page.locator("#group").uncheck()
    page.locator("#results article >> nth=9").wait_for()
    page.click("#more")
    page.locator("#results article >> nth=11").wait_for()
    expect(page.locator("#results article")).to_have_count(12)
    expect(page.locator("#more")).to_be_hidden()
    check_images_in_memory(page)


def test_crops_of_dropped_and_pasted_pictures(open_page, folder):
    page = open_page()
    give(page, folder / "drawings/D1/3.png", event="drop")
    give(page, folder / "drawings/D1/4.png", event="paste")
    search(page, folder / "drawings/D1/5.png")
    page.click("button[aria-label='Crop of 4.png']")
    box = page.locator("#crop-stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"], steps=2)
    page.mouse.up()
    expect(page.locator("#crop-text")).to_contain_text("Crop: 50 % of the width and 50 %")
    page.click("#crop-dialog .close")
    page.click("button[aria-label='Crop of 5.png']")
    for key in ("Enter", "ArrowRight", "Shift+ArrowDown", "Escape"):
        page.keyboard.press(key)
    with page.expect_response("**/api/v1/search") as answer:
        page.click("#start")
    pictures = answer.value.json()["query"]["pictures"]
    assert [picture["name"] for picture in pictures] == ["3.png", "4.png", "5.png"]
    assert pictures[0]["crop"] == ""
    drawn = [float(number.rstrip("%")) for number in pictures[1]["crop"].split(",")]
    assert drawn == pytest.approx([25, 50, 50, 50], abs=1)
    assert pictures[2]["crop"] == "27%,25%,50%,52%"
    page.click("button[aria-label='Change crop of 5.png']")
    page.click("#clear-crop")
    page.click("#crop-dialog .close")
    expect(page.locator("button[aria-label='Crop of 5.png']")).to_be_visible()


def test_compare_more_like_this_exclude_and_link(open_page, folder, address):
    page = open_page()
    search(page, folder / "drawings/D1/4.png")
    page.click("#results article .sheet >> nth=1")
    transforms = "images => images.map((image) => image.style.transform)"
    for _ in range(2):
        page.click("#zoom-in")
    page.locator("#query-pane img").wait_for()
    page.focus("#query-pane")
    page.keyboard.press("ArrowLeft")
    first, second = page.locator(".pane img").evaluate_all(transforms)
    assert first == second
    assert "scale(1.56" in first
    expect(page.locator("#compare-heading")).to_contain_text("2. Patent")
    page.keyboard.press("n")
    expect(page.locator("#compare-heading")).to_contain_text("3. Patent")
    page.keyboard.press("Escape")
    patent = page.locator("#results article >> nth=2").locator("h3").inner_text()[-2:]
    with page.expect_response("**/api/v1/search") as similar:
        page.locator("#results article >> nth=2").locator("button.similar").click()
    query = similar.value.json()["query"]
    assert (len(query["ids"]), query["pictures"]) == (1, [])
    page.locator("#query-pictures li:has-text('Drawing of patent')").wait_for()
    with page.expect_response("**/api/v1/search") as other:
        page.locator("#results article >> nth=0").locator("button.exclude").click()
    excluded = other.value.json()["query"]["exclude_patents"]
    assert len(excluded) == 1
    expect(page.locator("#excluded li")).to_contain_text(excluded[0])
    page.locator("#results[aria-busy=false]").wait_for()
    assert len(list_patents(page)) == 3
    assert patent in {"D0", "D2", "D3"}
    page.click("#open-link")
    link = page.input_value("#link")
    assert link == f"{address}#id={query['ids'][0]}&exclude={excluded[0]}"
    shared = open_page(link.removeprefix(address))
    shared.locator("#results article >> nth=2").wait_for()
    assert list_patents(shared) == list_patents(page)
    page.keyboard.press("Escape")
    page.go_back()
    page.locator("#results article >> nth=3").wait_for()


def test_matching_lines_are_colored(open_page, folder):
    page = open_page()
    search(page, folder / "drawings/D1/4.png", folder / "drawings/D2/6.png")
    page.click("#results article .sheet >> nth=0")
    expect(page.locator("#matches")).to_be_hidden()
    with page.expect_response("**/api/v1/compare") as answer:
        page.keyboard.press("s")
    page.locator("#matches-text:has-text('Result:')").wait_for()
    expect(page.locator("#matches-text")).to_contain_text("% of the lines match")
    assert [drawing["id"] is None for drawing in answer.value.json()["drawings"]] == [True, False]
    expect(page.locator(".pane img.matches")).to_have_count(2)
    page.click("#zoom-in")
    sizes = page.locator("#query-pane img").evaluate_all("images => images.map((image) => image.style.transform)")
    assert len(sizes) == 2
    assert len(set(sizes)) == 1
    with page.expect_response("**/api/v1/compare"):
        page.select_option("#query-choice", "1")
    with page.expect_response("**/api/v1/compare"):
        page.keyboard.press("n")
    page.uncheck("#show-matches")
    expect(page.locator(".pane img.matches")).to_have_count(0)
    expect(page.locator("#matches")).to_be_hidden()


def test_other_views_of_a_patent(open_page, folder):
    page = open_page()
    search(page, folder / "drawings/D1/4.png")
    button = page.locator("#results article .open-views >> nth=1")
    expect(button).to_have_text("2 more views")
    page.focus("#results article >> nth=1")
    with page.expect_response("**/api/v1/search") as answer:
        page.keyboard.press("v")
    assert answer.value.json()["query"]["within"] in {"D0", "D2", "D3"}
    views = page.locator("#results article >> nth=1 >> .view")
    expect(views).to_have_count(2)
    expect(button).to_have_attribute("aria-expanded", "true")
    views.nth(1).click()
    expect(page.locator("#compare-heading")).to_contain_text("2. Patent")
    expect(page.locator("#next-result")).to_be_disabled()
    page.keyboard.press("Escape")
    wait_for_focus(page, "Compare drawing 3 of Patent")
    button.click()
    expect(views.first).to_be_hidden()
    page.locator("#group").uncheck()
    page.locator("#results article >> nth=11").wait_for()
    expect(page.locator(".open-views")).to_have_count(0)


def test_keep_and_export(open_page, folder):
    page = open_page()
    search(page, folder / "drawings/D3/10.png")
    page.click("#results article button.keep >> nth=0")
    page.reload()
    page.click("#open-kept")
    page.fill("#kept textarea", "Same <b>legs</b>")
    page.click("#kept-dialog .export")
    assert json.loads(save(page, "json"))["kept"][0]["note"] == "Same <b>legs</b>"
    report = save(page, "html")
    assert "Same &lt;b&gt;legs&lt;/b&gt;" in report
    for _ in range(2):
        page.keyboard.press("Escape")
    answer = search(page, folder / "drawings/D3/10.png")
    page.click("#answers .export")
    rows = list(csv.DictReader(io.StringIO(save(page, "csv").removeprefix("\ufeff"), newline="")))
    assert [row["id"] for row in rows] == [result["id"] for result in answer["results"]]
    assert rows[0]["title"] == "'=1+1"  # a spreadsheet would compute it
    content = json.loads(save(page, "json"))
    assert content["query"] == answer["query"]
    assert content["collection"]["drawings"] == 12
    report = save(page, "html")
    assert report.count("data:image/png;base64,") == 5  # the query and four results
    assert "&lt;img src=x onerror=alert(1)&gt;" in report
    for text in ("10.png", answer["query"]["weights_sha256"], answer["query"]["time"], "Version of the collection"):
        assert text in report
    assert re.findall(r"<script|https?://|\son\w+=\"", report) == []


def test_errors_in_words(open_page, folder):
    page = open_page(expected_faults=4)
    page.click("#start")
    expect(page.locator("#message")).to_have_text("Add a picture first: drop, paste or choose one.")
    page.set_input_files("#files", folder / "meta.csv")
    expect(page.locator("#message")).to_contain_text("meta.csv was not added: it is not a picture.")
    page.set_input_files("#files", [folder / "drawings" / name for name in NAMES[:8]])
    expect(page.locator("#message")).to_contain_text("7.png was not added: a query has at most 7 pictures")
    page.fill("#filter", "patnt = D1")
    page.click("#start")
    message = page.locator("#message:has-text('position 1')").inner_text()
    assert "Did you mean 'patent'?" in message
    page.route("**/api/v1/search", lambda route: route.abort())
    page.click("#start")
    page.locator("#message:has-text('The server does not answer.')").wait_for()
    page.unroute("**/api/v1/search")
    answers = [(429, "rate_limited", "more than 300 requests per minute"), (503, "not_ready", "the model is loading")]

    def answer(route):
        status, code, message = answers.pop(0)
        route.fulfill(status=status, headers={"Retry-After": "1"}, json={"error": {"code": code, "message": message}})

    page.route("**/api/v1/search", answer, times=len(answers))
    page.fill("#filter", "patent = D1")
    page.click("#start")
    page.locator("#message:text-is('More than 300 requests per minute. Try again in 1 s.')").wait_for()
    page.click("#start")
    page.locator("#status:has-text('The server is loading the model.')").wait_for()
    page.locator("#results article").wait_for()
    expect(page.locator("#message")).to_have_text("")


def test_token(open_page):
    page = open_page(token="", expected_faults=2)
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.locator("#message:has-text('The token is wrong.')").wait_for()
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.locator("#collection:has-text('12 drawings')").wait_for()
    expect(page.locator("#token")).to_be_hidden()
    assert TOKEN not in page.url
    assert page.evaluate("JSON.stringify(localStorage)").find(TOKEN) == -1


def test_keyboard_only(open_page, folder):
    page = open_page()
    # not `expect_file_chooser`: the browser reports the dialog only some time after the first listener
    page.on("filechooser", lambda chooser: chooser.set_files(folder / "drawings/D1/4.png"))
    page.locator("#collection:has-text('12 drawings')").wait_for()
    page.keyboard.press("u")
    page.locator("#query-pictures li").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("year <= 2003")
    page.keyboard.press("Control+Enter")
    page.locator("#results article >> nth=2").wait_for()
    page.focus("#open-link")
    for _ in range(2):
        page.keyboard.press("Tab")
    wait_for_focus(page, "1. Patent D1")
    page.keyboard.press("ArrowRight")
    wait_for_focus(page, "2. Patent")
    page.keyboard.press("k")
    expect(page.locator("#num-kept")).to_have_text("1")
    page.keyboard.press("Enter")
    expect(page.locator("#compare-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#compare-dialog").wait_for(state="hidden")
    wait_for_focus(page, "2. Patent")
    page.keyboard.press("?")
    expect(page.locator("#help-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    with page.expect_response("**/api/v1/search") as answer:
        page.keyboard.press("m")
    assert len(answer.value.json()["query"]["ids"]) == 1


def test_phone(open_page, folder):
    page = open_page(has_touch=True, is_mobile=True)
    page.set_viewport_size({"width": 360, "height": 740})
    search(page, folder / "drawings/D1/4.png")
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]") == [360, 360]
    page.tap("#results article .sheet >> nth=0")
    assert page.locator("#compare-dialog").evaluate("box => box.scrollWidth <= box.clientWidth")
    page.tap("#compare-dialog .close")
    page.tap("button.crop")
    assert page.locator("#crop-stage").bounding_box()["width"] <= 360
