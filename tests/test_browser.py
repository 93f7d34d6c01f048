"""Every page of the built book in a real browser with the network cut off, at the widths of a phone, a tablet and a desk."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
#: The narrowest first: a page is opened at it, and there the 3D scenes are the quickest to draw.
WIDTHS = (390, 1024, 1600)
#: Every figure is as wide as its column, which also changes when the sidebar comes or goes.
FITTED = """() => [...document.querySelectorAll('.js-plotly-plot')].every(plot =>
    !plot.clientWidth || plot.layout.width || Math.abs(plot._fullLayout.width - plot.clientWidth) <= 1)"""
#: The theme writes this script into each page twice, and the second copy stops at its first line.
KNOWN = "Identifier 'THEBE_JS_URL' has already been declared"
PAGES = [found[1] for line in (ROOT / "_toc.yml").read_text().splitlines() if (found := re.search(r"(?:file|root): (\S+)", line))]
OTHERS = ("genindex", "py-modindex", "search", "_modules/index", "_modules/handpose/losses")
MEGABYTE = 1e6


#: What sticks out of the page, but for what a box around it cuts off or scrolls.
WIDEST = """() => {
  const sticksOut = one => one.getBoundingClientRect().right > innerWidth + 1;
  const boxed = one => { for (let up = one.parentElement; up && up.tagName !== "MAIN"; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== "visible") return true; return false; };
  const found = [...document.querySelectorAll("main *")].filter(one => sticksOut(one) && !boxed(one));
  return found.slice(0, 3).map(one => one.outerHTML.slice(0, 160));
}"""


class Visit:
    """A page in a context of its own, and what went wrong while it was read."""

    def __init__(self, browser, width=1600, without_webgl=False):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, reduced_motion="reduce")
        self.errors, self.outside = [], []
        self.context.route("**/*", self._gate)
        if without_webgl:
            self.context.add_init_script(
                "const given = HTMLCanvasElement.prototype.getContext;"
                "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
                " return /webgl/.test(kind) ? null : given.call(this, kind, ...rest); };"
            )
        self.page = self.context.new_page()
        self.page.on("console", lambda message: message.type == "error" and self._note(message.text))
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("requestfailed", lambda request: self._note(f"request failed: {request.url}"))

    def _gate(self, route):
        if urlsplit(route.request.url).scheme in ("file", "data", "blob"):
            return route.continue_()
        self.outside.append(route.request.url)
        return route.abort()

    def _note(self, text):
        if KNOWN not in text:
            self.errors.append(text)

    def open(self, path):
        self.page.goto(path.as_uri(), wait_until="load")
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.plotly-graph-div')].every(plot => plot.querySelector('.main-svg'))"
            " && (!document.querySelector('.math') || (window.MathJax && MathJax.startup && MathJax.startup.promise))"
        )
        self.page.evaluate("async () => { if (window.MathJax) await MathJax.startup.promise; }")
        return self.page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


def axe(page):
    """Serious and critical violations that axe-core finds in an open page, a line each."""
    import axe_playwright_python

    if not page.evaluate("typeof axe === 'object'"):
        page.add_script_tag(path=str(Path(axe_playwright_python.__file__).with_name("axe.min.js")))
    found = page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'], preload: false })).violations")
    return [
        f"{one['impact']} {one['id']}: {node['target']} {node['html'][:160]}"
        for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"][:4]
    ]  # fmt: skip


def read(browser, path):
    """Open a page and look at it at every width; an AssertionError says what is wrong. What can't be read with a screen reader is looked
    for at every width too, but for rows' pages, which are one notebook: D3's stands for them at all widths but the narrowest.
    """
    looked_at = WIDTHS[:1] if path.stem.startswith("row-") and path.stem != "row-D3" else WIDTHS
    with Visit(browser, WIDTHS[0]) as visit:
        page = visit.open(path)
        text = path.read_text()
        assert page.locator(".js-plotly-plot .main-svg").first.count() == ("Plotly.newPlot" in text)
        assert page.locator(".js-plotly-plot").count() == text.count("Plotly.newPlot(")
        assert page.locator("text=WebGL is not supported").count() == 0
        scenes = page.evaluate("[...document.querySelectorAll('.js-plotly-plot')].filter(plot => plot.layout.scene).length")
        assert page.locator(".js-plotly-plot:has(.gl-container canvas)").count() >= scenes
        assert page.evaluate("[...document.images].filter(one => !(one.complete && one.naturalWidth)).map(one => one.src)") == []
        assert page.evaluate("[...document.images].filter(one => !one.alt.trim()).map(one => one.outerHTML.slice(0, 120))") == []
        assert page.locator("mjx-merror").count() == 0
        assert page.locator("mjx-container").count() >= page.locator(".math").count()
        for width in WIDTHS:
            if width != WIDTHS[0]:
                page.set_viewport_size({"width": width, "height": 900})
                page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # sizes have been observed
                page.wait_for_timeout(150)
                page.wait_for_function(FITTED, timeout=10_000)
            inside, whole = page.evaluate("[document.scrollingElement.clientWidth, document.scrollingElement.scrollWidth]")
            assert whole <= inside, f"at {width} px the page is {whole} px wide: {page.evaluate(WIDEST)}"
            assert width not in looked_at or axe(page) == [], f"at {width} px"
        assert visit.errors == [] and visit.outside == []


@pytest.fixture(scope="module")
def readings(request, built, chromium_options):
    """What ``read`` finds on each page that a chosen test asks for: futures, filled by one browser a processor core."""
    from playwright.sync_api import sync_playwright

    mine = threading.local()

    def start():
        mine.playwright = sync_playwright().start()
        mine.browser = mine.playwright.chromium.launch(**chromium_options)

    def close():
        mine.browser.close()
        mine.playwright.stop()

    asked = [item.callspec.params["name"] for item in request.session.items if "readings" in item.fixturenames]
    workers = min(2, len(asked))
    together = threading.Barrier(workers)
    with ThreadPoolExecutor(workers, initializer=start) as pool:
        yield {name: pool.submit(lambda name=name: read(mine.browser, built / f"{name}.html")) for name in asked}
        for _ in range(workers):
            pool.submit(lambda: (together.wait(60), close()))  # each thread closes its own


@pytest.mark.parametrize("name", [*PAGES, *OTHERS])
def test_a_page_reads_well_offline_at_every_width(readings, name):
    readings[name].result()


@pytest.mark.parametrize("name", ["book/intro", "book/method", "book/runs/results", "book/runs/claims", "book/api/losses"])
def test_the_dark_theme_can_be_read(built, browser, name):
    with Visit(browser, 1024) as visit:
        page = visit.open(built / f"{name}.html")
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        assert axe(page) == []


def test_without_webgl_a_still_picture_of_the_same_hands_is_shown(built, browser):
    """On every page with a scene; the row's pages are one notebook, so one of them stands for all."""
    texts = {name: (built / f"{name}.html").read_text() for name in PAGES}
    # Beside the traces of scenes, each figure's template has one.
    names = [name for name, text in texts.items() if text.count('"type":"scatter3d"') > text.count('"scatter3d":[')]
    assert {"book/intro", "book/runs/results", "book/runs/row-D3"} <= set(names)
    for name in names:
        if "row-" in name and name != "book/runs/row-D3":
            continue
        with Visit(browser, without_webgl=True) as visit:
            page = visit.open(built / f"{name}.html")
            assert page.locator("text=WebGL is not supported").count() == 0, name
            scenes = page.evaluate("[...document.querySelectorAll('.js-plotly-plot')].filter(plot => plot.layout.scene).length")
            stills = page.locator(".js-plotly-plot.still")
            assert scenes == 0 < stills.count(), name
            for still in stills.all():
                heights = still.locator(".js-line").evaluate_all("lines => lines.map(line => line.getBoundingClientRect().height)")
                assert max(heights) > 40, name  # a hand, and not a dot
            assert visit.errors == []


