"""The page in a real browser: every way through it, without an error in the console or a request to any other host."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import PATIENT, TOKEN, Served, serving, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MUST_RUN = "QINN_REQUIRE_BROWSER"
"""Set where the browser has to be there, as in continuous integration: nothing is skipped."""
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IS_THERE = PROGRAM is not None and find_spec("playwright") is not None
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not IS_THERE and not os.environ.get(MUST_RUN),
        reason="the page is not tried in a browser: Chromium, or the package playwright, is not installed",
    ),
]
SHOTS = os.environ.get("QINN_SCREENSHOTS")
"""A folder for pictures of the page, for people to look at."""
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
SHARE_DRAWN = """(() => {
    const canvas = document.getElementById("wave");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, place) => place % 4 === 3 && value > 0).length / (data.length / 4);
})()"""
RAISED = """(() => {
    const canvas = document.getElementById("wave");
    const ratio = canvas.width / canvas.clientWidth;
    // The third word, "so", from 0.8 s on: the row of words lies under the sound.
    const place = [0.9 * canvas.width, (80 + 12 + 14 - 2) * ratio].map(Math.round);
    const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, ...place, 1, 1, 0, 0, 1, 1);
    const drawn = copy.getImageData(0, 0, 1, 1).data.slice(0, 3);
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = "var(--up)";
    return [`rgb(${drawn.join(", ")})`, getComputedStyle(probe).color];
})()"""
"""The colour above the line of the words where one raised the score, and that of what raises it."""
WATCH_TRACKS = """(() => {
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (what) => (window.recorded = await ask(what));
    const now = performance.now.bind(performance);
    performance.now = () => now() + (window.later || 0);
})()"""
SOMEWHERE = 'event: status\ndata: {"state": "running", "stage": "sound", "share": null}\n\n'
FOCUSED = "(({ id, className, tagName }) => id || className || tagName)(document.activeElement)"


@dataclass
class Watched:
    """A page, and what it said and asked."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def upload(self, content: bytes, name: str = "holiday.mp4") -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": "video/mp4", "buffer": content})

    def shown(self, section: str) -> None:
        self.page.wait_for_selector(f"#{section}:not([hidden]), #failed:not([hidden])")
        assert self.page.is_visible(f"#{section}"), (self.text("#error"), self.lost)

    def wait(self, condition: str) -> None:
        """Wait until JavaScript is true; the browser's own way to wait needs `unsafe-eval`, which the page forbids."""
        assert until(lambda: self.page.evaluate(condition)), condition

    def text(self, place: str) -> str:
        return self.page.inner_text(place)

    def shot(self, name: str) -> None:
        if SHOTS:
            self.page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    assert PROGRAM is not None, "Chromium is not installed, and it has to be here"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=PROGRAM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--autoplay-policy=no-user-gesture-required",
                *FAKE,
            ],
            timeout=1000 * PATIENT,
        )
        yield found
        found.close()


