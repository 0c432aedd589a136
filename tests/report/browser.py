"""A headless Chromium for tests of pages, where this machine has one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
WHY_NOT = "needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)"


@contextmanager
def browser(width: int = 1280, height: int = 900, scripts: bool = True) -> Iterator[Any]:
    """A browser without a window; skips the test where there is none."""
    if not (CHROMIUM and DRIVER):
        pytest.skip(WHY_NOT)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER, env=os.environ | {"NO_PROXY": "*"}))
    try:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        resize(driver, width, height)
        driver.set_script_timeout(120)
        yield driver
    finally:
        driver.quit()


def resize(driver: Any, width: int, height: int) -> None:
    """Give the page so many pixels, also fewer than a window may have."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def prefer(driver: Any, colors: str) -> None:
    """What the system prefers: light or dark."""
    features = [{"name": "prefers-color-scheme", "value": colors}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})


def opened(driver: Any, path: Path) -> None:
    """Open a page from its file."""
    driver.get(path.as_uri())


def complaints(driver: Any) -> list[str]:
    """What the page has left on the console, policies that it broke among it."""
    return [entry["message"] for entry in driver.get_log("browser")]