def test_a_still_picture_shows_what_the_camera_would(built, browser):
    """A point to the right of the camera lies right, one above it above, whatever way the camera looks."""
    with Visit(browser) as visit:
        page = visit.open(built / "book" / "intro.html")
        scene = {"camera": {"eye": {"x": 0, "y": 0, "z": -2}, "up": {"x": 0, "y": -1, "z": 0}},
                 **{f"{axis}axis": {"range": [0, 10]} for axis in "xyz"}}  # fmt: skip
        seen = page.evaluate("scene => [[5, 5, 5], [10, 5, 0], [5, 0, 9]].map(companion.projector(scene))", scene)
        assert [[round(value, 6) + 0 for value in point] for point in seen] == [[0, 0], [1, 0], [0, 1]]
        packed = page.evaluate("companion.numbers({ dtype: 'f4', bdata: btoa(String.fromCharCode(0, 0, 128, 63, 0, 0, 0, 64)) })")
        assert packed == [1, 2]


def test_hands_turn_and_frames_change_from_the_keyboard(built, browser):
    with Visit(browser, 1024) as visit:
        page = visit.open(built / "book" / "runs" / "results.html")
        figure = page.locator("#poses-results")
        eyes = "plot => ['scene', 'scene2', 'scene3'].map(key => plot.layout[key].camera.eye)"
        before = figure.evaluate(eyes)
        turn, frame = page.get_by_role("slider", name="turn"), page.get_by_role("slider", name="frame")
        turn.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("before => document.getElementById('poses-results').layout.scene3.camera.eye.x !== before",
                               arg=before[2]["x"])  # fmt: skip
        after = figure.evaluate(eyes)
        assert after[0] == after[1] == after[2] != before[0]  # side by side, turned together
        shown = "plot => plot.data.map(trace => trace.visible === true)"
        first = figure.evaluate(shown)
        frame.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(300)
        second = figure.evaluate(shown)
        assert first != second and sum(first) == sum(second) > 0