@pytest.fixture
def opened(browser: "Browser", served: Served, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """The page, opened as the command prints its address."""
    yield from opening(browser, served, **getattr(request, "param", {}))


def opening(browser: "Browser", served: Served, **options: Any) -> Iterator[Watched]:
    context = browser.new_context(accept_downloads=True, permissions=["camera", "microphone"], **options)
    context.set_default_timeout(1000 * PATIENT)
    watched = Watched(context.new_page())
    page = watched.page
    page.on(
        "console",
        lambda said: watched.errors.append(said.text) if said.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("request", lambda asked: watched.asked.append(asked.url))
    page.on("requestfailed", lambda asked: watched.lost.append(f"{asked.url}: {asked.failure}"))
    page.goto(f"{served.server.url}/#{TOKEN}")
    watched.wait("document.getElementById('limits').textContent !== ''")
    yield watched
    # What is refused is an answer of 4xx, of which the browser tells the console by itself.
    errors = [one for one in watched.errors if "the server responded with a status of 4" not in one]
    assert not errors
    strange = [url for url in watched.asked if not url.startswith((served.server.url, "blob:", "data:"))]
    assert not strange
    context.close()


def test_a_clip_is_uploaded_shown_and_deleted(opened: Watched, served: Served, clip, tmp_path):
    page = opened.page
    assert TOKEN not in page.url
    assert "a run of a test" in opened.text("#about")
    assert "Expressions are not feelings" in opened.text("footer")
    assert "stays on this machine" in opened.text("#privacy")
    opened.shot("empty")
    opened.upload(clip)
    opened.shown("done")
    assert opened.text("#status") == "The result is there."
    assert page.evaluate("document.activeElement.id") == "done-title"
    assert "<b>glad</b>" in opened.text("#result")
    # the clip plays, and a word plays it from there
    opened.wait("document.querySelector('#player video').readyState >= 2")
    page.click("#result [data-begin='0.4']")
    opened.wait("document.querySelector('#player video').currentTime >= 0.4")
    opened.wait("document.querySelectorAll('#result .now').length > 0")
    page.evaluate("document.querySelector('#player video').pause()")
    page.fill("#seek", "0.2")
    opened.wait("Math.abs(document.querySelector('#player video').currentTime - 0.2) < 0.05")
    assert page.get_attribute("#seek", "aria-valuetext").startswith("0.2 of 1.0")
    # the waveform and the strips are drawn, what raised the score upwards in its colour
    assert until(lambda: page.evaluate(SHARE_DRAWN) > 0.05)
    drawn, colour = page.evaluate(RAISED)
    assert drawn == colour
    opened.shot("result")
    with page.expect_download() as download:
        page.click("#save-json")
    assert download.value.suggested_filename == "holiday.score.json"
    download.value.save_as(tmp_path / "score.json")
    assert json.loads((tmp_path / "score.json").read_text("utf-8"))["clip"] == "holiday.mp4"
    with page.expect_download() as download:
        page.click("#save-page")
    download.value.save_as(tmp_path / "score.html")
    assert "holiday.mp4" in (tmp_path / "score.html").read_text("utf-8")
    page.click("#delete")
    opened.shown("choose")
    assert until(lambda: not any(served.server.jobs.counts().values()))
    assert opened.text("#status") == "The result was deleted."


@pytest.mark.parametrize("kind", ["film", "sound"])
def test_a_clip_is_recorded(opened: Watched, kind):
    page = opened.page
    page.evaluate(WATCH_TRACKS)
    page.click(f"#record-{kind}")
    opened.shown("recording")
    assert page.is_visible("#live") == (kind == "film")
    opened.wait("document.getElementById('clock').textContent >= '0:02'")
    if kind == "film":
        opened.shot("recording")
        page.click("#stop")
    else:
        page.evaluate("window.later = 18000")  # of the 20 seconds that are taken
    page.wait_for_selector("#done:not([hidden]), #failed:not([hidden])")
    assert not page.is_visible("#error"), opened.text("#error")
    assert page.locator(f"#player {'video' if kind == 'film' else 'audio'}").count() == 1
    assert page.evaluate("window.recorded.getTracks().map((track) => track.readyState)") == ["ended"] * (
        2 if kind == "film" else 1
    )
    page.click("#next")


def test_a_recording_is_discarded(opened: Watched):
    opened.page.click("#record-sound")
    opened.shown("recording")
    opened.page.click("#discard")
    opened.shown("choose")
    assert not any("POST" in one for one in opened.asked)


def test_only_what_was_asked_for_last_is_recorded(opened: Watched, clip):
    page = opened.page
    page.evaluate("""(() => {
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        window.given = [];
        navigator.mediaDevices.getUserMedia = async (what) => {
            await new Promise((allow) => { window.allow = [...(window.allow || []), allow]; });
            const stream = await ask(what);
            window.given.push(stream);
            return stream;
        };
    })()""")
    lamps = "window.given.flatMap((one) => one.getTracks()).filter((one) => one.readyState === 'live').length"
    page.click("#record-sound")
    page.click("#record-sound")
    page.evaluate("window.allow.forEach((allow) => allow())")
    opened.shown("recording")
    opened.wait(f"window.given.length === 2 && {lamps} === 1")
    page.click("#discard")
    opened.wait(f"{lamps} === 0")
    page.click("#record-sound")
    opened.upload(clip)
    opened.shown("done")
    page.evaluate("window.allow.forEach((allow) => allow())")
    opened.wait(f"window.given.length === 3 && {lamps} === 0")
    assert page.is_visible("#done")


def test_what_is_kept_goes_only_when_it_is_deleted(browser: "Browser", clip, tmp_path):
    kept = tmp_path / "kept"
    with serving(keep=kept) as served:
        pages = opening(browser, served)
        opened = next(pages)
        for number in (1, 2):
            opened.upload(clip)
            opened.shown("done")
            opened.page.click("#next")
            assert len(list(kept.iterdir())) == number
        opened.upload(clip)
        opened.shown("done")
        opened.page.click("#delete")
        opened.shown("choose")
        assert len(list(kept.iterdir())) == 2
        opened.upload(clip)
        opened.shown("done")
        opened.page.goto("about:blank")
        time.sleep(0.5)
        assert len(list(kept.iterdir())) == 3
        next(pages, None)


def test_what_is_no_clip_is_said_and_the_next_one_works(opened: Watched, served: Served, clip):
    before = served.server.jobs.counts()["failed"]
    opened.upload(b"garbage", "b<img src=x>.mp4")
    opened.shown("failed")
    assert until(lambda: served.server.jobs.counts()["failed"] <= before)
    assert opened.text("#error").startswith("“b<img src=x>.mp4” is no clip that can be read")
    assert opened.page.get_attribute("#error", "role") == "alert"
    opened.shot("error")
    opened.page.click("#other")
    opened.upload(clip)
    opened.shown("done")


def test_a_connection_that_breaks_is_made_again(opened: Watched, clip):
    broken: list[str] = []

    def route(asked: Any) -> None:
        broken.append(asked.request.url)
        if len(broken) <= 2:
            asked.abort("connectionreset")
        elif len(broken) <= 5:  # whatever comes of it, it is no more that the server does not answer
            asked.fulfill(content_type="text/event-stream", body=SOMEWHERE)
        else:
            asked.continue_()

    opened.page.route("**/events", route)
    opened.upload(clip, "steady.mp4")
    opened.shown("done")
    assert len(broken) == 6
    opened.errors.clear()  # the browser tells of each connection that broke


def test_a_clip_is_given_up(opened: Watched, served: Served, clip):
    opened.upload(clip, "slow.mp4")
    opened.wait("document.getElementById('stage').textContent === 'Decoding, 25 %'")
    assert opened.text("#stages .now") == "decoding"
    opened.shot("progress")
    opened.page.click("#cancel")
    opened.shown("choose")
    assert until(lambda: not any(served.server.jobs.counts().values()))
    assert until(lambda: not served.spooled())


def test_only_what_is_done_with_a_clip_is_listed(browser: "Browser", clip):
    said = {}
    for run in ("some-run", "no-words"):
        with serving(run=run) as served:
            for opened in opening(browser, served):
                opened.page.click("summary")
                assert opened.page.is_visible("#words") is (run == "some-run")
                opened.upload(clip, "slow.mp4")
                opened.wait("document.querySelector('#stages .now')?.textContent === 'decoding'")
                said[run] = opened.page.locator("#stages li").all_inner_texts()
    assert said["some-run"] == ["sending", "decoding", "sound", "speech", "words", "score", "reasons"]
    assert said["no-words"] == ["sending", "decoding", "sound", "score", "reasons"]


def test_a_page_that_is_closed_ends_its_clip(browser: "Browser", served: Served, clip):
    pages = opening(browser, served)
    opened = next(pages)
    opened.upload(clip, "slow.mp4")
    # Only who has begun to watch is missed soon.
    opened.wait("document.getElementById('stage').textContent.startsWith('Decoding')")
    opened.page.close()
    try:
        assert until(lambda: not any(served.server.jobs.counts().values()))
    finally:
        next(pages, None)


def test_two_at_once_wait_for_each_other_and_a_third_is_told_to_come_again(browser: "Browser", clip):
    with serving(waiting=1) as served:
        pages = [opening(browser, served) for _ in range(3)]
        one, two, three = (next(page) for page in pages)
        one.upload(clip, "slow.mp4")
        one.wait("document.getElementById('stage').textContent.startsWith('Decoding')")
        two.upload(clip)
        two.wait("document.getElementById('stage').textContent === 'Waiting: 1 clip is before yours.'")
        two.shot("waiting")
        three.upload(clip)
        three.shown("failed")
        assert three.text("#failed-title") == "The queue is full"
        assert "come again in" in three.text("#error")
        one.page.click("#cancel")
        two.shown("done")
        three.page.click("#again")
        three.shown("done")
        for page in pages:
            next(page, None)


def test_all_of_it_is_done_by_the_keyboard(opened: Watched, clip):
    page = opened.page
    # Choosers are handed over from when somebody first listens, which the browser may hear later than the key.
    page.on("filechooser", lambda _: None)
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if reached[-1] not in ("file", "skip"):
            assert outline == "solid", reached
    assert reached == ["skip", "file", "record-film", "record-sound", "SUMMARY"]
    page.focus("#file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "a.mp4", "mimeType": "video/mp4", "buffer": clip})
    opened.shown("done")
    page.focus("#seek")
    page.keyboard.press("ArrowRight")
    opened.wait("document.querySelector('#player video').currentTime > 0.04")
    page.focus("#result [data-begin][tabindex='0']")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.begin") == "0.4"
    assert "play from 0.4 seconds" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Enter")
    opened.wait("document.querySelector('#player video').currentTime >= 0.4")
    page.focus("#next")
    page.keyboard.press("Enter")
    opened.shown("choose")
    assert page.evaluate("document.activeElement.id") == "file"


def test_what_is_said_of_a_clip_reaches_the_scorer_and_files_are_dropped(opened: Watched, clip):
    page = opened.page
    page.click("summary")
    page.fill("#words", "so very <i>good</i>")
    page.fill("#begin", "0.25")
    page.fill("#end", "0.75")
    page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.mp4", { type: "video/mp4" }));
            dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        list(clip),
    )
    opened.shown("done")
    assert "<i>good</i>" in opened.text("#result")
    assert float(page.get_attribute("#seek", "max") or 0) == pytest.approx(0.5, abs=0.05)
    # the cut begins at a quarter of a second of what is played
    opened.wait("document.querySelector('#player video').readyState >= 2")
    page.fill("#seek", "0.2")
    opened.wait("Math.abs(document.querySelector('#player video').currentTime - 0.45) < 0.01")
    opened.wait("document.getElementById('seek').getAttribute('aria-valuetext').startsWith('0.2 of 0.')")
    assert page.evaluate("document.querySelector('#result .now').dataset.begin") == "0.2"
    page.click("#next")
    assert [page.input_value(f"#{name}") for name in ("begin", "end", "words")] == ["", "", ""]


def test_a_clip_that_is_too_large_is_not_sent(opened: Watched):
    opened.page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(65e6)], "long.mp4", { type: "video/mp4" }));
            dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
    )
    opened.shown("failed")
    assert opened.text("#error").startswith("“long.mp4” has 65 MB, more than the 64 MB that are taken")
    assert not any("/clips" in one for one in opened.asked)


