"""The page in a real browser: a picture goes in, what was found is shown."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.experiments.serve.browser import chromium
from tests.experiments.serve.conftest import Light, running

pytest.importorskip("starlette", reason="a service needs the extra: pip install -e '.[serve]'")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,  # a browser starts
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (the Debian package chromium)"),
]
COLOUR_AT = "Array.from(document.getElementById('over').getContext('2d').getImageData({x}, {y}, 1, 1).data)"
ROWS = "Array.from(document.querySelectorAll('#classes tr'), row => row.innerText.trim())"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with running(Light()) as client, chromium(CHROMIUM, tmp_path_factory.mktemp("profile")) as tab:
        tab.window(1200, 900)
        tab("Page.navigate", url=f"http://127.0.0.1:{client.port}/")
        tab.wait("document.title === 'light'")
        yield tab
        assert tab.complaints() == []


def upload(tab, path):
    tab.value("document.getElementById('message').textContent = ''")
    tab.choose("#file", path)
    tab.wait("/pixels/.test(document.getElementById('message').textContent)")


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_picture_is_uploaded_and_shown(tab, tmp_path, kind):
    """A quarter of the picture is light; a TIFF file, which the browser cannot show, comes back as PNG."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[:30, 40:] = 255
    Image.fromarray(pixels).save(tmp_path / f"photo.{kind}")
    tab.window(1200, 900)
    upload(tab, tmp_path / f"photo.{kind}")
    assert tab.value(ROWS) == ["dark\t75.0 %", "light\t25.0 %"]
    assert tab.value(COLOUR_AT.format(x=79, y=0)) == [200, 100, 50, 255]
    assert tab.value(COLOUR_AT.format(x=39, y=0)) == tab.value(COLOUR_AT.format(x=79, y=30)) == [10, 20, 30, 255]
    assert tab.value(COLOUR_AT.replace("over", "picture").format(x=79, y=0)) == [255, 255, 255, 255]


def test_the_slider_and_the_pointer(tab):
    tab.value(
        "strength.value = 20; document.getElementById('strength').dispatchEvent(new Event('input'))".replace(
            "strength.value", "document.getElementById('strength').value"
        )
    )
    assert tab.value("getComputedStyle(document.getElementById('over')).opacity") == "0.2"
    left, top, width, height = tab.value(
        "(box => [box.left, box.top, box.width, box.height])(document.getElementById('over').getBoundingClientRect())"
    )
    for x, y, name in ((0.9, 0.1, "light"), (0.1, 0.1, "dark")):
        tab.move(left + x * width, top + y * height)
        tab.wait(f"document.getElementById('name').textContent === '{name}'")
        assert tab.value("document.querySelector('tr.on').innerText").strip().startswith(name)
    tab.move(1, 1)
    tab.wait("document.getElementById('name').hidden")


def test_what_the_server_refuses_is_said(tab, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"no picture")
    tab.choose("#file", tmp_path / "photo.png")
    tab.wait("/not an image that can be read/.test(document.querySelector('#message.error')?.textContent)")
    tab.events.clear()  # the browser logs the status 400, too


def test_the_camera(tab):
    """Chromium's own fake camera, opened twice: the first is closed."""
    tab.value("document.getElementById('open').click()")
    tab.wait("document.getElementById('video').videoWidth > 0")
    tab.value("window.first = stream; document.getElementById('open').click()")
    tab.wait("stream !== window.first && document.getElementById('video').videoWidth > 0")
    assert tab.value("window.first.getTracks().every(track => track.readyState === 'ended')")
    tab.value("document.getElementById('message').textContent = ''; document.getElementById('take').click()")
    tab.wait("/pixels/.test(document.getElementById('message').textContent)")
    assert tab.value("document.getElementById('camera').hidden && stream === null")


@pytest.mark.parametrize(("width", "scheme", "back"), [(360, "dark", "rgb(20, 23, 27)"), (1600, "light", "rgb(255, 255, 255)")])
def test_windows_and_colours(tab, width, scheme, back):
    tab.window(width, 800, scheme)
    assert tab.value("getComputedStyle(document.body).backgroundColor") == back
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    beside = "document.querySelector('table').getBoundingClientRect().left > document.getElementById('stage').offsetLeft + 99"
    assert tab.value(beside) == (width > 600)