def test_a_hand_that_is_dragged_takes_the_others_along(built, browser):
    with Visit(browser, 1024) as visit:
        page = visit.open(built / "book" / "runs" / "results.html")
        figure = page.locator("#poses-results")
        figure.scroll_into_view_if_needed()
        box = figure.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 6, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 6 + 60, box["y"] + 220, steps=4)
        page.mouse.up()
        page.wait_for_timeout(600)
        eyes = figure.evaluate("plot => ['scene', 'scene2', 'scene3'].map(key => plot.layout[key].camera.eye.x.toFixed(4))")
        assert len(set(eyes)) == 1 and eyes[0] != "0.3500"


def test_on_a_phone_hands_stand_one_below_the_other(built, browser):
    with Visit(browser, 390) as visit:
        page = visit.open(built / "book" / "runs" / "results.html")
        page.wait_for_timeout(300)
        plot = page.locator("#poses-results")
        tops = plot.evaluate("plot => ['scene', 'scene2', 'scene3'].map(key => plot.layout[key].domain.y[1])")
        assert tops == sorted(tops, reverse=True) and len(set(tops)) == 3
        below = page.get_by_role("slider", name="turn").bounding_box()["y"]
        box = plot.bounding_box()
        assert box["y"] + box["height"] <= below  # nothing is drawn over what comes next
        page.set_viewport_size({"width": 1024, "height": 900})
        page.wait_for_timeout(300)
        assert len(set(plot.evaluate("plot => ['scene', 'scene2', 'scene3'].map(key => plot.layout[key].domain.y[1])"))) == 1


def test_the_latent_explorer_moves_its_hand_when_a_slider_is_moved(built, browser):
    with Visit(browser, 1024) as visit:
        page = visit.open(built / "book" / "runs" / "inside.html")
        explorer = page.locator(".latent-explorer")
        canvas, slider = explorer.locator("canvas"), explorer.get_by_role("slider").first
        picture = "canvas => canvas.toDataURL()"
        first = canvas.evaluate(picture)
        page.wait_for_timeout(200)
        assert canvas.evaluate(picture) == first  # it stands still by itself
        slider.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
        moved = canvas.evaluate(picture)
        assert moved != first
        explorer.get_by_role("button", name="Reset").click()
        page.wait_for_timeout(200)
        assert canvas.evaluate(picture) == first
        assert visit.errors == [] and visit.outside == []


def test_a_hand_is_on_paper_too(built, browser):
    """What the graphics card drew is blank in print: a still drawing takes its place, and goes again."""
    with Visit(browser, 1024) as visit:
        page = visit.open(built / "book" / "intro.html")
        page.evaluate("""() => addEventListener("beforeprint", () => {
            window.printed = [...document.querySelectorAll(".on-paper .js-line")].filter(line => /M.*L/.test(line.getAttribute("d"))).length; })""")
        page.pdf()
        assert page.evaluate("window.printed") >= 3 * 5  # three hands of five fingers, legends not counted
        assert page.locator(".on-paper").count() == 0
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator(".on-paper svg.main-svg").first.is_visible() and not page.locator("#hand").is_visible()
        assert visit.errors == []


def test_the_keyboard_reaches_the_text_first(built, browser):
    with Visit(browser, 1024) as visit:
        page = visit.open(built / "book" / "intro.html")
        page.keyboard.press("Tab")
        assert "skip" in page.evaluate("document.activeElement.textContent").lower()
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#main-content"


