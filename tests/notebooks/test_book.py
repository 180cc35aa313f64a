"""The book: mathematics becomes HTML, links lead to pages, and what cannot be shown is an error with a name."""

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.book import build
from tools.book.extras import mistakes_of, proofs_of
from tools.book.site import ROOT
from tools.mathematics import typesetter

FIRST = """# Start

What is this for?

**Time:** 12 minutes."""


@pytest.fixture(scope="module")
def typeset():
    with typesetter() as typeset:
        yield typeset


@pytest.fixture
def book(tmp_path):
    """``book({"00_start.ipynb": cells})`` builds a book of these notebooks; returns the page ``00_start.html``."""

    def make(notebooks):
        (tmp_path / "notebooks").mkdir()
        for name, cells in notebooks.items():
            cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
            nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / name)
        build(tmp_path / "book", tmp_path / "notebooks")
        return read(tmp_path / "book" / "00_start.html")

    return make


def read(page):
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def words(soup):
    """What a reader sees: screen readers get the other copy of a formula."""
    for hidden in soup.select(".katex-mathml"):
        hidden.decompose()
    return soup.get_text()


@pytest.mark.parametrize(
    "latex",
    [
        r"$\hat x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\,\epsilon_\theta) / \sqrt{\bar\alpha_t}$",
        r"$$\begin{aligned} a &= b && \text{why} \\ &\ge c \end{aligned} \tag{2.1}$$",
        r"\begin{align} a &= b \tag{2.1} \\ c &= d \tag{2.2} \end{align}",
        r"$$\underbrace{D_{\mathrm{KL}}\bigl(q \,\big\|\, p\bigr)}_{L_T}$$",
        r"$$f = \begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}$$",
    ],
)
def test_no_latex_is_left(typeset, latex):
    text = words(BeautifulSoup(typeset(latex), "html.parser"))
    assert text
    assert not set("\\$&") & set(text)


def test_a_formula_is_there_for_screen_readers_too(typeset):
    assert BeautifulSoup(typeset("where $x_t$ is"), "html.parser").select_one("math msub")


def test_text_around_formulas_stays(typeset):
    html = typeset("if $x < 1$ & y, it costs \\$5")
    assert html.startswith("if <span")
    assert html.endswith("&amp; y, it costs \\$5")


@pytest.mark.parametrize("latex", [r"$\color{#0072B2}{x}$", r"$\textcolor{#0072B2}{x}$"])
def test_colours_fit_themselves_to_the_page(typeset, latex):
    html = typeset(latex)
    assert "--ink:#0072B2" in html
    assert '"color:' not in html


def test_unknown_latex_is_an_error_that_shows_it(typeset):
    with pytest.raises(ValueError, match=r"cannot typeset 'x \\\\nonsense': .*nonsense"):
        typeset(r"so $x \nonsense$")


def test_contents_say_what_each_part_promises(book, tmp_path):
    book({"00_start.ipynb": [FIRST], "01_next.ipynb": ["# Next\n\nWhy $x_t$?\n\n20 to 30 minutes"]})
    contents = read(tmp_path / "book" / "index.html")
    first, second = contents.select(".parts li")
    assert [first.h2.text, first.p.text, first.select_one(".minutes").text] == ["Start", "What is this for?", "12 min"]
    assert second.select_one(".minutes").text == "20 to 30 min"
    assert [a["href"] for a in contents.select(".parts a")] == ["00_start.html", "01_next.html"]


def test_links_to_notebooks_lead_to_pages(book):
    page = book({"00_start.ipynb": [FIRST, "[there](01_next.ipynb#1.-One)"], "01_next.ipynb": ["# Next\n\nWhy?"]})
    assert page.find("a", string="there")["href"] == "01_next.html#1.-One"


def test_a_link_to_nothing_is_an_error(book):
    with pytest.raises(ValueError, match=r"00_start\.ipynb: there is no 07_lost\.ipynb"):
        book({"00_start.ipynb": [FIRST, "[there](07_lost.ipynb)"]})


