"""The options of the search page that need a drawing of the collection, and those of the order of results."""

import pytest
from search_page import Pages, expect, launch_browser, list_patents, search, serve, write_collection


@pytest.fixture
def folder(tmp_path):
    write_collection(tmp_path)
    return tmp_path


@pytest.fixture
def pages(folder):
    """Return pages of the served collection; afterwards they have sent nothing elsewhere and reported no fault."""
    with serve(folder) as address, launch_browser() as browser:
        pages = Pages(browser, address)
        yield pages
        pages.close()


def test_own_patents_and_the_expanded_query(pages, folder):
    page = pages.open()
    search(page, folder / "drawings/D1/4.png")
    expect(page.locator("#exclude-own-line")).to_be_hidden()  # an upload has no patent
    page.keyboard.press("o")
    with page.expect_response("**/api/v1/search") as expanded:
        page.keyboard.press("e")
    query = expanded.value.json()["query"]
    assert (query["expand"], query["exclude_own"]) == (True, False)
    page.locator("#results[aria-busy=false]").wait_for()
    patent = list_patents(page)[0][-2:]
    page.locator("#results article >> nth=0").locator("button.similar").click()
    page.locator("#exclude-own-line").wait_for()
    page.locator("#results[aria-busy=false]").wait_for()
    with page.expect_response("**/api/v1/search") as others:
        page.get_by_label("Leave out the patents and families of the query").check()
    answer = others.value.json()
    assert (answer["query"]["expand"], answer["query"]["exclude_own"]) == (True, True)
    assert patent not in {result["patent"] for result in answer["results"]}
    assert len(answer["results"]) == 3
    page.locator("#results[aria-busy=false]").wait_for()
    page.click("#open-link")
    link = page.input_value("#link")
    assert link == f"{pages.address}#id={answer['query']['ids'][0]}&expand=true&exclude_own=true"
    shared = pages.open(link.removeprefix(pages.address))
    shared.locator("#results article >> nth=2").wait_for()
    assert list_patents(shared) == list_patents(page)
    assert shared.get_by_label("Expand the query").is_checked()
    shared.click("#clear")
    expect(shared.locator("#exclude-own-line")).to_be_hidden()
    assert not shared.get_by_label("Expand the query").is_checked()
    ids = [result["id"] for result in answer["results"][:2]]
    several = pages.open(f"#id={ids[0]}&id={ids[1]}&combine=best")
    several.locator("#results article >> nth=0").wait_for()
    assert several.get_by_label("Best match of any picture").is_checked()
