"""Load every page of the built site in headless Chromium, wide and as on a phone, and report what a reader would trip over.

    python tools/check_site.py [folder]        # _docs by default

Prints a line for each finding, with page, width and element, and exits 1 if there is any. Without a Chromium on PATH it says so and checks nothing.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from nbdev.config import get_config

WIDTHS = (1400, 390)  # CSS pixels: a desk, a phone
CHROMIUMS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser", "chrome")

SHARED = r"""
const label = e => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + [...e.classList].map(c => "." + c).join("")
  + " " + JSON.stringify((e.textContent || e.getAttribute("src") || "").trim().replace(/\s+/g, " ").slice(0, 60));
const shown = e => e.checkVisibility();
"""

# what depends on the width: the page must not scroll sideways, and nothing of it be cut off; the innermost elements that stick out
WIDE = SHARED + r"""
const clipped = e => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
  if (getComputedStyle(p).overflowX !== "visible") return true; return false; };
const out = e => e.getBoundingClientRect().right > innerWidth + 1 && shown(e) && !clipped(e);
const all = [...document.body.querySelectorAll("*")];
const wide = document.documentElement.scrollWidth <= innerWidth + 1 ? [] : all.filter(e => out(e) && ![...e.children].some(out)).slice(0, 3);
if (!wide.length && document.documentElement.scrollWidth > innerWidth + 1) wide.push(document.documentElement);
const cut = all.filter(e => e.closest("main") && ["hidden", "clip"].includes(getComputedStyle(e).overflowX)
  && e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1 && shown(e));
