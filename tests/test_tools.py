"Each tool fails when its thing is broken and passes when it is fine, seen on a small project made for the purpose."
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from forked import run_script
from nbdev.config import get_config
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/"tools"))

import check  # noqa: E402
import dist  # noqa: E402
import export_tests  # noqa: E402
import readme  # noqa: E402
import run_nbs  # noqa: E402

PLOT = "import matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 20\nplt.plot([0, 1])\nplt.show()"
A = ["# a\n\n> A module.", "@fig-line shows `@fig-none`, see [the index](index.ipynb).",
     ("code", "#| default_exp a"),
     ("code", "#| export\ndef one() -> int:\n    'One.'\n    return 1"),
     ("code", "#| test one\nassert one() == 1"),
     ("code", f"#| label: fig-line\n#| fig-cap: A line.\n{PLOT}")]
INDEX = ["# small\n\n> A project.", "Read [a](01_a.ipynb).", ("code", "print('printed')"), ("code", f"#| fig-cap: A line.\n{PLOT}")]

def write(path, cells):
    "Write a notebook: a string is a markdown cell, a pair is (type, source)."
    nb = dict(cells=[], metadata={}, nbformat=4, nbformat_minor=5)
    for i, c in enumerate(cells):
        kind, text = ("markdown", c) if isinstance(c, str) else c
        cell = dict(cell_type=kind, id=f"cell{i}", metadata={}, source=text.splitlines(True))
        if kind == "code": cell |= dict(execution_count=None, outputs=[])
        nb["cells"].append(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nb))

def change(path, f):
    "Let `f` change the notebook at `path` in place."
    nb = json.loads(path.read_text())
    f(nb["cells"])
    path.write_text(json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

def tool(root, name, *args, **env):
    "Run tools/<name>.py in the project `root`."
    return run_script(root, f"tools/{name}.py", *args, **env)

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")/"project"
    shutil.copytree(ROOT/"tools", root/"tools", ignore=shutil.ignore_patterns("__pycache__"))
    for f in ("settings.ini", ".gitignore", "_quarto.yml", "nbs/_quarto.yml", "nbs/styles.css"):
        (root/f).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT/f, root/f)
    said = (root/"settings.ini").read_text()
    (root/"settings.ini").write_text(re.sub("^floors = .*$", "floors = c | a b", said, flags=re.M))
    (root/"soka").mkdir()
    write(root/"nbs/index.ipynb", INDEX)
    write(root/"nbs/01_a.ipynb", A)
    write(root/"nbs/tutorials/first.ipynb", ["# first", ("code", "1 + 1")])
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    for name in ("sync", "run_nbs", "sync"):
        r = tool(root, name)
        assert r.returncode == 0, r.stderr
    return root

@pytest.fixture
def project(made, tmp_path): return Path(shutil.copytree(made, tmp_path/"project")).resolve()

def found(project, *names):
    "What the named checks, or all of them, say about `project`."
    return [p for c in check.CHECKS if not names or c.__name__ in names for p in c(project)]

def test_a_sound_project_passes(project):
    assert found(project) == []
    r = tool(project, "check")
    assert (r.returncode, r.stdout) == (0, "")

def test_check_exits_1_and_prints_each_problem(project):
    (project/"notes.md").write_text("[gone](gone.md) and [lost](lost.md)")
    r = tool(project, "check", "links")
    assert r.returncode == 1
    assert r.stdout.splitlines() == ["notes.md: link gone.md leads nowhere", "notes.md: link lost.md leads nowhere"]
    assert "unknown check" in tool(project, "check", "nothing").stderr

