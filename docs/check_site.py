"""Looks at the built site in a headless Chromium: `make docs-check`.

    python docs/check_site.py docs/_build/html --shots docs/_build/shots

Serves the folder on localhost and visits every page, wide and as wide as a phone. What it finds
wrong is printed and makes it fail: console errors, requests that fail, internal links, anchors and
images that lead nowhere, pages wider than a phone, a search that does not find `distill`. Pictures
of every page (wide, phone, dark) go to --shots, to be looked at.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urldefrag

from playwright.sync_api import Browser, Page, sync_playwright

WIDE, PHONE = {"width": 1280, "height": 1400}, {"width": 390, "height": 1400}
# It looks for nothing outside by itself.
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LINKS = "[...document.querySelectorAll('a[href]')].map(a => a.href)"
ANCHORS = "[...document.querySelectorAll('[id]')].map(e => e.id)"
BROKEN_IMAGES = """[...document.images].filter(i => i.checkVisibility())
    .filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"""
# What sticks out, other than within a box that scrolls by itself (code, tables, equations).
TOO_WIDE = """() => {
    const width = document.documentElement.clientWidth;
    const scrolls = e => e.tagName !== 'ARTICLE' && e.parentElement &&
        (getComputedStyle(e).overflowX !== 'visible' || scrolls(e.parentElement));
    return [...document.querySelectorAll('article *')]
        .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement))
        .slice(0, 3).map(e => e.outerHTML.slice(0, 120));
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Files, without a line per request."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is served meanwhile."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def watched(browser: Browser, problems: list[str], **options: object) -> Page:
    """A page whose console errors and failed requests are problems."""
    page = browser.new_page(**options)
    page.on("console", lambda m: m.type == "error" and problems.append(f"{page.url}: {m.text}"))
    page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
    page.on("requestfailed", lambda r: problems.append(f"{page.url}: {r.url} failed"))
    return page


def check(folder: Path, browser: Browser, base: str, shots: Path) -> list[str]:
    """Everything wrong with the site, a line each."""
    problems: list[str] = []
    wide = watched(browser, problems, viewport=WIDE)
    phone = watched(browser, problems, viewport=PHONE)
    dark = watched(browser, problems, viewport=WIDE, color_scheme="dark")
    paths = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.html"))
    paths = [p for p in paths if not p.startswith("_static")]
    anchors: dict[str, set[str]] = {}
    links: list[tuple[str, str]] = []
    for path in paths:
        wide.goto(base + path, wait_until="load")
        anchors[path] = set(wide.evaluate(ANCHORS))
        links += [(path, link) for link in wide.evaluate(LINKS) if link.startswith(base)]
        problems += [f"{path}: no image {src}" for src in wide.evaluate(BROKEN_IMAGES)]
        phone.goto(base + path, wait_until="load")
        problems += [f"{path}: wider than a phone: {e}" for e in phone.evaluate(TOO_WIDE)]
        dark.goto(base + path, wait_until="load")
        for name, page in (("wide", wide), ("phone", phone), ("dark", dark)):
            page.screenshot(path=shots / f"{path.replace('/', '.')}.{name}.png")
    for path, link in links:
        target, anchor = urldefrag(link.removeprefix(base))
        target, anchor = unquote(target.split("?")[0]) or "index.html", unquote(anchor)
        target += "index.html" if target.endswith("/") else ""
        if not (folder / target).is_file():
            problems.append(f"{path}: no page {target}")
        elif anchor and target in anchors and anchor not in anchors[target]:
            problems.append(f"{path}: no anchor {target}#{anchor}")
    wide.goto(base + "search.html?q=distill", wait_until="load")
    wide.wait_for_timeout(1000)
    found = wide.evaluate("[...document.querySelectorAll('#search-results a')].map(a => a.href)")
    if not any("reference/distill" in link for link in found):
        problems.append(f"search: distill is not found, only {found[:5]}")
    wide.screenshot(path=shots / "search.distill.png")
    print(f"{len(paths)} pages, {len(links)} internal links, {len(found)} hits for distill")
    return sorted(set(problems))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shots", type=Path, required=True, help="where pictures go")
    parser.add_argument(
        "--chromium", default=shutil.which("chromium") or shutil.which("google-chrome")
    )
    args = parser.parse_args()
    if args.chromium is None:
        parser.error("there is no Chromium: apt-get install chromium, or --chromium=/path/to/it")
    args.shots.mkdir(parents=True, exist_ok=True)
    with served(args.folder) as base, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=OPTIONS)
        problems = check(args.folder, browser, base, args.shots)
        browser.close()
    print(*problems, sep="\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