def test_the_landing_page_says_it_in_one_screen(built, browser):
    for width, height in ((1024, 800), (1600, 900)):
        with Visit(browser, width) as visit:
            visit.page.set_viewport_size({"width": width, "height": height})
            page = visit.open(built / "book" / "intro.html")
            for part in ("text=The paper claims", "text=We find", "#hand .gl-container", ".landing table tbody tr:last-child"):
                box = page.locator(part).first.bounding_box()
                assert box and box["y"] + box["height"] <= height, f"{part} ends below {height} px at {width} px"


def test_search_finds_a_word_offline(built, browser):
    with Visit(browser, 1024) as visit:
        visit.page.goto((built / "search.html").as_uri() + "?q=Heron")
        visit.page.wait_for_selector("#search-results li a")
        assert "method" in visit.page.locator("#search-results").inner_html()


# Without a browser


class Links(HTMLParser):
    """Anchors of a page, and where it leads: links, pictures, scripts, styles."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.targets = set(), []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.update(value for key, value in attributes.items() if value and (key == "id" or (key == "name" and tag == "a")))
        address = attributes.get("href") or attributes.get("src")
        if address and not urlsplit(address).scheme:
            self.targets.append(address)


def test_every_internal_link_leads_somewhere(built):
    pages = {path: Links(path) for path in built.rglob("*.html")}
    assert len(pages) > len(PAGES)
    dead = []
    for path, links in pages.items():
        for address in links.targets:
            parts = urlsplit(address)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                dead.append(f"{path.name}: {address}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                dead.append(f"{path.name}: no anchor {address}")
    assert dead == []


def test_pages_and_shared_files_are_light(built):
    pictures = {path.name: path.stat().st_size for path in (built / "_images").iterdir()}
    for path in built.rglob("*.html"):
        own = {Path(urlsplit(address).path).name for address in Links(path).targets if "_images/" in address}
        assert path.stat().st_size + sum(pictures[name] for name in own) < 1.5 * MEGABYTE, path.name
    shared = sum(path.stat().st_size for path in (built / "_static").rglob("*") if path.is_file())
    shared += sum(path.stat().st_size for path in built.glob("*.js"))
    assert shared < 8 * MEGABYTE


def test_what_cells_print_is_numbered_and_can_be_referred_to(built):
    """Pictures, figures to turn and tables of the notebooks are counted with those of the prose, from 1 in each chapter."""
    chapters = {}
    for name in PAGES:
        text = (built / f"{name}.html").read_text()
        numbers = {"figure": [], "table": []}
        for kind, chapter, number in re.findall(r'<span class="caption-number">Our (figure|table) (?:(\d+)\.)?(\d+)\s*</span>', text):
            numbers[kind].append(int(number))
            assert chapters.setdefault(chapter, name) == name, "two pages have one chapter's number"
            assert f'<span class="section-number">{chapter}. </span>' in text if chapter else name == "book/intro"
        for kind, found in numbers.items():
            assert sorted(found) == list(range(1, len(found) + 1)), f"{name}: {kind}"
    assert len(chapters) > 20
    results = (built / "book" / "runs" / "results.html").read_text()
    assert results.count('<caption><span class="caption-number">') == results.count("<caption>") > 2
    assert 'id="fig-pck-results"' in results and 'id="fig-poses-results"' in results
    for name in PAGES:
        text = (built / f"{name}.html").read_text()
        assert text.count("Plotly.newPlot(") == len(re.findall(r'<figure class="[^"]*turnable', text)), name


@pytest.mark.parametrize("name", PAGES)
def test_a_caption_does_not_repeat_the_alternative_text(built, name):
    """Alternative text says what is drawn, for who can't see it; the caption says what to see in it."""
    for figure in BeautifulSoup((built / f"{name}.html").read_text(), "html.parser").find_all("figure"):
        caption = " ".join(figure.figcaption.get_text().split()) if figure.figcaption else ""
        said = [one.get("alt") for one in figure.find_all("img")] + [one.get("aria-label") for one in figure.select("[role=img]")]
        assert said and all(said), caption
        assert not any(caption.partition("Our figure")[2].lstrip(" 0123456789.").startswith(one.strip()) for one in said), caption


def test_icons_that_pages_use_are_kept(built):
    script = (built / "_static" / "scripts" / "fontawesome.js").read_text()
    assert len(script) < 200_000
    for icon in ("bars", "magnifying-glass", "download", "circle-half-stroke"):
        assert re.search(rf'\b"?{icon}"?:\[\d+,\d+,', script), icon
