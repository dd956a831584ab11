"""A headless Chromium for the tests of pages: no network, its own profile, and the sizes and schemes of a reader."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)


def need_browser() -> None:
    """Skip the test where there is no Chromium."""
    if not BROWSER or not DRIVER:
        pytest.skip("needs chromium and chromedriver on the PATH (Debian: chromium, chromium-driver)")


@contextmanager
def browser() -> Iterator[Any]:
    """A driver of Chromium; what its console says is in `get_log("browser")`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    need_browser()
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


@contextmanager
def loaded(driver: Any, path: Path) -> Iterator[Any]:
    """The page of a file, loaded again; afterwards its console must be empty."""
    driver.get("about:blank")
    driver.get(path.as_uri())
    yield driver
    assert driver.get_log("browser") == []


@contextmanager
def seen(driver: Any, width: int, height: int = 900, *, scheme: str = "light", media: str = "") -> Iterator[None]:
    """The page at a width in CSS pixels, in a colour scheme, or as print media. Under 600 pixels it is a phone."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [feature]})
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def one(page: Any, selector: str) -> Any:
    """The first element of a selector."""
    return page.find_element("css selector", selector)


def every(page: Any, selector: str) -> list:
    """All elements of a selector."""
    return page.find_elements("css selector", selector)
