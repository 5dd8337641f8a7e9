"Tests of tools/check_site.py and of how tools/docs.py folds, links and names what it shows."
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/"tools"))
import check_site  # noqa: E402
import docs  # noqa: E402

needs_chromium = pytest.mark.skipif(not check_site.chromium(), reason="needs a Chromium")
HERE = "https://example.org/here"
GOOD = """<h1 id="top-of-it">Title</h1><p>Costs $5, and <code>\\frac</code> is code.</p><img alt="A dot." src="dot.svg">
<h2>Section</h2><h3>Part</h3><p>Text <a href="good.html#end">to the end</a> <a href="sub/">below</a> <a href="https://example.org/x">out</a></p>
<div style="overflow-x:auto"><div style="width:3000px">scrolls</div></div>
<pre>value = 1\nassert value\nprint(value)</pre><details><summary>Test: name</summary><pre>assert 1</pre></details><p id="end">End.</p>"""
BAD = {  # what is found, what it says, and the page
    "overflow": ("at 390 pixels: wider than the page: div#wide", '<p>Text.</p><div id="wide" style="width:600px">wide</div>'),
    "overflow everywhere": ("at 1400 pixels: wider than the page: div#wide", '<p>Text.</p><div id="wide" style="width:1600px">wide</div>'),
    "cut": ("at 390 pixels: cut off: div#cut", '<div id="cut" style="overflow:hidden"><div style="width:600px">wide</div></div>'),
    "command": ("raw TeX: p", "<p>The norm \\lVert x \\rVert.</p>"),
    "dollars": ("raw TeX: p", "<p>So $x_1 + 2$ it is.</p>"),
    "display": ("raw TeX: p", "<p>$$x$$</p>"),
    "in mathml": ("raw TeX: mi", "<p><math><mi>\\lVert</mi></math></p>"),
    "reference": ("raw markup: p", "<p>As ?@fig-one shows.</p>"),
    "div": ("raw markup: p", "<p>::: {.note}</p>"),
    "no alt": ("a picture without alternative text: img", '<p>A</p><img src="dot.svg">'),
    "made-up alt": ("a picture without alternative text: img", '<p>A</p><img src="dot.svg" alt="No description has been provided for this image">'),
    "no picture": ("a picture that does not load: img", '<p>A</p><img src="none.png" alt="A dot.">'),
    "stacked": ('a heading with nothing under it: h2 "One"', "<h2>One</h2><h2>Two</h2><p>Text.</p>"),
    "last": ('a heading with nothing under it: h2 "Two"', "<h2>One</h2><p>Text.</p><h2>Two</h2>"),
    "assert": ("a test without a name: pre", "<p>A</p><pre>assert 1 == 1</pre>"),
    "raises": ("a test without a name: pre", "<p>A</p><pre>with raises(ValueError):\n    f()</pre>"),
    "no name": ("a test without a name: pre", "<details><summary>Test: </summary><pre>assert 1</pre></details>"),
    "directive": ("a directive shown as code: pre", "<p>A</p><pre>#| export\nx = 1</pre>"),
    "open": ('a fold that starts open: summary "Source"', "<details open><summary>Source</summary><p>A</p></details>"),
    "dead link": ("a dead link to none.html: a", '<p><a href="none.html">A</a></p>'),
    "dead anchor": ("a dead anchor nowhere of good.html: a", '<p><a href="good.html#nowhere">A</a></p>'),
    "own dead anchor": ("a dead anchor nowhere of own-dead-anchor.html: a", '<p><a href="#nowhere">A</a></p>'),
    "outside": ("a link that leaves the site: a", '<p><a href="../x.html">A</a></p>'),
    "absolute": ("a link to this site by its public address: a", f'<p><a href="{HERE}/good.html">A</a></p>'),
}

def page(body): return f"<!doctype html><meta charset=utf-8><title>t</title><body style='margin:0'><main>{body}</main>"

@pytest.fixture(scope="module")
def said(tmp_path_factory):
    "What is found, by page, on one page for each finding and two without any."
    folder = tmp_path_factory.mktemp("site")
    (folder/"sub").mkdir()
    (folder/"dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>')
    pages = {"good": GOOD, "sub/index": "<p>Below.</p>", **{n.replace(" ", "-"): body for n, (_, body) in BAD.items()}}
    for name, body in pages.items(): (folder/f"{name}.html").write_text(page(body))
    found = {name: [] for name in pages}
    with check_site.Browser(check_site.chromium(), tmp_path_factory.mktemp("profile")) as browser:
        for name, width, what in check_site.findings(folder, browser, HERE):
            found[name.removesuffix(".html")].append(f"at {width} pixels: {what}" if width else what)
    return found

@needs_chromium
@pytest.mark.parametrize("name", BAD)
def test_what_a_reader_trips_over_is_found(said, name):
    found, says = said[name.replace(" ", "-")], BAD[name][0]
    assert any(f.startswith(says) for f in found) and all(says.split("pixels: ")[-1] in f for f in found), found

@needs_chromium
def test_a_sound_page_passes(said): assert said["good"] == said["sub/index"] == []

@needs_chromium
def test_findings_are_printed_and_fail(tmp_path, capsys):
    with pytest.raises(SystemExit, match="must hold a built site, found no page"): check_site.main(tmp_path)
    (tmp_path/"a.html").write_text(page("<p>Text.</p>"))
    check_site.main(tmp_path)
    (tmp_path/"b.html").write_text(page('<p id="p" style="width:600px">Text.</p>'))
    with pytest.raises(SystemExit, match="1 finding"): check_site.main(tmp_path)
    assert capsys.readouterr().out == 'every page is as it should be\nb.html at 390 pixels: wider than the page: p#p "Text."\n'

def test_without_a_chromium_nothing_is_checked(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    check_site.main("no such folder")
    assert capsys.readouterr().out == "skipped: none of chromium, google-chrome, google-chrome-stable, chromium-browser, chrome is on PATH\n"

def cell(source, outputs=(), **directives):
    return SimpleNamespace(cell_type="code", source=source, directives_=directives, get=lambda key, default=None: list(outputs))

PNG = {"output_type": "display_data", "data": {"image/png": ""}}

@pytest.mark.parametrize("made, says", [
    (cell("assert 1", test=["one_is_one"]), "Test: one is one"),
    (cell("def f(): pass", test=[]), "Helper of tests"),
    (cell("def f(): pass\nclass _A: pass", export=[]), "Source of f, _A"),
    (cell("from a import b\nX = 1", export=[]), "Imports"),
    (cell("X = 1", export=[]), "Source"),
    (cell("import torch\ntorch.manual_seed(0)\nx, y = 1, 2"), "Imports"),
    (cell("import a\nx = 1\ny = 2\nprint(x)"), None),
    (cell("plot(x)", [PNG]), "How this picture is drawn"),
    (cell("x = 1"), None), (cell(""), None)])
def test_what_is_folded(made, says): assert docs.fold(made) == says

def test_anchors_are_names_and_methods():
    code = "class KronTerms:\n    def empty(self):\n        def inner(): pass\n    def __len__(self): pass\ndef _one(): pass\nasync def two(): pass"
    assert list(docs.anchors(code)) == ["kronterms", "kronterms.empty", "_one", "two"]