[...wide.map(e => ["wider than the page", label(e)]), ...cut.map(e => ["cut off", label(e)])]
"""

# what does not
PAGE = SHARED + r"""
const main = document.querySelector("main") || document.body, found = [], add = (what, e) => found.push([what, label(e)]);
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let t; t = texts.nextNode();) {
  if (t.parentElement.closest("code, pre, script, style, annotation, textarea, template")) continue;
  if (/\\[a-zA-Z]{2,}|\\[()\[\]]|\$\$|(^|[\s(])\$[^$\s]([^$\n]*[^$\s])?\$(?!\w)/.test(t.data)) add("raw TeX", t.parentElement);
  if (/\?@?(fig|tbl|eq|sec)-\w|^:::|\{[#.][a-z][\w-]*\}/.test(t.data)) add("raw markup", t.parentElement);
}
for (const e of document.querySelectorAll("merror, .math-error")) add("raw TeX", e);
for (const e of document.images) {
  if (!e.alt.trim() || e.alt.startsWith("No description has been provided")) add("a picture without alternative text", e);
  if (e.complete && !e.naturalWidth) add("a picture that does not load", e);
}
const heads = [...main.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(e => !e.closest("nav, header, footer, [role=navigation]"));
heads.forEach((h, i) => {
  const next = heads[i + 1], between = document.createRange();
  between.setStartAfter(h);
  next ? between.setEndBefore(next) : between.setEndAfter(main.lastChild);
  const part = between.cloneContents();
  for (const e of part.querySelectorAll("script, style, nav, footer")) e.remove();
  const empty = !part.textContent.trim() && !part.querySelector("img, svg, math, video, iframe");
  if (empty && (!next || +next.tagName[1] <= +h.tagName[1])) add("a heading with nothing under it", h);
});
for (const e of document.querySelectorAll("pre")) {
  const fold = e.closest("details"), name = fold ? fold.querySelector("summary").textContent.trim() : "";
  if (/^#\|/m.test(e.textContent)) add("a directive shown as code", e);
  const lines = e.textContent.split("\n").filter(s => /^[^\s#)\]}]/.test(s)), tests = lines.filter(s => /^(assert\b|with (pytest\.)?raises\b)/.test(s));
  if (tests.length && !/\w/.test(name.replace(/^Test:/, "")) && tests.length*2 >= lines.length) add("a test without a name", e);
}
for (const e of document.querySelectorAll("details[open]")) add("a fold that starts open", e.querySelector("summary") || e);
({found, ids: [...document.querySelectorAll("[id], a[name]")].flatMap(e => [e.id, e.getAttribute("name")]).filter(Boolean),
  links: [...document.querySelectorAll("a[href]")].map(e => [e.href, label(e)])})
"""

def chromium():
    "The first Chromium on PATH, or None."
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)

class Browser:
    "A headless Chromium with one tab, spoken to by its DevTools protocol over two pipes."
    def __init__(self, path, profile):
        (theirs_in, self.ours_out), (self.ours_in, theirs_out) = os.pipe(), os.pipe()
        # Chromium reads descriptor 3 and writes 4
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', path, "--headless", "--remote-debugging-pipe", "--no-sandbox",
             "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.last, self.rest, self.session = 0, b"", None
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        self.call("Page.enable")

    def _read(self):
        "The next message."
        while b"\0" not in self.rest:
            part = os.read(self.ours_in, 1 << 16)
            if not part: raise RuntimeError("Chromium has stopped")
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        "What Chromium answers to `method`."
        self.last += 1
        message = dict(id=self.last, method=method, params=params) | ({"sessionId": self.session} if self.session else {})
        data = json.dumps(message).encode() + b"\0"
        while data: data = data[os.write(self.ours_out, data):]
        while (answer := self._read()).get("id") != self.last: self.event(answer)
        if "error" in answer: raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def event(self, message):
        if message.get("method") == "Page.loadEventFired": self.loaded = True

    def width(self, pixels):
        self.call("Emulation.setDeviceMetricsOverride", width=pixels, height=900, deviceScaleFactor=1, mobile=False)

    def go(self, url):
        "Load a page and wait until all of it is there."
        self.loaded = False
        self.call("Page.navigate", url=url)
        while not self.loaded: self.event(self._read())

    def ask(self, script):
        "The value of a script in the page."
        # in a function of its own, so that a second script may use the same names
        answer = self.call("Runtime.evaluate", expression=f"{{{script}}}", returnByValue=True)
        if "exceptionDetails" in answer: raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"]["value"]

    def __enter__(self): return self

    def __exit__(self, *_):
        self.process.kill()   # asked to end, it may wait for ever until somebody reads its last events
        self.process.wait()
        os.close(self.ours_in)
        os.close(self.ours_out)

def dead(folder, links, ids, site):
    "Links of one page that lead nowhere: each with why. `ids` are the anchors of each page of `folder`, `site` is its public address."
    for href, element in links:
        url, anchor = urldefrag(href)
        if site and url.startswith(site): yield "a link to this site by its public address", element
        if urlsplit(url).scheme != "file": continue
        path = Path(unquote(urlsplit(url).path))
        if path.is_dir(): path /= "index.html"
        if not path.is_relative_to(folder): yield "a link that leaves the site", element
        elif not path.exists(): yield f"a dead link to {path.relative_to(folder).as_posix()}", element
        elif anchor and path in ids and unquote(anchor) not in ids[path] | {"top"}:
            yield f"a dead anchor {unquote(anchor)} of {path.relative_to(folder).as_posix()}", element

def findings(folder, browser, site=""):
    "Page, width and what is wrong, for every page of the site in `folder`; the width is 0 where it does not matter."
    folder = Path(folder).resolve()
    pages = sorted(folder.rglob("*.html"))
    ids, links = {}, {}
    for page in pages:
        name = page.relative_to(folder).as_posix()
        browser.width(WIDTHS[0])
        browser.go(page.as_uri())
        got = browser.ask(PAGE)
        ids[page], links[page] = set(got["ids"]), got["links"]
        for what, element in got["found"]: yield name, 0, f"{what}: {element}"
        for width in WIDTHS:
            browser.width(width)
            for what, element in browser.ask(WIDE): yield name, width, f"{what}: {element}"
    for page in pages:
        for what, element in dead(folder, links[page], ids, site): yield page.relative_to(folder).as_posix(), 0, f"{what}: {element}"

def main(folder):
    if not (path := chromium()): return print(f"skipped: none of {', '.join(CHROMIUMS)} is on PATH")
    if not sorted(Path(folder).rglob("*.html")): sys.exit(f"{folder} must hold a built site, found no page; run make docs")
    cfg, bad = get_config(), 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Browser(path, profile) as browser:
        for name, width, what in findings(folder, browser, f"{cfg.doc_host}{cfg.doc_baseurl}"):
            print(f"{name}{f' at {width} pixels' if width else ''}: {what}", flush=True)
            bad += 1
    if bad: sys.exit(f"{bad} finding{'s' * (bad > 1)}")
    print("every page is as it should be")

if __name__ == "__main__": main(sys.argv[1] if len(sys.argv) > 1 else get_config().doc_path)