def test_a_number_in_the_text_leads_to_its_equation(book):
    page = book({"00_start.ipynb": [FIRST, r"$$x = 1 \tag{0.1}$$ By (0.1), not (0.2), and `(0.1)`."]})
    assert [link["href"] for link in page.select("a.eq")] == ["00_start.html#eq-0.1"]
    assert page.find(id="eq-0.1")


def test_a_number_in_brackets_behind_another_is_no_equation(book):
    page = book({"00_start.ipynb": [FIRST, "$$x = 1 \\tag{0.1}$$", "| by | is |\n| -- | -- |\n| (0.1) | 1.08 (0.1) |"]})
    assert [cell.a is not None for cell in page.select("td")] == [True, False]


def test_a_picture_says_in_words_what_it_shows(book, tmp_path):
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
    output = new_output("display_data", data={"image/png": png, "text/plain": 'a "white" pixel'})
    page = book({"00_start.ipynb": [FIRST, new_code_cell("show_pixel()", outputs=[output])]})
    assert page.img["alt"] == 'a "white" pixel'
    assert (tmp_path / "book" / page.img["src"]).read_bytes()[8:12] == b"WEBP"
    assert page.select_one(".live")


def test_code_and_its_output_stay_as_they_are(book):
    cell = new_code_cell('price = "$5$"', outputs=[new_output("stream", text="$x_t$ < 1\n")])
    page = book({"00_start.ipynb": [FIRST, cell]})
    assert [pre.get_text().strip() for pre in page("pre")] == ['price = "$5$"', "$x_t$ < 1"]


def test_other_files_are_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(ValueError, match="out must be a new folder"):
        build(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_panel_that_was_not_run_is_an_error_that_says_what_to_do(book):
    with pytest.raises(ValueError, match=r"00_start\.ipynb: cell \w+ must have been run.*run_notebooks\.py"):
        book({"00_start.ipynb": [FIRST, new_code_cell("show_pixel()")]})


def test_sections_have_addresses_and_can_be_found(book, tmp_path):
    page = book({"00_start.ipynb": [FIRST, "## 1. Why so\n\nBecause of $x_t$ and entropy."]})
    assert page.h2.select_one(".anchor")["href"] == "#1.-Why-so"
    index = (tmp_path / "book" / "search_index.js").read_text(encoding="utf-8")
    assert '"1.-Why-so","Start","1. Why so","and because entropy"' in index


def test_reasons_stand_under_their_lines_where_it_is_narrow(typeset):
    html = typeset(r"$$\begin{aligned} a &= b && \text{why} \\ &= c && \text{so} \end{aligned} \tag{2.1}$$")
    wide, narrow = (BeautifulSoup(html, "html.parser").select_one(f".equation .{kind}") for kind in ("wide", "narrow"))
    rows = [len(one.select("math mtr")) for one in (wide, narrow)]
    assert rows == [2, 4]


def test_known_mistakes_are_folded_with_their_hints():
    html = mistakes_of("07_attention_block", "check_split_heads(split_heads)")
    boxes = BeautifulSoup(html, "html.parser").select("details.mistakes > details")
    assert len(boxes) >= 2
    assert all(not box.has_attr("open") and box.details.summary.text == "A hint" for box in boxes)
    assert mistakes_of("07_attention_block", "x = 1") == ""


def test_the_source_of_a_proof_is_that_of_its_function():
    proof = next(proof for proof in proofs_of("07_attention_block") if proof["number"] == "7.3")
    lines = (ROOT / proof["file"]).read_text(encoding="utf-8").splitlines()
    source = BeautifulSoup(proof["source"], "html.parser").get_text().strip().splitlines()
    assert lines[proof["line"] - 1] == source[0]
    assert '"7.3"' in source[0] + source[1]
