"""The page in a real browser: headless Chromium, driven by Playwright, against a server of its own process."""

import json
import os
import shutil
import threading
from contextlib import contextmanager

import numpy as np
import PIL.Image
import pytest
import uvicorn

import recam
from forked import command
from recam.data.images import read_mask, write_mask
from recam.review.app import make_app
from recam.review.decisions import Decisions
from recam.review.index import Index
from recam.review.layers import ReviewedRun
from recam.review.server import listen
from recam.review.session import Session
from recam.runfolder.maps import save_seed
from recam.runfolder.store import RunFolder, read_json, write_json
from recam.types import SeedMaps
from skipped import BROWSER

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = os.environ.get("RECAM_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
MANY = 10_000

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason=f"{BROWSER} (looked for {', '.join(NAMES)}, or RECAM_CHROMIUM=PATH)"
)
# Loading takes longer where other tests run beside.
PATIENCE = 90_000


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; the extra dev brings it"
    )
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def serving(run):
    """The server in a process of its own; it is killed at the end."""
    server = command("review", run, "--port", "0")
    try:
        yield server.first_line()
    finally:
        server.kill()


def session_of(run, classes=()):
    """A start; `classes` renames the run's first ones."""
    view = ReviewedRun(run)
    view.classes = (*classes, *view.classes[len(classes) :])
    return Session(view, quiet=True)


@contextmanager
def serving_here(session):
    """The server in a thread: no second start of Python."""
    listener = listen(0)
    server = uvicorn.Server(uvicorn.Config(make_app(session, "token"), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/token/"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@contextmanager
def page_of(browser, address, width=1280, height=800, **context):
    problems = []
    with browser.new_context(viewport={"width": width, "height": height}, **context) as opened:
        page = opened.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        yield page
    assert problems == []


def wait_for_pixels(page, cell=0):
    page.wait_for_function(f"() => document.querySelector('.cell[data-number=\"{cell}\"] .overlay')?.width > 1")


def painted(page):
    """Pixels that the overlays in sight show, all together."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.cell:not([hidden]) .overlay')]
        .filter((canvas) => canvas.style.visibility !== 'hidden')
        .map((canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)
        .reduce((sum, data) => sum + data.filter((value, at) => at % 4 === 3 && value).length, 0)"""
    )


def slide(page, value):
    page.evaluate(
        "(value) => { const thumb = document.getElementById('threshold'); thumb.value = value; thumb.dispatchEvent(new"
        " Event('input')); }",
        value,
    )
    page.wait_for_timeout(150)


@pytest.mark.slow
def test_an_evening_in_short(browser, run, tmp_path):
    """The grid loads, the slider changes pixels without a request, decisions survive a killed server, the export is a
    data set."""
    with serving(run) as address, page_of(browser, address) as page:
        wait_for_pixels(page)
        assert page.locator(".cell:not([hidden])").count() >= 12
        page.wait_for_function("() => document.getElementById('miou').textContent.includes('mIoU')")
        page.click("#layers button:has-text('ReCAM')")
        page.wait_for_timeout(500)
        wait_for_pixels(page)
        requests = []
        page.on("request", lambda request: requests.append(request.url) if "/layers" in request.url else None)
        slide(page, 10)
        low, low_score = painted(page), page.inner_text("#miou")
        slide(page, 80)
        assert low > painted(page) > 0
        assert page.inner_text("#miou") != low_score
        assert requests == []
        before = painted(page)
        page.select_option("#scope", "0")
        slide(page, 1)
        assert painted(page) >= before
        page.click("#recipe")
        page.wait_for_selector("#message[open] pre")
        assert "masks.threshold" in page.inner_text("#message-body")
        page.keyboard.press("Escape")

        page.click("#layers button:has-text('mask')")
        wait_for_pixels(page)
        page.focus("#grid")
        for number, key in enumerate(("a", "a", "r"), start=1):
            page.keyboard.press(key)
            page.wait_for_function(
                f"() => document.querySelector('#progress span').textContent.startsWith('{number} of')"
            )
        page.keyboard.press("u")
        page.wait_for_function("() => document.querySelector('#progress span').textContent.startsWith('2 of')")

        page.keyboard.press("Enter")  # the fourth image, to be edited
        page.wait_for_selector("#strip button")
        name = page.inner_text("#name")
        page.wait_for_function("() => document.getElementById('overlay').width === 64")
        page.keyboard.press("b")
        page.select_option("#paint-class", "5")
        box = page.locator("#sheet").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6, steps=6)
        page.mouse.up()
        page.keyboard.press("s")
        page.wait_for_function("() => document.getElementById('verdict').textContent.includes('corrected by hand')")
        page.click("#labels .chip >> nth=0")
        page.wait_for_selector("#labels .chip.gone")

        with page_of(browser, address) as other:  # another tab gets it, and the other way round
            other.wait_for_selector(".cell.accepted")
            other.focus("#grid")
            other.keyboard.press("r")
            page.wait_for_function("() => document.querySelector('#toast').textContent.includes('another tab')")
    # The server was killed with kill -9; nothing that was shown is lost.
    states = Decisions(run / "review").decided()
    assert states[name].verdict == "accepted"
    assert states[name].labels is not None
    mask = read_mask(run / "review" / "corrected" / states[name].mask)
    assert mask[27, 27] == 5
    verdicts = [states[f"train-{index:06d}"].verdict for index in range(2)]
    assert verdicts == ["rejected", "accepted"]
    with serving_here(session_of(run)) as address, page_of(browser, address) as page:
        page.wait_for_selector(".cell.accepted")
        assert page.inner_text("#progress span").startswith("3 of 16")
    recam.export_review(run, tmp_path / "clean")
    assert recam.check(f"folder:{tmp_path / 'clean'}").ok


