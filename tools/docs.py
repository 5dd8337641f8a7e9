"""Build the docs site in _docs/.

    python tools/docs.py

nbdev prepares the notebooks in _proc/ (hides cells, adds signatures and links). Quarto renders them where it is on PATH;
otherwise nbconvert writes a plain but readable preview of every page.
"""
import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml
from nbdev.config import get_config
from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
from nbdev.serve import proc_nbs

from check import leaves

STYLE = """<style>nav.pages{font:14px sans-serif;padding:.6em 1em;background:#f4f4f4;border-bottom:1px solid #ccc}
nav.pages a{margin-right:1em;white-space:nowrap} nav.pages b{margin-right:1em}</style>"""

def nav(pages, here):
    "Links to all pages, relative to the page `here`, which is not linked."
    def link(p):
        if p == here: return f"<b>{p[:-6]}</b>"
        return f'<a href="{os.path.relpath(p[:-6], os.path.dirname(here) or ".")}.html">{p[:-6]}</a>'
    return f'{STYLE}<nav class="pages">{" ".join(map(link, pages))}</nav>'

def preview(proc, docs):
    "Convert every notebook in `proc` to HTML in `docs`, with links between the pages."
    from nbconvert import HTMLExporter
    pages = [p for p in leaves(yaml.safe_load((proc/"sidebar.yml").read_text(encoding="utf-8"))["website"]["sidebar"])]
    for p in pages:
        html, _ = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True).from_filename(str(proc/p))
        html = re.sub(r'(href="(?![a-z]+:)[^"#]*)\.ipynb', r"\1.html", html)
        html = re.sub(r"(<body[^>]*>)", lambda m, p=p: m[1] + nav(pages, p), html, count=1)
        (docs/p).parent.mkdir(parents=True, exist_ok=True)
        (docs/p).with_suffix(".html").write_text(html, encoding="utf-8")
    for f in proc.rglob("*"):
        if f.suffix in {".png", ".svg", ".jpg", ".css", ".json"}:
            (docs/f.relative_to(proc)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f, docs/f.relative_to(proc))

def main():
    cfg = get_config()
    docs = Path(cfg.doc_path)
    refresh_quarto_yml()
    nbdev_sidebar.__wrapped__()
    proc = Path(proc_nbs(n_workers=0, force=True))
    shutil.rmtree(docs, ignore_errors=True)
    if quarto := shutil.which("quarto"):
        subprocess.run([quarto, "render", str(proc), "--no-execute"], check=True)
        shutil.move(proc/docs.name, docs)
        print(f"the site is in {docs.name}/index.html")
    else:
        docs.mkdir()
        preview(proc, docs)
        print(f"Quarto is not on PATH: {docs.name}/index.html is a plain preview made by nbconvert, not the site")

if __name__ == "__main__": main()
