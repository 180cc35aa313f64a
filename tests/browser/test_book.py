"""Every page of the book reads well in a real browser, on a laptop and on a telephone, with nothing missing."""

import re
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tools.book import build

from .conftest import NOTEBOOKS

PAGES = ["index", *sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))]
LINKS = "links => links.map(link => link.href)"
IMAGES = "images => images.map(i => ({ alt: i.alt, src: i.src, wide: i.complete && i.naturalWidth }))"
TEXT = """() => {
    const body = document.body.cloneNode(true);
    body.querySelectorAll('pre, code, .katex-mathml').forEach(element => element.remove());
    return body.textContent;
}"""
FONTS_READY = "() => document.fonts.ready.then(() => true)"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def tab(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


@pytest.fixture(params=PAGES)
def page(request, tab, book):
    """One page of the book, opened; what the browser complains of is in ``page.complaints``."""
    complaints = []
    tab.on("console", log := lambda message: complaints.append(message.text))
    tab.on("requestfailed", lost := lambda asked: complaints.append(asked.url))
    tab.goto((book / f"{request.param}.html").as_uri())
    tab.complaints = complaints
    yield tab
    tab.remove_listener("console", log)
    tab.remove_listener("requestfailed", lost)


def test_page_loads_without_complaint(page):
    page.evaluate(FONTS_READY)
    assert page.complaints == []


def test_every_link_leads_somewhere(page, book):
    targets = {path.as_uri(): ids(path) for path in book.glob("*.html")}
    for link in page.locator("a[href]").evaluate_all(LINKS):
        address, anchor = urldefrag(link)
        if urlsplit(address).scheme == "file":
            assert address in targets, link
            assert not anchor or unquote(anchor) in targets[address], link
        else:
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", address), link


def ids(path):
    return set(re.findall(r'\bid="([^"]+)"', path.read_text()))


def test_every_picture_is_there_and_says_what_it_shows(page):
    for image in page.locator("img").evaluate_all(IMAGES):
        assert image["wide"], image["src"][-80:]
        assert len(image["alt"]) > 10, image
        assert not re.match(r"<|No description|Figure\(", image["alt"]), image["alt"]


def test_no_latex_is_left_in_the_text(page):
    text = page.evaluate(TEXT)
    assert len(text) > 100
    assert not re.findall(r".{,30}(?:\$|\\[a-zA-Z]+|\\\\).{,30}", text)


@pytest.mark.parametrize("width", [1280, 390])
def test_only_boxes_scroll_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true })")
    assert page.evaluate(OVERFLOW) <= 0


def test_page_has_one_title_and_a_language(page):
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title()


def test_next_and_previous_go_through_all_pages(tab, book):
    tab.goto((book / "index.html").as_uri())
    click(tab, tab.locator(".parts h2 a").first)
    forth = follow(tab, "next")
    assert forth == PAGES[1:]
    assert follow(tab, "prev") == forth[::-1]
    click(tab, tab.locator(".home"))
    assert stem(tab) == "index"


def follow(tab, direction):
    """The pages on the way, by the links at the end of the text."""
    way = [stem(tab)]
    while (link := tab.locator(f".steps a[rel={direction}]")).count():
        click(tab, link)
        way.append(stem(tab))
    return way


def click(tab, link):
    with tab.expect_navigation():
        link.click()


def stem(tab):
    return re.search(r"(\w+)\.html", tab.url)[1]


def test_the_keyboard_finds_its_way(tab, book):
    tab.goto((book / f"{PAGES[1]}.html").as_uri())
    tab.keyboard.press("Tab")
    skip = tab.locator(":focus")
    assert skip.get_attribute("href") == "#main"
    assert skip.bounding_box()["y"] >= 0
    assert skip.evaluate("link => getComputedStyle(link).outlineStyle") != "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(tab, book, scheme):
    tab.emulate_media(color_scheme=scheme)
    tab.goto((book / f"{PAGES[1]}.html").as_uri())
    for what in ("main p", "main a", ".highlight .k, .highlight .kn", ".highlight .s2", "nav.toc p"):
        assert contrast(*tab.locator(what).first.evaluate(COLOURS)) > 4.5, what


COLOURS = """element => {
    const paper = document.createElement('canvas').getContext('2d');
    const rgb = colour => { paper.fillStyle = colour; paper.fillRect(0, 0, 1, 1);
                            return [...paper.getImageData(0, 0, 1, 1).data].slice(0, 3); };
    let behind = element;
    while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
    return [rgb(getComputedStyle(element).color), rgb(getComputedStyle(behind).backgroundColor)];
}"""


def contrast(one, other):
    """Contrast ratio of two sRGB colours in 0..255 (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (c / 255 for c in colour)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