def show(page, number):
    """Opens an image and waits for its overlay."""
    page.locator(f'.cell[data-number="{number}"]').click()
    page.wait_for_function("() => document.getElementById('overlay').width === 64")


def zoom_of(page):
    return page.evaluate("() => new DOMMatrix(document.getElementById('sheet').style.transform).a")


def test_tools_and_zoom(browser, run):
    """Regions by hand-computed pixels; zoom keeps the place under the cursor; a polygon is drawn zoomed in, undone,
    done again and saved."""
    with serving_here(session_of(run)) as address, page_of(browser, address) as page:
        regions = page.evaluate(
            """async () => {
              const { difference, fillConnected, fillDisc, fillPolygon } = await import('./regions.js');
              const of = (size, act, start = []) => {
                const mask = new Uint8Array(size[0] * size[1]);
                mask.set(start);
                act(mask, size);
                return [...mask].join('');
              };
              const drawn = [0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 0];
              const changed = difference(Uint8Array.from([1, 2, 3, 4]), Uint8Array.from([1, 9, 3, 8]));
              return {
                polygon: of([4, 4], (mask, size) => fillPolygon(mask, size, [[1, 1], [3, 1], [3, 3], [1, 3]], 7)),
                triangle: of([3, 3], (mask, size) => fillPolygon(mask, size, [[0, 0], [3, 0], [0, 3]], 7)),
                outside: of([2, 3], (mask, size) => fillPolygon(mask, size, [[-5, -5], [9, -5], [9, 1], [-5, 1]], 7)),
                disc: of([3, 3], (mask, size) => fillDisc(mask, size, [1.5, 1.5], 1, 7)),
                tiny: of([2, 2], (mask, size) => fillDisc(mask, size, [1.9, 0.1], 0.05, 7)),
                connected: of([3, 4], (mask, size) => fillConnected(mask, size, [2.5, 0.5], 7), drawn),
                changed: [changed.from, [...changed.bytes]],
                same: difference(new Uint8Array(3), new Uint8Array(3)),
              };
            }"""
        )
        assert regions == {
            "polygon": "0000" + "0770" + "0770" + "0000",
            "triangle": "770" + "700" + "000",
            "outside": "777000",
            "disc": "070777070",
            "tiny": "0700",
            "connected": "0177" + "0171" + "0110",
            "changed": [1, [2, 3, 4]],
            "same": None,
        }
        wait_for_pixels(page)
        show(page, 0)
        box = page.locator("#sheet").bounding_box()
        x, y = round(box["x"] + box["width"] * 0.25), round(box["y"] + box["height"] * 0.75)
        page.mouse.move(x, y)
        page.mouse.wheel(0, -1000)
        page.wait_for_function("() => document.getElementById('zoom-value').textContent === '4.0×'")
        larger = page.locator("#sheet").bounding_box()
        assert larger["width"] == pytest.approx(4 * box["width"])
        assert (x - larger["x"]) / 4 == pytest.approx(x - box["x"], abs=0.5)
        assert (y - larger["y"]) / 4 == pytest.approx(y - box["y"], abs=0.5)
        page.mouse.down()
        page.mouse.move(x + 30, y, steps=3)
        page.mouse.up()
        assert page.locator("#sheet").bounding_box()["x"] == pytest.approx(larger["x"] + 30)
        page.keyboard.press("p")
        page.select_option("#paint-class", "255")
        box = page.locator("#sheet").bounding_box()
        for right, down in ((0.25, 0.625), (0.5, 0.625), (0.5, 0.75), (0.25, 0.75)):
            page.mouse.click(box["x"] + box["width"] * right, box["y"] + box["height"] * down)
        page.keyboard.press("Enter")
        page.keyboard.press("z")
        page.wait_for_function("() => document.getElementById('save').disabled")
        page.keyboard.press("y")
        page.wait_for_function("() => !document.getElementById('save').disabled")
        page.keyboard.press("0")
        assert zoom_of(page) == 1
        name = page.inner_text("#name")
        page.keyboard.press("s")
        page.wait_for_function("() => document.getElementById('verdict').textContent.includes('corrected by hand')")
        page.keyboard.press("u")
        page.wait_for_function(
            f"() => document.getElementById('toast').textContent === 'Undid: corrected mask of {name}'"
        )
        page.keyboard.press("Shift+U")
        page.wait_for_function(
            f"() => document.getElementById('toast').textContent === 'Redid: corrected mask of {name}'"
        )
    state = Decisions(run / "review").state(name)
    mask = read_mask(run / "review" / "corrected" / state.mask)
    assert (mask[41:47, 17:31] == 255).all()
    assert not (mask[:39] == 255).any()