@pytest.mark.parametrize(
    ("kept", "private", "said"),
    [
        (
            True,
            True,
            "The clip stays on this machine. Whoever runs this server has it keep clips and results",
        ),
        (False, False, "The clip goes to the machine that serves this page and to no other. It is deleted"),
    ],
)
def test_where_a_clip_goes_and_whether_it_is_kept_is_said(
    opened: Watched, served: Served, kept, private, said
):
    about = served.client.get("/api/v1/about").json() | {"kept": kept, "private": private}
    opened.page.route("**/about", lambda asked: asked.fulfill(json=about))
    opened.page.reload()
    opened.wait("document.getElementById('limits').textContent !== ''")
    assert opened.text("#privacy").startswith(said)


@pytest.mark.parametrize("behind", ["", "#%"])
def test_without_the_token_the_page_says_what_to_do(browser: "Browser", served: Served, behind):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{served.server.url}/{behind}")
    page.wait_for_selector("#failed:not([hidden])", timeout=1000 * PATIENT)
    assert "open the whole address" in page.inner_text("#error")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone_and_can_be_read(browser: "Browser", served: Served, clip, scheme):
    size = {"width": 360, "height": 740}
    pages = opening(browser, served, viewport=size, color_scheme=scheme, device_scale_factor=2)
    opened = next(pages)
    opened.shot(f"phone-{scheme}-empty")
    opened.upload(clip)
    opened.shown("done")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    ink, back = (
        opened.page.evaluate(f"getComputedStyle(document.body).{name}")
        for name in ("color", "backgroundColor")
    )
    assert contrast(ink, back) >= 7
    until(lambda: False, 1.5 if SHOTS else 0)
    opened.shot(f"phone-{scheme}-result")
    next(pages, None)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG defines it."""

    def light(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
