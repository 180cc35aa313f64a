"""Every page of the book reads well in a real browser, on a laptop and on a telephone, and its panels move."""

import functools
import gzip
import re
import subprocess
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import torch

from ddpm_lesson import checkpoint
from ddpm_lesson.sample import ddim_steps, eval_mode
from tools.book import build
from tools.book.frames import STORE, stored
from tools.book.living import prepare

from .conftest import NOTEBOOKS

CHAPTERS = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
PROOFS = [f"proofs_{name[:2]}" for name in CHAPTERS if "01" <= name < "13"]
PAGES = ["index", *CHAPTERS, *PROOFS, "living"]
WIDTHS = [390, 768, 1100, 1280, 1920]
LINKS = "links => links.map(link => link.href)"
IMAGES = "images => images.map(i => ({ alt: i.alt, src: i.src, wide: i.complete && i.naturalWidth }))"
TEXT = """() => {
    const body = document.body.cloneNode(true);
    body.querySelectorAll('pre, code, .katex-mathml').forEach(element => element.remove());
    return body.textContent;
}"""
FONTS_READY = "() => document.fonts.ready.then(() => true)"
CUT = """() => [...document.querySelectorAll('.katex, pre, table, .controls, .question')]
    .filter(box => box.getClientRects().length && !box.closest('.scroll, .highlight, pre, .katex-mathml, .toc'))
    .filter(box => box.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(box => box.textContent.slice(0, 80))"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


ALIVE = """image => new Promise(done => {
    const look = () => image.dataset.frame ? done() : setTimeout(look, 20);
    look();
})"""
AXE = "axe-core@4.14.1"


@pytest.fixture(scope="session")
def living():
    try:
        return prepare()
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def book(tmp_path_factory, living):
    folder = tmp_path_factory.mktemp("book")
    build(folder, store=STORE, jobs=1, living=living)
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(book):
    """Where a server without any settings of its own serves the book."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=book))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def tab(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    yield page
    page.close()


@pytest.fixture(params=PAGES)
def page(request, tab, address):
    """One page of the book, opened; what the browser complains of is in ``page.complaints``."""
    complaints = []
    tab.on("console", log := lambda message: complaints.append(message.text))
    tab.on("pageerror", error := lambda message: complaints.append(str(message)))
    tab.on("requestfailed", lost := lambda asked: complaints.append(asked.url))
    tab.goto(f"{address}/{request.param}.html")
    tab.complaints = complaints
    yield tab
    tab.remove_listener("console", log)
    tab.remove_listener("pageerror", error)
    tab.remove_listener("requestfailed", lost)


def test_page_loads_without_complaint(page):
    page.evaluate(FONTS_READY)
    assert page.complaints == []


def test_every_link_leads_somewhere(page, book, address):
    targets = {f"{address}/{path.name}": ids(path) for path in book.glob("*.html")}
    targets |= {f"{address}/notebooks/{path.name}": set() for path in (book / "notebooks").iterdir()}
    for link in page.locator("a[href]").evaluate_all(LINKS):
        place, anchor = urldefrag(link)
        if place.startswith(address):
            assert place in targets, link
            assert not anchor or unquote(anchor) in targets[place], link
        else:
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", place), link


def ids(path):
    return set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8")))


def test_every_picture_is_there_and_says_what_it_shows(page):
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    page.wait_for_function("() => [...document.images].every(image => image.complete)")
    for image in page.locator("img").evaluate_all(IMAGES):
        assert image["wide"], image["src"][-80:]
        assert len(image["alt"]) > 10, image
        assert not re.match(r"<|No description|Figure\(", image["alt"]), image["alt"]


def test_no_latex_is_left_in_the_text(page):
    text = page.evaluate(TEXT)
    assert len(text) > 100
    assert not re.findall(r".{,30}(?:\$|\\[a-zA-Z]+|\\\\).{,30}", text)


@pytest.mark.parametrize("width", WIDTHS)
def test_only_boxes_scroll_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true })")
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(CUT) == []


def test_page_has_one_title_and_a_language(page):
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title()


def test_next_and_previous_go_through_all_pages(tab, address):
    tab.goto(f"{address}/index.html")
    click(tab, tab.locator(".parts h2 a").first)
    forth = follow(tab, "next")
    assert forth == CHAPTERS
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