def test_many_are_judged_at_once_and_the_address_holds_what_is_shown(browser, run):
    """And the wand takes a region of the photo."""
    with serving_here(session_of(run)) as address:
        with page_of(browser, address) as page:
            wait_for_pixels(page)
            page.locator('.cell[data-number="1"]').click(modifiers=["Control"])
            page.locator('.cell[data-number="4"]').click(modifiers=["Shift"])
            page.locator('.cell[data-number="2"]').click(modifiers=["Control"])
            assert page.inner_text("#selection span") == "3 selected"
            page.keyboard.press("r")
            page.wait_for_function("() => document.querySelector('#progress span').textContent.startsWith('3 of')")
            page.keyboard.press("u")
            page.wait_for_function("() => document.getElementById('toast').textContent === 'Undid: reject of 3 images'")
            page.select_option("#sort", "iou")
            page.select_option("#filter-split", "train")
            page.click("#layers button:has-text('truth')")
            page.locator(".cell").nth(1).click()
            page.wait_for_function("() => location.hash.includes('image=')")
            shared, name = page.url, page.inner_text("#name")
            assert "sort=iou" in shared
        with page_of(browser, shared) as page:
            page.wait_for_function(f"() => document.getElementById('name').textContent === '{name}'")
            shown = "[...document.querySelectorAll('#layers [aria-checked=true]')].map((each) => each.textContent)"
            assert page.evaluate(f"() => {shown}") == ["truth"]
            assert [page.input_value(each) for each in ("#sort", "#filter-split")] == ["iou", "train"]
            page.wait_for_function("() => document.getElementById('overlay').width === 64")
            with page.expect_response(lambda answer: "/regions/" in answer.url):
                page.keyboard.press("w")
            page.select_option("#paint-class", "255")
            page.locator("#sheet").click(position={"x": 5, "y": 5})
            page.wait_for_function("() => !document.getElementById('save').disabled")
            page.keyboard.press("s")
            page.wait_for_function("() => document.getElementById('verdict').textContent.includes('corrected by hand')")
    state = Decisions(run / "review").state(name)
    assert read_mask(run / "review" / "corrected" / state.mask)[0, 0] == 255


@pytest.fixture(scope="module")
def large_run(tmp_path_factory, tiny_run):
    """Ten thousand images by hard links: maps and masks of three, no photos."""
    root = tmp_path_factory.mktemp("large") / "run"
    written = read_json(tiny_run / "run.json")
    written["recipe"]["data"] |= {"location": "folder:gone", "options": {}}
    write_json(root / "run.json", written)
    folder = RunFolder(root)
    maps, masks = (folder.at(name, folder.keys[name]).path for name in ("maps/recam", "masks"))
    for name, path in (("maps/recam", maps), ("masks", masks)):
        write_json(path / "stage.json", read_json(tiny_run / name / "stage.json"))
    (maps / "w_prime").mkdir()
    rng = np.random.default_rng(0)
    for index in range(MANY):
        seed, mask = maps / "w_prime" / f"{index:05d}.npz", masks / f"{index:05d}.png"
        if index < 3:
            save_seed(seed, SeedMaps(rng.random((2, 6, 8), np.float32), np.array([index, index + 1]), (24, 32)))
            write_mask(mask, np.full((24, 32), index + 1, np.uint8))
        else:
            os.link(seed.with_name(f"{index % 3:05d}.npz"), seed)
            os.link(mask.with_name(f"{index % 3:05d}.png"), mask)
    # A first start measures each image: what is three files is measured three times.
    measured, measure = {}, Index.measure

    def measure_once(index, item):
        number = int(item.id) % 3
        return measured.get(number) or measured.setdefault(number, measure(index, item))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Index, "measure", measure_once)
        session_of(root)
    return root


