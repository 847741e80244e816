"""The leaderboard's page in a real browser (headless Chromium)."""

import re
import shutil

import pytest

from clbench.leaderboard.building import build
from clbench.leaderboard.ranking import rank
from clbench.leaderboard.submission import read_entry
from tests.leaderboards import write_submission

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and chromedriver"),
]


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--force-color-profile=srgb",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    levels = {"a-first": 0.3, "b-best": 0.8, "c-middle": 0.5}
    made = [write_submission(folder, name, level) for name, level in levels.items()]
    made.append(write_submission(folder, "moved", 0.6, id="PermutedMNIST-v0"))
    made.append(write_submission(folder, "tuned", 0.9, tuned="<b>grid</b> & more"))
    build(folder, rank([read_entry(one) for one in made]))
    return folder / "index.html"


@pytest.fixture
def page(browser, place):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.set_window_size(1300, 900)
    browser.get(place.as_uri())
    yield browser
    complaints = browser.get_log("browser")
    assert not complaints


def names(page):
    rows = page.find_elements("css selector", "tbody tr")
    return [row.find_element("css selector", "summary").text for row in rows if row.is_displayed()]


def choose(page, id, value):
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("id", id)).select_by_value(value)


def header(page, text):
    return next(one for one in page.find_elements("css selector", "thead th") if one.text.startswith(text))


def test_it_opens_on_one_board_and_filters(page):
    assert names(page) == ["b-best", "c-middle", "a-first", "tuned"]
    choose(page, "track", "untuned")
    assert names(page) == ["b-best", "c-middle", "a-first"]
    assert page.find_element("id", "count").text == "3 rows"
    choose(page, "stream", "PermutedMNIST-v0")
    choose(page, "track", "tuned")
    assert names(page) == []
    assert page.find_element("id", "none").is_displayed()
    choose(page, "stream", "")
    choose(page, "track", "")
    assert len(names(page)) == 5


def test_each_board_shown_says_why_its_rows_tie(page):
    def shown():
        return [
            one.text.partition(":")[0]
            for one in page.find_elements("css selector", ".ties")
            if one.is_displayed()
        ]

    assert shown() == ["RandomLabelMNIST-v0, quick, untuned"]  # the others have a single row
    choose(page, "stream", "PermutedMNIST-v0")
    assert shown() == []


def test_a_column_of_one_value_is_not_shown(page):
    shown = {text: header(page, text).is_displayed() for text in ("Rank", "Track")}
    assert shown == {"Rank": True, "Track": True}
    titles = page.find_elements("css selector", "thead th")
    assert [one.get_attribute("class") for one in titles if not one.is_displayed()] == ["stream", "protocol"]
    choose(page, "stream", "")
    choose(page, "track", "untuned")
    assert header(page, "Stream").is_displayed()
    assert [one.get_attribute("class") for one in titles if not one.is_displayed()] == ["protocol", "track"]


def test_headers_sort_both_ways_and_say_so(page):
    choose(page, "stream", "")
    header(page, "Submission").find_element("tag name", "button").click()
    assert names(page) == ["a-first", "b-best", "c-middle", "moved", "tuned"]
    assert header(page, "Submission").get_attribute("aria-sort") == "ascending"
    header(page, "Submission").find_element("tag name", "button").click()
    assert names(page) == ["tuned", "moved", "c-middle", "b-best", "a-first"]
    header(page, "Average").find_element("tag name", "button").click()
    assert names(page) == ["tuned", "b-best", "moved", "c-middle", "a-first"]
    assert header(page, "Average").get_attribute("aria-sort") == "descending"
    assert header(page, "Submission").get_attribute("aria-sort") is None


def test_keys_are_enough(page):
    from selenium.webdriver.common.keys import Keys

    choose(page, "stream", "")
    header(page, "Average").find_element("tag name", "button").send_keys(Keys.ENTER)
    assert names(page)[0] == "tuned"
    page.find_elements("css selector", "summary")[0].send_keys(Keys.ENTER)
    details = page.find_elements("css selector", "tbody dl")[0]
    assert "<b>grid</b> & more" in details.text


def test_nothing_is_asked_for_from_elsewhere(page):
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_a_phone_needs_no_sideways_scrolling(page):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.refresh()
        widths = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1]
        cell = page.find_element("css selector", "tbody tr:not([hidden]) td.cost")
        label = page.execute_script("return getComputedStyle(arguments[0], '::before').content", cell)
        assert label == '"Cost"'
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_light_and_dark_can_both_be_read(page, scheme, dark):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    script = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    ink, ground = (luminance(colour) for colour in page.execute_script(script))
    assert (ink > ground) == dark
    assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) > 7  # WCAG 2, level AAA


def luminance(colour):
    """Relative luminance of "rgb(r, g, b)". Source: W3C, Web Content Accessibility Guidelines 2.1."""
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_screen_reader_finds_a_table(page):
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node.get("role", {}).get("value") for node in tree if not node.get("ignored")]
    assert {"table", "columnheader", "rowheader", "heading", "main", "form"} & set(roles) >= {
        "table",
        "columnheader",
        "rowheader",
        "heading",
        "main",
    }
    curves = [
        node["name"]["value"]
        for node in tree
        if node.get("role", {}).get("value") in ("img", "image") and node.get("name", {}).get("value")
    ]
    assert any(re.search(r"\baccuracy\b.*\b0\.8", name) for name in curves)