def test_check_leaves_the_project_as_it_is(project):
    (project/"soka/a.py").write_text("# edited by hand\n")
    before = {p: p.read_bytes() for p in project.rglob("*") if p.is_file()}
    assert tool(project, "check").returncode == 1
    after = {p: p.read_bytes() for p in project.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {p: b for p, b in before.items() if "__pycache__" not in p.parts} == after

@pytest.mark.parametrize("name", ["soka/a.py", "soka/_modidx.py", "tests/test_a.py", "README.md", "nbs/sidebar.yml"])
def test_an_edited_generated_file_is_found(project, name):
    (project/name).write_text((project/name).read_text() + "\n# edited\n")
    assert f"{name}: not what the notebooks give; run python tools/sync.py" in found(project, "generated")

@pytest.mark.parametrize("name", ["soka/a.py", "tests/test_a.py", "README.md"])
def test_a_missing_generated_file_is_found(project, name):
    (project/name).unlink()
    assert f"{name}: not what the notebooks give; run python tools/sync.py" in found(project, "generated")

@pytest.mark.parametrize("name", ["soka/old.py", "tests/test_old.py"])
def test_a_generated_file_without_its_notebook_is_found(project, name):
    shutil.copy(project/name.replace("old", "a"), project/name)
    assert f"{name}: not what the notebooks give; run python tools/sync.py" in found(project, "generated")

def test_hand_written_files_stay(project):
    for name in ("soka/hand.py", "tests/test_hand.py"): (project/name).write_text("x = 1\n")
    assert [p for p in found(project, "generated") if "hand" in p] == []

def test_an_unclean_notebook_is_found(project):
    change(project/"nbs/01_a.ipynb", lambda cells: cells[2].update(execution_count=3))
    assert "nbs/01_a.ipynb: not what the notebooks give; run python tools/sync.py" in found(project, "generated")

def test_a_notebook_that_cannot_be_exported_is_found(project):
    change(project/"nbs/01_a.ipynb", lambda cells: cells[4].update(source=["#| test not a name\n", "pass"]))
    assert "tools/sync.py fails: ValueError: a test name must be an identifier" in found(project, "generated")[0]

def test_changed_code_needs_a_new_run(project):
    change(project/"nbs/01_a.ipynb", lambda cells: cells[5].update(source=[PLOT + "\n", "plt.title('new')"]))
    assert found(project, "executed") == ["nbs/01_a.ipynb: code changed since outputs were stored; run python tools/run_nbs.py nbs/01_a.ipynb"]
    assert tool(project, "run_nbs", "nbs/01_a.ipynb").returncode == 0
    assert found(project, "executed") == []

def test_changed_prose_needs_no_new_run(project):
    change(project/"nbs/01_a.ipynb", lambda cells: cells[1]["source"].append("\nMore."))
    assert found(project, "executed") == []

def test_a_stored_error_is_found(project):
    error = dict(output_type="error", ename="E", evalue="e", traceback=[])
    change(project/"nbs/01_a.ipynb", lambda cells: cells[2].update(outputs=[error]))
    assert found(project, "executed") == ["nbs/01_a.ipynb: cell cell2 stores an error"]

@pytest.mark.parametrize("size, says", [(50_000, []), (50_001, ["warning: {}: a picture should be at most 50000 bytes, got 50001"]),
                                        (100_001, ["{}: a picture must be at most 100000 bytes, got 100001"])])
def test_large_pictures_are_found(project, size, says):
    def grow(cells): cells[5]["outputs"][0]["data"]["image/png"] = base64.b64encode(bytes(size)).decode()
    change(project/"nbs/01_a.ipynb", grow)
    assert found(project, "pictures") == [s.format("nbs/01_a.ipynb: cell cell5") for s in says]
    (project/"nbs/images/big.png").write_bytes(bytes(size))
    assert found(project, "pictures")[len(says):] == [s.format("nbs/images/big.png") for s in says]

def test_a_warning_alone_passes(project):
    (project/"nbs/images/big.png").write_bytes(bytes(60_000))
    r = tool(project, "check", "pictures")
    assert r.returncode == 0 and r.stdout.startswith("warning: nbs/images/big.png")

A_LINE = "from .c import x\n"

@pytest.mark.parametrize("files, said", [
    ({"a.py": A_LINE, "c.py": "x = 1\n"}, "soka/a.py: a may use rooms below it, got c of c"),
    ({"a.py": "from . import b\n", "b.py": ""}, "soka/a.py: a may use rooms below it, got b of b"),
    ({"c/__init__.py": "", "c/d.py": "from .e import x\nx = 1\n", "c/e.py": "def f():\n    from .d import x\n"}, "soka/c/d.py: a circle of imports, by way of c.e"),
    ({"c.py": "from .a import _one\n"}, "soka/c.py: a private name is for its own room, got _one of a"),
    ({"a.py": "x = 1\n"*351}, "soka/a.py: a module must have at most 350 lines, got 351"),
    ({"a.py": "__all__ = ['lonely']\ndef lonely(): pass\n"}, "soka/a.py: a public name must be of use to others or told on a page, got lonely; call it _lonely"),
    ({"d.py": ""}, "settings.ini: floors must name every room, got none for d")])
def test_walls_between_rooms(project, files, said):
    assert found(project, "rooms") == []
    for f, text in files.items():
        (project/"soka"/f).parent.mkdir(exist_ok=True)
        (project/"soka"/f).write_text(text)
    assert said in found(project, "rooms")

def test_hints_are_no_arrows_and_a_room_keeps_private_names_to_itself(project):
    (project/"soka/a.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING: from .c import x\n")
    (project/"soka/c").mkdir()
    (project/"soka/c/__init__.py").write_text("x = 1\n")
    (project/"soka/c/d.py").write_text("from .e import _two\n")
    (project/"soka/c/e.py").write_text("_two = 2\n")
    assert found(project, "rooms") == []

def test_the_drawing_of_the_rooms_is_that_of_the_code(project):
    (project/"CONTRIBUTING.md").write_text("```rooms\nold\n```\n")
    assert found(project, "rooms") == ["CONTRIBUTING.md: the drawing of the rooms is not that of the code; run python tools/rooms.py"]
    (project/"soka/c.py").write_text("from .a import one\n")
    assert tool(project, "rooms").returncode == 0 and found(project, "rooms") == []
    assert (project/"CONTRIBUTING.md").read_text() == "```rooms\n1  c         a\n0  a\n0  b\n```\n"

def test_a_notebook_must_not_grow(project):
    write(project/"nbs/01_a_tests.ipynb", ["# a: tests\n\n> More.\n\n- skip_exec: true", ("code", "#| test long\n" + "x = 1\n"*601)])
    assert found(project, "rooms") == ["nbs/01_a_tests.ipynb: a notebook must have at most 600 lines of code, got 601"]

def test_a_companion_is_on_no_page_and_its_tests_are_extracted(project):
    write(project/"nbs/01_a_tests.ipynb", ["# a: tests\n\n> More.\n\n- skip_exec: true", ("code", "#| helper\nfrom soka.a import one"), ("code", "#| test two\nassert one() == 1")])
    assert tool(project, "sync").returncode == 0
    assert "01_a_tests" not in (project/"nbs/sidebar.yml").read_text() and "def test_two" in (project/"tests/test_a_tests.py").read_text()
    assert found(project, "executed") == [] and found(project, "sidebar") == []

def test_private_names_reach_the_tests_of_their_module(project):
    change(project/"nbs/01_a.ipynb", lambda cells: (cells[3].update(source=["#| export\n", "def _one(): return 1"]), cells[4].update(source=["#| test one\n", "assert _one() == 1"])))
    assert tool(project, "sync").returncode == 0 and "from soka.a import *\nfrom soka.a import _one\n" in (project/"tests/test_a.py").read_text()

def test_the_sidebar_must_list_every_notebook(project):
    yml = project/"nbs/sidebar.yml"
    yml.write_text(yml.read_text().replace("tutorials/first.ipynb", "tutorials/second.ipynb"))
    assert found(project, "sidebar") == ["nbs/sidebar.yml: does not list tutorials/first.ipynb",
                                         "nbs/sidebar.yml: lists tutorials/second.ipynb, which does not exist"]

def test_the_sidebar_groups_pages_as_settings_say(project):
    write(project/"nbs/a/01_x.ipynb", ["# x\n\n> A page of a room.", ("code", "1")])
    write(project/"nbs/other.ipynb", ["# other\n\n> Named nowhere.", ("code", "1")])
    ini = project/"settings.ini"
    ini.write_text(re.sub(r"^reading =\n(    .*\n)+", "reading =\n    Start here: index tutorials/first\n    Rooms: a tutorials\n", ini.read_text(), flags=re.M))
    assert tool(project, "sync").returncode == 0
    bar = yaml.safe_load((project/"nbs/sidebar.yml").read_text())["website"]["sidebar"]["contents"]
    assert bar == [{"section": "Start here", "contents": ["index.ipynb", "tutorials/first.ipynb"]},
                   {"section": "Rooms", "contents": [{"section": "a", "contents": ["a/01_x.ipynb"]}]},
                   {"section": "Reference", "contents": ["01_a.ipynb", "other.ipynb"]}]
    assert found(project, "sidebar") == []

PNG = dict(output_type="display_data", metadata={}, data={"image/png": "aGk="})
def spine_page(project, name, *, ask="What is it?", alt="fig-alt: A dot.", lines=10, words=1600, first=PNG, last="See [b](02_b.ipynb)."):
    "A page of the spine, sound unless told otherwise."
    write(project/f"nbs/learn/{name}.ipynb", [f"# {name}\n\n> A claim.", ask, ("code", f"#| {alt}\n" + "f(1, 2)\n"*lines), "word "*words, f"## What to remember\n\nThis. {last}"])
    change(project/f"nbs/learn/{name}.ipynb", lambda cells: cells[2].update(outputs=[first]))

def test_a_sound_spine_passes(project):
    spine_page(project, "01_a")
    spine_page(project, "02_b", last="The end.")
    assert found(project, "spine") == []

@pytest.mark.parametrize("flaw, says", [
    (dict(ask="It is so. And then?\n\nNo?"), None), (dict(ask="It is so.\n\nIs it?"), "the first paragraph after the title must ask the page's question"),
    (dict(first=dict(output_type="stream", name="stdout", text=["1"])), "the first output must be a picture"),
    (dict(alt="fig-cap: A dot."), "cell cell2: a picture must say in `#| fig-alt:` what is seen"),
    (dict(lines=600, words=1000), "at least 3 words of prose for each line of code, got 1015 for 600 lines"),
    (dict(words=900), "words of prose and code must be 1,500 to 3,500, got 935"), (dict(words=3600), "words of prose and code must be 1,500 to 3,500, got 3,635"),
    (dict(last="No link."), "must end with a link to 02_b.ipynb")])
def test_a_spine_page_keeps_its_limits(project, flaw, says):
    spine_page(project, "01_a", **flaw)
    spine_page(project, "02_b", last="The end.")
    assert found(project, "spine") == [f"nbs/learn/01_a.ipynb: {says}"]*bool(says)

def test_a_spine_page_ends_with_what_to_remember(project):
    spine_page(project, "01_a")
    change(project/"nbs/learn/01_a.ipynb", lambda cells: cells[4].update(source=["## The end\n"]))
    assert found(project, "spine") == ["nbs/learn/01_a.ipynb: the last cell of prose must be `## What to remember`"]

def test_references_need_a_label(project):
    def break_all(cells):
        cells[5]["source"] = [PLOT]
        cells[1]["source"].append(" @eq-sum, @sec-end and @tbl-two are missing, [@sec-here] is not. me@fig-mail.org\n## Here {#sec-here}")
    change(project/"nbs/01_a.ipynb", break_all)
    assert found(project, "references") == [f"nbs/01_a.ipynb: @{r} has no label in this notebook"
                                            for r in ("eq-sum", "fig-line", "sec-end", "tbl-two")]

def test_a_label_is_given_once(project):
    change(project/"nbs/01_a.ipynb", lambda cells: cells[1]["source"].append("\n\n$$x$$ {#eq-x}\n\n$$y$$ {#eq-x}"))
    assert found(project, "references") == ["nbs/01_a.ipynb: label eq-x is given more than once"]

@pytest.mark.parametrize("text", ["# a\n\n> A claim.\n\nProse.", "# a\n> A claim\n> on two lines.", "Prose."])
def test_a_title_cell_holds_title_and_claim_only(project, text):
    change(project/"nbs/01_a.ipynb", lambda cells: cells[0].update(source=[text]))
    assert [p[:60] for p in found(project, "titles")] == ["nbs/01_a.ipynb: a title cell must hold `# title` and one lin"]

@pytest.mark.parametrize("text", ["[a](gone.ipynb)", "![a](images/gone.png)", '<img src="gone.png">', "[a]: gone.md", "[a](../../outside.md)",
                                  "[a](gone.ipynb#part)"])
def test_dead_links_are_found(project, text):
    (project.parent/"outside.md").write_text("exists, but is no part of the project")
    change(project/"nbs/01_a.ipynb", lambda cells: cells[1]["source"].append("\n\n" + text))
    assert len(found(project, "links")) == 1
    (project/"nbs/note.md").write_text(text)
    assert len(found(project, "links")) == 2

@pytest.mark.parametrize("text", ["[a](01_a.ipynb#part)", "[a](#part)", "[a](https://example.org/x)", "`[a](gone.md)`", "```\n[a](gone.md)\n```",
                                  "[a](tutorials)", "[a](mailto:a@example.org)"])
def test_good_links_pass(project, text):
    (project/"nbs/note.md").write_text(text)
    assert found(project, "links") == []

def test_a_link_to_an_ignored_file_is_dead(project):
    (project/"runs").mkdir()
    (project/"runs/log.md").write_text("local")
    (project/"note.md").write_text("[log](runs/log.md)")
    assert found(project, "links") == ["note.md: link runs/log.md leads nowhere"]

@pytest.mark.parametrize("path", ["/ro" + "ot/x", "/wo" + "rk/x", "/ho" + "me/ann/x", "/Us" + "ers/ann/x", "/tm" + "p/tmpab12_xyz/x"])
def test_machine_paths_are_found(project, path):
    change(project/"nbs/01_a.ipynb", lambda cells: cells[1]["source"].append(f"\nsaved in {path}"))
    assert [p.split(": ")[1][:12] for p in found(project, "machine_paths")] == ["machine path"]

def test_other_paths_pass(project):
    (project/"note.md").write_text("https://example.org/ro" + "ot/x and ../wo" + "rk/x and /home and artwo" + "rk/x")
    assert found(project, "machine_paths") == []

@pytest.mark.parametrize("text, written", [
    ("The loss is 1.26.", "1.26"), ("It is 1.254.", "1.254"), ("It took 7.6%.", "7.6%"), ("Of 1,235 rows.", "1,235"),
    ("With 2 thousand.", "2 thousand"), ("It is 1.4 times that.", "1.4"), ("- one\n- 31%", "31%"), ("| a | 0.4 |\n|---|---|", "0.4"), ("About 0.98M.", "0.98M")])
def test_a_number_that_no_output_shows_is_found(project, text, written):
    write(project/"nbs/02_b.ipynb", ["# b", "## One", ("code", "x"), text, "## Two", ("code", "y")])
    def show(cells):
        cells[2]["outputs"] = [dict(output_type="stream", name="stdout", text=["loss 1.2549, 7.45%, 1,234 rows of 0.99M"])]
        cells[5]["outputs"] = [dict(output_type="stream", name="stdout", text=[f"{written.split()[0].replace(',', '')} is far away"])]
    change(project/"nbs/02_b.ipynb", show)
    assert found(project, "numbers") == [f"nbs/02_b.ipynb: cell cell3: no output near it shows {written}"]

@pytest.mark.parametrize("text", [
    "The loss is 1.25, or 1.3, or 1.", "It took 7% or 7.4%.", "Of 1,234 rows, about 1.2 thousand.", "A share of 12.5%.", "Of 0.99 million.",
    "A rate of 0.02.", "Python 3.11, arXiv 2506.15251, llama-7.5 and LLaMA2-7B, in 2025.", "It is $0.77$ or `0.77`.", "> They found 0.77.",
    "A rate of 0.5:\n\n```sh\ntrain --rate 0.5\n```", "They report 0.77 ([Chong and Qu](https://arxiv.org/abs/2506.15251))."])
def test_numbers_that_are_shown_or_are_none_pass(project, text):
    write(project/"nbs/02_b.ipynb", ["# b", ("code", "rate = 0.02"), text, "## What we learned", "The loss is 1.25."])
    shown = dict(output_type="stream", name="stdout", text=["loss 1.2549, 7.4%, 1,234 rows of 0.99M, 0.125"])
    def show(cells): cells[1]["outputs"] = [shown]
    change(project/"nbs/02_b.ipynb", show)
    assert found(project, "numbers") == []

# the folder beside the repository, whose name no file may hold
NEAR = "sha" + "red"

@pytest.mark.parametrize("text", [f"data: ../{NEAR}/data/x.jsonl", f'Path(__file__).parents[2]/"{NEAR}"/"models"', f"root/'{NEAR}/data'",
                                  f'Path(up)/\\"{NEAR}/models\\"'])
def test_a_folder_beside_the_repository_is_found(project, text):
    for name in ("a.yaml", ".ci/run"):
        (project/name).parent.mkdir(exist_ok=True)
        (project/name).write_text(f"{text}\n")
    assert [p.split(", ")[0] for p in found(project, "beside")] == ["a.yaml:1: a folder beside the repository"]

def test_other_uses_of_that_word_pass(project):
    (project/"note.md").write_text(f"A budget {NEAR} out evenly, [{NEAR}](19_share.ipynb), {{'{NEAR}': 1}}\n")
    assert found(project, "beside") == []

@pytest.mark.parametrize("text", ["pip install " + "soka", "pip install -q '" + "soka[eval]'",
                                  'pip install "soka @ git+https://example.org/a/soka"', 'pip install "soka[eval] @ git+https://example.org/a/soka"'])
def test_an_install_by_the_bare_name_is_found(project, text):
    for name in ("note.md", "soka/hand.py", "tools/hand.py"): (project/name).write_text(f"# {text}\n")
    assert [p.split(": ")[0] for p in found(project, "installs")] == ["note.md:1", "soka/hand.py:1"]

@pytest.mark.parametrize("text", ['pip install "soka @ git+https://github.com/soka-kpsvd/soka"', 'pip install "soka[smollm2,eval] @ git+https://github.com/soka-kpsvd/soka"',
                                  "pip install -e .", "pip install sokan",
                                  "pip install lm-eval"])
def test_other_installs_pass(project, text):
    (project/"note.md").write_text(text)
    assert found(project, "installs") == []

@pytest.mark.parametrize("text", ["pip install --index-url=" + "https://pypi.example.org/x a", "PIP_INDEX_URL=" + "http://10.0.0.1/sim" + "ple",
                                  "find-links = " + "/opt/wheels", "https://mirror.example.org" + "/pypi/simple/torch",
                                  "npm config set registry " + "https://npm.example.org/"])
def test_a_private_registry_is_found(project, text):
    (project/"note.md").write_text(text)
    assert [p.split(", ")[0] for p in found(project, "registries")] == ["note.md:1: a package registry that is not public"]

@pytest.mark.parametrize("text", ["pip install --index-url https://download.pytorch.org/whl/cpu torch", "https://pypi.org/simple/torch",
                                  "a registry of data"])
def test_public_registries_pass(project, text):
    (project/"note.md").write_text(text)
    assert found(project, "registries") == []

def matrix(*versions): return "python: [" + ", ".join(f'"{v}"' for v in versions) + "]\n"

@pytest.mark.parametrize("name, text, says", [
    ("ruff.toml", 'target-version = "py310"\n', "ruff.toml:1: target-version must be that of min_python = 3.11, got 3.10"),
    ("note.md", "Python 3.10 or newer", "note.md:1: Python 3.10 or newer, where settings.ini says 3.11 3.12 3.13"),
    ("note.md", "Python 3.12 or newer", "note.md:1: Python 3.12 or newer, where settings.ini says 3.11 3.12 3.13"),
    (".github/workflows/b.yaml", 'with: {python-version: "3.10"}\n', ".github/workflows/b.yaml:1: Python 3.10 is not one of 3.11 3.12 3.13"),
    (".github/workflows/a.yaml", matrix("3.11", "3.12"),
     ".github/workflows: no matrix has the versions of settings.ini, 3.11 3.12 3.13")])
def test_versions_of_python_that_disagree_are_found(project, name, text, says):
    (project/".github/workflows").mkdir(parents=True)
    (project/".github/workflows/a.yaml").write_text(matrix("3.11", "3.12", "3.13"))
    (project/"ruff.toml").write_text('target-version = "py311"\n')
    assert found(project, "pythons") == []
    (project/name).write_text(text)
    assert found(project, "pythons") == [says]

def test_min_python_is_the_first_of_the_list(project):
    ini = project/"settings.ini"
    ini.write_text(ini.read_text().replace("min_python = 3.11", "min_python = 3.12"))
    assert found(project, "pythons")[0] == "settings.ini: min_python must be the first of pythons, 3.11, got 3.12"

def wheel(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as z:
        for name, text in files.items(): z.writestr(name, text)
    return path

def wheel_files(project, lib="soka"):
    "The files that a wheel of `project` must hold."
    names = [f.relative_to(project).as_posix() for f in dist.project_files(project) if f.is_relative_to(project/lib)]
    return dict.fromkeys([*names, "soka-0.1.0.dist-info/METADATA", "soka-0.1.0.dist-info/licenses/LICENSE"], "x")

@pytest.mark.parametrize("change, says", [
    (lambda d: None, []),
    (lambda d: d.pop("soka/a.py"), ["soka/a.py is missing"]), (lambda d: d.pop("soka/py.typed"), ["soka/py.typed is missing"]),
    (lambda d: d.pop("soka/base/config.json"), ["soka/base/config.json is missing"]),
    (lambda d: d.pop("soka/evals/e.yaml"), ["soka/evals/e.yaml is missing"]),
    (lambda d: d.pop("soka-0.1.0.dist-info/licenses/LICENSE"), ["LICENSE is missing"]),
    (lambda d: d.update({"tests/test_a.py": "x", "nbs/01_a.ipynb": "x"}),
     ["nbs/01_a.ipynb must not be there", "tests/test_a.py must not be there"])])
def test_a_wheel_with_missing_or_extra_files_is_found(project, change, says):
    for name in ("py.typed", "base/config.json", "evals/e.yaml"):
        (project/"soka"/name).parent.mkdir(exist_ok=True)
        (project/"soka"/name).write_text("x")
    change(files := wheel_files(project))
    path = wheel(project/"dist/soka-0.1.0-py3-none-any.whl", files)
    assert list(dist.missing_or_extra(path, project, "soka")) == [f"{path.name}: {s}" for s in says]

def test_a_source_distribution_that_builds_another_wheel_is_found(project):
    a = wheel(project/"dist/soka-0.1.0-py3-none-any.whl", files := wheel_files(project))
    assert list(dist.differences(a, wheel(project/"dist/direct/soka.whl", files))) == []
    b = wheel(project/"dist/direct/soka.whl", files | {"soka/a.py": "y"})
    says = "soka/a.py differs between the wheel of the project and that of the source distribution"
    assert list(dist.differences(a, b)) == [f"{a.name}: {says}"]

@pytest.mark.slow  # `build` installs what a build needs into an environment of its own
def test_dist_builds_the_project_and_fails_without_settings(tmp_path):
    for f in dist.project_files(ROOT):
        (tmp_path/f.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f, tmp_path/f.relative_to(ROOT))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    r = tool(tmp_path, "dist")
    assert r.returncode == 0, r.stdout + r.stderr
    assert sorted(p.suffix for p in (tmp_path/"dist").iterdir()) == [".gz", ".whl"] and r.stdout.count("PASSED") == 2
    (tmp_path/"MANIFEST.in").unlink()   # the source distribution then has no settings.ini
    r = tool(tmp_path, "dist")
    assert r.returncode == 1 and "failed: build" in r.stderr
    (tmp_path/"MANIFEST.in").write_text("include settings.ini\n")
    (tmp_path/"setup.py").write_text((tmp_path/"setup.py").read_text().replace('"text/markdown"', '"text/x-rst"'))
    r = tool(tmp_path, "dist")
    assert r.returncode == 1 and "failed: twine check" in r.stderr

RUN = [("code", "#| eval: false\nraise SystemError"), ("code", "#| slow\nprint('slow')"),
       ("code", "import sys\nprint('kept')\nprint('50%\\r100%')\nprint('noise', file=sys.stderr)\nobject()"),
       ("code", "sorted({hash(c) for c in 'abc'})")]

def stored(path): return [c.get("outputs") for c in json.loads(path.read_text())["cells"]]

def test_run_nbs_stores_only_what_is_stable(project):
    nb = project/"nbs/tutorials/run.ipynb"
    write(nb, RUN)
    assert tool(project, "run_nbs", str(nb)).returncode == 0
    first = nb.read_bytes()
    unrun, slow, printed, _ = stored(nb)
    assert unrun == [] and slow == []
    assert printed[0] == dict(output_type="stream", name="stdout", text=["kept\n", "100%\n"])
    assert printed[1]["data"]["text/plain"] == ["<object>"]
    assert tool(project, "run_nbs", str(nb)).returncode == 0
    assert nb.read_bytes() == first

def test_run_nbs_all_runs_flagged_cells_and_a_later_run_keeps_them(project):
    nb = project/"nbs/tutorials/run.ipynb"
    write(nb, RUN)
    assert tool(project, "run_nbs", "--all", str(nb)).returncode == 0
    assert stored(nb)[1][0]["text"] == ["slow\n"]
    first = nb.read_bytes()
    assert tool(project, "run_nbs", str(nb)).returncode == 0
    assert nb.read_bytes() == first
    assert found(project, "executed") == []

def test_run_nbs_takes_away_what_a_cell_no_longer_shows(project):
    nb = project/"nbs/tutorials/run.ipynb"
    write(nb, [("code", "print('once')"), ("code", "#| test one\nprint('of a test')")])
    assert tool(project, "run_nbs", str(nb)).returncode == 0
    assert stored(nb)[0][0]["text"] == ["once\n"] and stored(nb)[1] == []
    change(nb, lambda cells: cells[0].update(source=["x = 1"]))
    assert tool(project, "run_nbs", str(nb)).returncode == 0
    assert stored(nb) == [[], []]

def test_run_nbs_fails_and_stores_nothing_when_a_cell_fails(project):
    nb = project/"nbs/tutorials/run.ipynb"
    write(nb, [("code", "1"), ("code", "raise RuntimeError('broken')")])
    before = nb.read_bytes()
    r = tool(project, "run_nbs", str(nb))
    assert r.returncode == 1 and "broken" in r.stderr and str(nb) in r.stderr
    assert nb.read_bytes() == before

def test_run_nbs_leaves_a_skip_exec_notebook(project):
    nb = project/"nbs/tutorials/run.ipynb"
    write(nb, ["# Title\n\n- skip_exec: true", ("code", "raise RuntimeError")])
    assert tool(project, "run_nbs", str(nb)).returncode == 0
    assert stored(nb)[1] == []

REGISTRY_STUB = "import os\nREGISTRY = {'rows': 1, 'base': 2}\ndef find_data(name): return name in os.environ.get('HERE', '').split()\n"
DATA = ["# t\n\n> A page.", ("code", "#| test one\nx = 1"), ("code", "#| data rows\nprint('rows')"), ("code", "#| data rows base\nprint('both')"),
        ("code", "#| needs no_such_module\nimport no_such_module"), ("code", "#| needs json\nimport json\nprint('json')"), ("code", "print('always')")]

def texts(nb): return ["".join(o["text"]) for c in stored(nb) for o in c or ()]

@pytest.mark.slow
def test_cells_that_need_data_run_where_it_is_and_keep_their_outputs_elsewhere(project):
    nb = project/"nbs/tutorials/run.ipynb"
    (project/"soka/data").mkdir()
    (project/"soka/data/registry.py").write_text(REGISTRY_STUB)
    write(nb, DATA)
    here = dict(PYTHONPATH=str(project))
    assert tool(project, "run_nbs", str(nb), HERE="rows", **here).returncode == 0 and texts(nb) == ["rows\n", "json\n", "always\n"]
    assert ["code that needs data changed" in p for p in found(project, "executed")] == [True]
    assert tool(project, "run_nbs", str(nb), HERE="rows base", **here).returncode == 0
    first = nb.read_bytes()
    assert texts(nb) == ["rows\n", "both\n", "json\n", "always\n"] and found(project, "executed") == []
    assert tool(project, "run_nbs", str(nb), HERE="", **here).returncode == 0 and nb.read_bytes() == first
    change(nb, lambda cells: cells[3].update(source=["#| data rows base\n", "print('two')"]))
    assert tool(project, "run_nbs", str(nb), HERE="", **here).returncode == 0
    assert [p.partition(": ")[2] for p in found(project, "executed")] == ["code that needs data changed since outputs were stored; run python tools/run_nbs.py nbs/tutorials/run.ipynb where `soka data` finds it"]

@pytest.mark.slow
def test_nbdev_test_leaves_tests_to_pytest_and_shows_what_depends_on_them(project):
    nb = project/"nbs/tutorials/run.ipynb"
    (project/"soka/data").mkdir()
    (project/"soka/data/registry.py").write_text(REGISTRY_STUB)
    write(nb, [("code", "#| test\ndef two(): return 2"), ("code", "#| test bad\nassert False"), ("code", "#| helper\ndef three(): return 3"),
               ("code", "#| data rows\nassert three() == 4"), ("code", "three()")])
    here = dict(PYTHONPATH=str(project))
    r = tool(project, "test_nbs", HERE="", **here)
    assert r.returncode == 0 and "cells that need data: left out, rows not here" in r.stdout, r.stderr
    for args in ((), ("--data",)):
        r = tool(project, "test_nbs", *args, HERE="rows", **here)
        assert r.returncode == 1 and "assert three() == 4" in r.stderr
    assert "--data needs some of it" in tool(project, "test_nbs", "--data", HERE="", **here).stderr
    write(project/"nbs/tutorials/other.ipynb", ["# o\n\n> A page.", ("code", "#| data base\nassert False, 'not here'")])
    r = tool(project, "test_nbs", "--data", HERE="rows", **here)     # the pages whose data are here, and no other
    assert r.returncode == 1 and "assert three() == 4" in r.stderr and "not here" not in r.stderr
    (project/"nbs/tutorials/other.ipynb").unlink()
    change(nb, lambda cells: cells[4].update(source=["two()"]))
    r = tool(project, "test_nbs", HERE="", **here)
    assert r.returncode == 1 and "name 'two' is not defined" in r.stderr
    change(nb, lambda cells: cells[4].update(source=["#| slow\n", "two()"]))
    assert tool(project, "test_nbs", HERE="", **here).returncode == 0
    r = tool(project, "test_nbs", "--slow", HERE="", **here)
    assert r.returncode == 1 and "name 'two' is not defined" in r.stderr

def test_a_cell_that_skips_itself_is_found(project):
    write(project/"nbs/tutorials/run.ipynb", ["# t\n\n> A page.", ("code", "#| test one\nimport pytest\npytest.importorskip('json')")])
    assert found(project, "skips") == ["nbs/tutorials/run.ipynb: cell cell1 skips itself; mark it with what it needs, as `#| needs module`"]

def test_stable_drops_widgets():
    widget = dict(output_type="display_data", data={"application/vnd.jupyter.widget-view+json": {}})
    assert run_nbs.stable([widget]) == []

def test_extracted_tests_run_and_checks_notice_a_change(project):
    text = (project/"tests/test_a.py").read_text()
    assert text.startswith("# AUTOGENERATED! DO NOT EDIT! File to edit: ../nbs/01_a.ipynb.\n\nfrom soka.a import *\n")
    assert text.endswith("def test_one():\n    assert one() == 1\n")
    r = subprocess.run([sys.executable, "-m", "pytest", "-q", "tests"], cwd=project, capture_output=True, text=True,
                       env=os.environ | dict(PYTHONPATH=str(project)))
    assert r.stdout.strip().splitlines()[-1].startswith("1 passed")
    assert tool(project, "export_tests", "--check").returncode == 0
    change(project/"nbs/01_a.ipynb", lambda cells: cells[4].update(source=["#| test one\n", "assert one() != 2"]))
    assert "out of date: test_a.py" in tool(project, "export_tests", "--check").stderr
    assert tool(project, "export_tests").returncode == 0
    assert tool(project, "export_tests", "--check").returncode == 0

def test_export_keeps_strings_and_marks(project):
    write(project/"nbs/02_b.ipynb", [("code", "#| default_exp sub.b"), ("code", "#| test\nimport re"),
                                     ("code", '#| test text\n#| slow\n#| cuda\ns = """x\ny"""\n\nassert len(s) == 3')])
    text = export_tests.export_tests(project)["test_sub_b.py"]
    assert "from soka.sub.b import *" in text and "\nimport re\n" in text and "\nimport pytest\n" in text
    assert text.endswith('@pytest.mark.slow\n@pytest.mark.cuda\ndef test_text():\n    s = """x\ny"""\n\n    assert len(s) == 3\n')
    write(project/"nbs/02_b.ipynb", [("code", "#| default_exp b"), ("code", "#| helper\ny = 1"), ("code", "#| data rows base\n#| test text\npass")])
    assert export_tests.export_tests(project)["test_b.py"].endswith("cell1\ny = 1\n\n\n# %% ../nbs/02_b.ipynb #cell2\n@pytest.mark.data('rows', 'base')\ndef test_text():\n    pass\n")

def test_a_notebook_without_a_module_names_its_test_file(project):
    for f in ("02_b", "tutorials/03_c"): write(project/f"nbs/{f}.ipynb", [("code", "#| test\nimport re"), ("code", "#| test one\npass")])
    made = export_tests.export_tests(project)
    assert {"test_b.py", "test_tutorials_c.py"} <= made.keys()
    head = "# AUTOGENERATED! DO NOT EDIT! File to edit: ../nbs/02_b.ipynb.\n\n# %% ../nbs/02_b.ipynb #cell0\nimport re\n"
    assert made["test_b.py"].startswith(head) and made["test_b.py"].endswith("def test_one():\n    pass\n")

def test_export_overwrites_nothing(project):
    (project/"tests/test_b.py").write_text("# by hand")
    write(project/"nbs/02_b.ipynb", [("code", "#| test one\npass")])
    r = tool(project, "export_tests")
    assert r.returncode == 1 and "written by hand, so not overwritten: test_b.py" in r.stderr and (project/"tests/test_b.py").read_text() == "# by hand"
    write(project/"nbs/03_b.ipynb", [("code", "#| test one\npass")])
    with pytest.raises(ValueError, match="two notebooks must not share a test file, got test_b.py again in 03_b.ipynb"): export_tests.export_tests(project)

@pytest.mark.parametrize("cells, says", [
    ([("code", "#| default_exp b"), ("code", "#| test two words\npass")], "a test name must be an identifier, got 'two words' in 02_b.ipynb"),
    ([("code", "#| default_exp b"), ("code", "#| test one\n#| data\npass")], "a cell marked data must name what it needs, got none in cell cell1"),
    ([("code", "#| default_exp b"), *[("code", "#| test one\npass")] * 2], "a test name must be unique in its notebook, got 'one' twice in 02_b.ipynb")])
def test_export_refuses_bad_test_cells(project, cells, says):
    write(project/"nbs/02_b.ipynb", cells)
    with pytest.raises(ValueError, match=says): export_tests.export_tests(project)

def test_readme_is_made_from_the_index(project):
    text, pictures = (project/"README.md").read_text(), sorted((project/"nbs/images").glob("*.png"))
    assert "[a](nbs/01_a.ipynb)" in text and "```python\nprint('printed')\n```\n\n```\nprinted\n```" in text
    assert text.endswith("![A line.](nbs/images/index-cell3.png)\n") and "#|" not in text
    assert [p.name for p in pictures] == ["index-cell3.png"] and pictures[0].read_bytes()[1:4] == b"PNG"
    assert tool(project, "readme", "--check").returncode == 0

def test_readme_check_notices_text_and_pictures(project):
    (project/"README.md").write_text("edited")
    (project/"nbs/images/index-old.png").write_bytes(b"old")
    (project/"nbs/images/index-cell3.png").write_bytes(b"edited")
    r = tool(project, "readme", "--check")
    assert r.returncode == 1
    assert "out of date: README.md nbs/images/index-cell3.png nbs/images/index-old.png" in r.stderr
    assert tool(project, "readme").returncode == 0
    assert tool(project, "readme", "--check").returncode == 0

def test_readme_prose():
    assert readme.prose("# T {#sec-t}\n[a](../x.md) [b](i/c.png#d) [c](https://e.org) [d](#e)") == \
        "# T\n[a](x.md) [b](nbs/i/c.png#d) [c](https://e.org) [d](#e)"

HOST = f"{get_config().doc_host}{get_config().doc_baseurl}/"

def test_docs_preview_has_linked_pages_with_pictures_and_maths(project):
    change(project/"nbs/01_a.ipynb", lambda cells: cells[1]["source"].append(
        f"\n\nHere $x_1$ and\n\n$$y = 2$$ {{#eq-y}}\n\nSee [settings](../settings.ini) and [two]({HOST}index.html#two)"))
    change(project/"nbs/01_a.ipynb", lambda cells: cells[-1]["source"].insert(0, "#| fig-alt: A straight line.\n"))
    change(project/"nbs/tutorials/first.ipynb", lambda cells: cells.insert(1, dict(cell_type="markdown", id="bad1", metadata={}, source=["## Bad input\n"])))
    r = tool(project, "docs", PATH="", PYTHONPATH=str(project))
    assert r.returncode == 0, r.stderr
    assert "plain preview" in r.stdout
    index, a, first = [(project/"_docs"/p).read_text() for p in ("index.html", "a.html", "tutorials/first.html")]
    assert index.count('href="a.html"') == 2 and 'href="tutorials/first.html"' in index and 'href="../index.html"' in first
    assert index.index("→ first</a>") < index.index("All pages") and "<li>Tutorials<ol><li><b>first</b></li></ol></li>" in first
    assert "<summary>What is refused</summary>" in first and "What is refused" not in a
    assert 'alt="A straight line."' in a and "<summary>Test: one</summary>" in a and "<summary>Source of one</summary>" in a
    assert 'href="repository/settings.ini"' in a and (project/"_docs/repository/settings.ini").read_text() == (project/"settings.ini").read_text()
    assert 'href="index.html#two"' in a and HOST not in a
    assert "data:image/png;base64" in index and "data:image/png;base64" in a
    assert "Figure 1 shows" in a and "Figure 1: A line." in a and "#eq-y" not in a and "#| " not in a
    assert "return" in a and '<div id="one"></div>' in a and "<code>one</code>" in a and "<h1" in a and "<msub><mi>x</mi><mn>1</mn></msub>" in a and 'display="block"' in a

def test_docs_uses_quarto_where_it_is_on_path(project, tmp_path):
    (tmp_path/"bin").mkdir()
    fake = tmp_path/"bin/quarto"
    fake.write_text('#!/bin/sh\n[ "$1 $3" = "render --no-execute" ] && mkdir "$2/_docs" && echo page > "$2/_docs/index.html"\n')
    fake.chmod(0o755)
    r = tool(project, "docs", PATH=f"{tmp_path/'bin'}:{os.environ['PATH']}", PYTHONPATH=str(project))
    assert r.returncode == 0, r.stderr
    assert (project/"_docs/index.html").read_text() == "page\n" and "preview" not in r.stdout
    assert (project/"_proc/_quarto.yml").exists() and (project/"_proc/sidebar.yml").exists()

@pytest.mark.slow
def test_a_test_that_needs_something_names_it_where_it_is_missing(tmp_path):
    shutil.copy(ROOT/"tests/conftest.py", tmp_path)
    (tmp_path/"test_x.py").write_text("import pytest\n@pytest.mark.data('gsm8k', 'mbpp')\ndef test_d(): pass\n@pytest.mark.needs('json', 'no_such_module')\ndef test_n(): pass\n")
    (tmp_path/"data").mkdir()
    (tmp_path/"data/mbpp.jsonl").write_text("")
    env = os.environ | dict(SOKA_DATA=str(tmp_path), SOKA_CACHE=str(tmp_path/"none"), PYTHONPATH=str(ROOT))
    r = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert "needs gsm8k: soka data get gsm8k\n" in r.stdout and "needs no_such_module\n" in r.stdout and "2 skipped" in r.stdout, r.stdout + r.stderr

def test_ci_installs_the_oldest_peft_that_settings_allow():
    flow = (ROOT/".github/workflows/test.yaml").read_text()
    sed = re.search(r"peft==\$\((.*?)\)\"", flow)[1]
    oldest = subprocess.run(sed, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", oldest) and f"    peft>={oldest}\n" in (ROOT/"settings.ini").read_text()
    assert Version(version("peft")) >= Version(oldest)

WORKFLOWS = {p.name: yaml.safe_load(p.read_text()) for p in sorted((ROOT/".github/workflows").glob("*.yaml"))}
COMMANDS = [(name, job, step["run"]) for name, flow in WORKFLOWS.items() for job, j in flow["jobs"].items()
            for step in j["steps"] if "run" in step]

@pytest.mark.parametrize("name, job, command", COMMANDS)
def test_workflows_name_targets_and_files_that_exist(name, job, command):
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
    targets = re.findall(r"^([\w-]+):", (ROOT/"Makefile").read_text(), re.M)
    assert {t for t in re.findall(r"\bmake ([\w-]+)", command)} <= set(targets)
    assert all((ROOT/f).exists() for f in re.findall(r"(?<![\w/])(?:tests|tools|\.ci)/[\w/.]+", command))

def test_a_hosted_job_runs_every_test_that_needs_a_quantizer():
    select = next(c for _, job, c in COMMANDS if job == "quantizers" and "pytest" in c)
    words = re.search('-k "(.*)"', select)[1].split(" or ")
    found = [(p.name, name) for p in (ROOT/"tests").glob("test_*.py")
             for name in re.findall(r"^@pytest\.mark\.needs\(.*(?:torchao|hqq).*\)\n(?:@.*\n)*def (\w+)", p.read_text(), re.M)]
    assert len(found) >= 3
    for file, name in found: assert file in select and any(w in name for w in words)

def test_hosted_jobs_run_the_slow_tests_weekly_and_build_the_wheel_on_every_python():
    flow = WORKFLOWS["test.yaml"]
    assert [c for _, job, c in COMMANDS if job == "slow"][-1] == "make slow" and flow[True]["schedule"]   # YAML reads the key `on` as true
    assert "--slow -m slow" in (ROOT/"Makefile").read_text()
    assert flow["jobs"]["wheel"]["strategy"]["matrix"]["python"] == get_config(path=ROOT).pythons.split()