@pytest.fixture(scope="module")
def second_start(large_run):
    """The same again, where nothing may be measured."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Index, "measure", lambda self, item: pytest.fail("an image is measured again"))
        return session_of(large_run)


def test_the_second_start_takes_the_index(second_start):
    assert len(second_start.index.rows) == MANY


@pytest.mark.slow
def test_ten_thousand_images_scroll(browser, second_start):
    with serving_here(second_start) as address, page_of(browser, address) as page:
        wait_for_pixels(page)
        assert page.inner_text("#progress span") == f"0 of {MANY} reviewed"
        frames = page.evaluate(
            """() => new Promise((done) => {
              const grid = document.getElementById('grid'), times = [];
              const end = grid.scrollHeight - grid.clientHeight;
              const step = (now) => {
                times.push(now);
                grid.scrollTop = (end * times.length) / 120;
                times.length < 120 ? requestAnimationFrame(step) : done(times);
              };
              requestAnimationFrame(step);
            })"""
        )
        assert len(frames) == 120
        page.wait_for_function(f"() => document.querySelector('.cell[data-number=\"{MANY - 1}\"]:not([hidden])')")
        wait_for_pixels(page, MANY - 1)
        assert page.locator(".cell").count() < 150  # cells are moved along, not made anew
        slide(page, 50)
        page.wait_for_timeout(1500)
        assert painted(page) > 0
        page.fill("#search", "0777")
        page.wait_for_function("() => document.getElementById('shown').textContent.startsWith('11 of')")


def test_a_phone(browser, run):
    with (
        serving_here(session_of(run)) as address,
        page_of(browser, address, 390, 844, has_touch=True, is_mobile=True, color_scheme="dark") as page,
    ):
        wait_for_pixels(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert len({round(cell.bounding_box()["x"]) for cell in page.locator(".cell:not([hidden])").all()}) == 2
        page.tap("#filter-toggle")
        assert page.locator("#sort").is_visible()
        page.tap("#filter-toggle")
        page.tap('.cell[data-number="0"]')
        page.wait_for_function("() => document.getElementById('overlay').width === 64")
        page.tap("#accept")
        page.wait_for_function("() => document.querySelector('#progress span').textContent.startsWith('1 of')")
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_photo_is_tried_and_the_endpoints_are_described(browser, run, tmp_path):
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(
        tmp_path / "photo.jpg"
    )
    with serving_here(session_of(run)) as address, page_of(browser, address) as page:
        page.click("#try-open")
        page.set_input_files("#file", tmp_path / "photo.jpg")
        page.wait_for_selector("#try-pictures figure >> nth=4")
        assert page.locator("#try-found .score").count() == 8
        page.goto(f"{address}api.html")
        page.wait_for_selector("pre:has-text('POST /api/decisions')")
        assert (
            json.loads(page.evaluate("fetch('openapi.json').then((answer) => answer.text())"))["info"]["title"]
            == "recam review"
        )


def test_names_are_text_on_the_page(browser, run):
    """Class names that would be HTML, a selector or a prototype are shown, chosen and kept letter by letter."""
    classes = ["<img src=x onerror=window.hit=1>", '"] , * {', "__proto__", "two  spaces"]
    with serving_here(session_of(run, classes)) as address, page_of(browser, address) as page:
        wait_for_pixels(page)
        assert page.locator("#classes .chip").all_text_contents()[0].startswith(classes[0])
        for index in range(len(classes)):
            page.select_option("#scope", str(index))
            slide(page, 30)
        page.wait_for_function("() => document.getElementById('miou').textContent.includes('IoU')")
        page.select_option("#scope", "0")
        page.keyboard.press("Escape")
        page.locator(".cell").first.click()
        page.wait_for_selector("#labels")
        before = page.inner_text("#labels")
        added = [name for name in classes if name not in before]
        for name in added:
            page.select_option("#add-label", str(classes.index(name)))
            page.wait_for_function("(name) => document.getElementById('labels').textContent.includes(name)", arg=name)
        assert page.evaluate("window.hit") is None
        assert page.locator("main img[src=x], header img[src=x]").count() == 0
    (state,) = Decisions(run / "review").decided().values()
    assert added
    assert set(added) <= set(state.labels)