def test_the_keyboard_finds_its_way(tab, address):
    tab.goto(f"{address}/{CHAPTERS[0]}.html")
    tab.keyboard.press("Tab")
    skip = tab.locator(":focus")
    assert skip.get_attribute("href") == "#main"
    assert skip.bounding_box()["y"] >= 0
    assert skip.evaluate("link => getComputedStyle(link).outlineStyle") != "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(tab, address, scheme):
    tab.emulate_media(color_scheme=scheme)
    tab.goto(f"{address}/{CHAPTERS[0]}.html")
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


# Panels


def panels():
    """Every panel of the book, by its name; the pages are asked when the tests begin."""
    return [f"{path.stem}-{cell}" for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")) for cell in (stored(path) or {})]


def test_every_panel_of_the_lesson_moves(book):
    calls = r"^(?:panels\.)?show_\w+\("
    cells = [path.read_text(encoding="utf-8") for path in NOTEBOOKS.glob("[0-9]*.ipynb")]
    wanted = sum(len(re.findall(calls.replace("^", r'^\s*"'), text, re.MULTILINE)) for text in cells)
    assert sum(path.read_text(encoding="utf-8").count("data-frames=") for path in book.glob("*.html")) == wanted >= 36


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_control_of_every_panel_moves_picture_and_words(tab, address, name):
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.goto(f"{address}/{name}.html")
    for panel in tab.locator("[data-frames]").all():
        panel.scroll_into_view_if_needed()
        image = panel.locator("img")
        image.evaluate(ALIVE)
        for control in panel.locator("input").all():
            before, height = shows(image), panel.bounding_box()["height"]
            control.focus()
            tab.keyboard.press("ArrowRight" if control.evaluate("c => +c.value < +c.max") else "ArrowLeft")
            after = shows(image)
            assert all(new != old for new, old in zip(after, before, strict=True)), (before, after)
            words = control.get_attribute("aria-valuetext")
            assert panel.locator(f"output[for='{control.get_attribute('id')}']").text_content() == words
            assert panel.bounding_box()["height"] == height
            tab.keyboard.press("Home")
            tab.keyboard.press("End")
            assert panel.bounding_box()["height"] == height
            control.evaluate("(c) => { c.value = c.defaultValue; c.dispatchEvent(new Event('input')) }")
            assert shows(image) == before


def shows(image):
    """The picture and the words that are shown."""
    return image.get_attribute("src"), image.get_attribute("alt")


def test_a_combination_that_is_not_stored_shows_the_nearest_and_says_so(tab, address):
    tab.goto(f"{address}/02_closed_form_posterior.html")
    panel = tab.locator("[data-frames]").first
    panel.scroll_into_view_if_needed()
    tab.wait_for_function("() => document.querySelector('[data-frames] img').dataset.frame")
    note, said = panel.locator(".nearest"), []
    assert note.text_content() == ""
    for control in panel.locator("input").all():
        control.focus()
        for _ in range(2):
            tab.keyboard.press("ArrowLeft")
        said.append(note.text_content())
    assert said[0] == ""
    assert any(re.match(r"Nearest stored picture shown: \w+ -?\d", words) for words in said[1:]), said


def test_without_javascript_a_picture_stays_and_a_sentence_says_why(browser, address):
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(f"{address}/01_from_kl_to_elbo.html")
    panel = plain.locator("[data-frames]").first
    assert "The sliders need JavaScript" in panel.inner_text()
    assert panel.locator("img").is_visible()
    assert not panel.locator("input").first.is_visible()
    context.close()


# One folder of files, for everybody


def test_scripts_of_a_page_are_small(book):
    assert sum((book / name).stat().st_size for name in ("page.js", "panels.js")) <= 10_000


def test_a_page_asks_nobody_else_keeps_no_cookies_and_is_light(browser, address, book):
    for name in PAGES:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        sent, weight = [], []
        page = context.new_page()
        page.route(
            lambda url: not url.startswith(address),
            lambda route, sent=sent: (sent.append(route.request.url), route.abort()),
        )
        page.on("response", lambda response, weight=weight: weight.append(sent_as(book, response.url)))
        page.goto(f"{address}/{name}.html", wait_until="load")
        assert [url for url in sent if not url.startswith("data:")] == []
        assert context.cookies() == []
        assert sum(weight) <= 2_000_000, (name, sum(weight))
        context.close()


def sent_as(book, url):
    """Bytes of a file as hosts send it: text is compressed on the way."""
    path = book / unquote(urlsplit(url).path).lstrip("/")
    if not path.is_file():
        return 0
    return len(gzip.compress(path.read_bytes())) if path.suffix in (".html", ".js", ".css") else path.stat().st_size


def test_the_book_has_at_most_sixty_megabytes(book):
    assert sum(path.stat().st_size for path in book.rglob("*") if path.is_file()) <= 60_000_000


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """axe-core, fetched from npm for the tests only."""
    folder = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{AXE} cannot be fetched from npm: {error}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, axe, scheme):
    page.emulate_media(color_scheme=scheme)
    page.evaluate(axe)
    found = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")["violations"]
    serious = [
        (f["id"], [n["target"] for n in f["nodes"]][:3]) for f in found if f["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_nothing_moves_by_itself_for_those_who_asked_for_that(tab, address):
    tab.goto(f"{address}/{CHAPTERS[0]}.html")
    assert tab.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_search_leads_to_the_section(tab, address):
    tab.goto(f"{address}/index.html")
    tab.keyboard.press("/")
    tab.keyboard.type("frechet")
    first = tab.locator("#results a").first
    first.wait_for()
    assert "12_evaluation" in first.get_attribute("href")
    tab.locator("#search").fill("xyzzy")
    assert tab.locator("#found").text_content() == "Nothing found."


def test_dark_and_light_are_remembered(tab, address):
    tab.goto(f"{address}/index.html")
    paper = "getComputedStyle(document.body).backgroundColor"
    before = tab.evaluate(paper)
    tab.locator("#theme").click()
    after = tab.evaluate(paper)
    assert after != before
    tab.reload()
    assert tab.evaluate(paper) == after
    tab.locator("#theme").click()
    tab.evaluate("localStorage.clear()")


def test_what_was_read_stands_in_the_contents(tab, address):
    tab.goto(f"{address}/{CHAPTERS[0]}.html")
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    tab.wait_for_function("() => localStorage.length")
    tab.goto(f"{address}/index.html")
    assert tab.locator("[data-progress]").first.text_content() == "read"


def test_an_equation_leads_to_its_proof_and_back(tab, address):
    tab.goto(f"{address}/07_attention_block.html")
    click(tab, tab.locator(".equation:has(#eq-7\\.3) .proof"))
    section = tab.locator("#proof-7\\.3")
    assert "def " in section.locator("pre").text_content()
    click(tab, section.locator("a", has_text="Back to the equation"))
    assert tab.url.endswith("07_attention_block.html#eq-7.3")


# The living model


@pytest.fixture(scope="module")
def lively(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/living.html")
    page.locator("#go").click()
    page.wait_for_function("() => !document.getElementById('step').disabled", timeout=120_000)
    yield page
    page.close()


SAMPLE = """async ([xt, n]) => {
    const states = [];
    for await (const { t, xt: x, x0 } of living.sample(Float32Array.from(xt), n, 0, () => 0))
        states.push([t, [...x], [...x0]]);
    return states;
}"""


@pytest.mark.parametrize("t", [0, 7, 500, 999])
def test_the_network_in_the_page_says_what_pytorch_says(lively, t):
    diffusion = checkpoint.load("digits", "cpu")
    xt = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(t))
    with torch.no_grad():
        expected = eval_mode(diffusion).eps_model(xt, torch.full((3,), t))
    found = lively.evaluate(
        "async ([x, t]) => [...await living.predict(Float32Array.from(x), t)]", [xt.flatten().tolist(), t]
    )
    assert (torch.tensor(found).view_as(expected) - expected).abs().max() < 1e-4


def test_a_run_in_the_page_goes_the_way_of_ddim_steps(lively):
    diffusion, n = checkpoint.load("digits", "cpu"), 20
    xt = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = list(ddim_steps(diffusion, xt.shape, n, start=xt))
    for (t, x, x0), step in zip(lively.evaluate(SAMPLE, [xt.flatten().tolist(), n]), expected, strict=True):
        assert t == step.t
        assert (torch.tensor(x).view_as(xt) - step.xt).abs().max() < 1e-3  # twenty steps of errors of 1e-5
        assert (torch.tensor(x0).view_as(xt) - step.x0_hat).abs().max() < 1e-3


def test_moving_the_step_shows_another_state(lively):
    picture, step = "document.getElementById('xt').toDataURL()", lively.locator("#step")
    before = lively.evaluate(picture)
    step.focus()
    lively.keyboard.press("ArrowLeft")
    assert lively.evaluate(picture) != before
    assert "t = " in lively.locator("#xt").get_attribute("aria-label")
