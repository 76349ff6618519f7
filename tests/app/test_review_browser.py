"""The page of a review in a real Chromium: typing, dragging, drawing, undo, reload, two tabs."""

from __future__ import annotations

import time

import numpy as np
import pytest
from browser import MISSING, browser
from test_review import ITEMS, begin, pages, serving, texts

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING or "")]
__all__ = ["pages"]  # a fixture


def until(page, script, expected):
    """Waits until a script returns what is expected."""
    for _ in range(200):
        found = page.run(f"return {script}")
        if found == expected:
            return
        time.sleep(0.05)
    raise AssertionError(f"{script}: {found!r}, expected {expected!r}")


def click_keys(page, *keys):
    """Keys pressed together, as Control and z."""
    down = [{"type": "keyDown", "value": key} for key in keys]
    up = [{"type": "keyUp", "value": key} for key in reversed(keys)]
    page.call("POST", "/actions", actions=[{"type": "key", "id": "keys", "actions": down + up}])


def drag(page, start, end):
    """A drag on the canvas between two places in pixels of the picture, once that stands still."""
    page.run("window.still = false; queue(() => { window.still = true; })")
    until(page, "window.still", True)
    place = page.run(
        "const r = view.getBoundingClientRect();"
        "return [...arguments].map(onScreen).map(([x, y]) =>"
        " [Math.round(x + r.left), Math.round(y + r.top)])",
        start,
        end,
    )
    moves = [
        {"type": "pointerMove", "duration": 0, "x": place[0][0], "y": place[0][1]},
        {"type": "pointerDown", "button": 0},
        {"type": "pointerMove", "duration": 50, "x": place[1][0], "y": place[1][1]},
        {"type": "pointerUp", "button": 0},
    ]
    mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}}
    page.call("POST", "/actions", actions=[mouse | {"actions": moves}])


def test_keys_that_come_at_once(pages, tmp_path):
    session = begin(pages, tmp_path, ITEMS)
    with serving(session) as server, browser() as page:
        page.call("POST", "/url", url=server.address)
        until(page, "field.value", "othr")
        page.run(
            "for (let i = 0; i < 3; i++) {"
            " document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' })); }"
        )
        until(page, "items.every((one) => one.done)", True)
        # Each is of the word that is shown when its turn comes.
        assert texts(session) == [["word", "othr", "###", "new"], ["word", "othr", "###"]]
        held = "new KeyboardEvent('keydown', { key: 'F4', repeat: true })"
        page.run(f"document.dispatchEvent({held}); queue(() => say('later'))")
        until(page, "said.textContent", "later")
        assert session.edits == 3


def test_a_review_in_the_browser(pages, tmp_path):
    session = begin(pages, tmp_path, ITEMS)
    with serving(session) as server, browser() as page:
        page.call("POST", "/url", url=server.address)
        until(page, "field.value", "othr")
        assert page.run("return document.title") == "set <b>"  # a text, no element

        page.press("Tab")  # what the recognizer reads
        until(page, "field.value", "other")
        page.press("Enter")
        until(page, "field.value", "word")
        assert texts(session)[0] == ["word", "other", "###"]
        assert session.keys == 2

        # A corner, the whole box, and a new one.
        drag(page, (70, 26), (90, 30))
        until(page, "now().version", 1)
        quad = session.result()[1].words[0].quad
        np.testing.assert_allclose(quad[2], (90, 30), atol=0.5)
        np.testing.assert_allclose(quad[:2], [(10, 10), (70, 10)], atol=0.01)
        drag(page, (40, 18), (45, 20))
        until(page, "now().version", 2)
        np.testing.assert_allclose(session.result()[1].words[0].quad[0], (15, 12), atol=0.5)
        drag(page, (5, 40), (75, 60))
        until(page, "items.length", 4)
        until(page, "field.value", "")
        page.press(*"drawn", "Enter")
        until(page, "now().word", 3)  # where a word may be lacking
        assert texts(session)[1] == ["word", "othr", "###", "drawn"]
        until(page, "field.value", "new")
        page.press("F4")
        until(page, "items.filter((one) => one.done).length", 3)
        click_keys(page, "\ue009", "z")
        until(page, "items.filter((one) => one.done).length", 2)
        page.press("Enter")  # it is what is read
        until(page, "items.filter((one) => one.done).length", 3)
        assert texts(session)[0] == ["word", "other", "###", "new"]

        # Nothing is lost by a reload; the word that is left is shown.
        page.call("POST", "/refresh")
        until(page, "[now()?.page, now()?.word, field.value].join()", "1,0,word")

        # Another tab changes the word that this one shows.
        page.press(*"stale")
        first = page.call("GET", "/window")
        second = page.call("POST", "/window/new", type="tab")["handle"]
        page.call("POST", "/window", handle=second)
        page.call("POST", "/url", url=server.address)
        until(page, "field.value", "word")
        page.press(*"elsewhere", "Enter")
        until(page, "items.every((one) => one.done)", True)
        page.call("POST", "/window", handle=first)
        until(page, "document.hasFocus()", True)
        page.press("Enter")
        until(page, "said.textContent.includes('has changed')", True)
        until(page, "field.value", "elsewhere")
        assert texts(session)[1][0] == "elsewhere"

        page.press("F2")
        until(page, "state.textContent", "don't care")
        assert texts(session)[1][0] == "###"
        page.run("save.click()")
        until(page, "said.textContent", "saved")
        severe = [line for line in page.errors() if "409" not in line]
        assert severe == []
