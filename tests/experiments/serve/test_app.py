"""What the service answers: masks, overlays, JSON; and what it refuses."""

import contextlib
import http.client
import io
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="a service needs the extra: pip install -e '.[serve]'")
pytest.importorskip("uvicorn", reason="a service needs the extra: pip install -e '.[serve]'")

from fcn import visualize
from tests.experiments.serve.conftest import SEMANTIC, decoded

RANDOM = np.random.default_rng(0)


def picture(height=6, width=9, first=0):
    pixels = np.repeat(RANDOM.integers(0, 2, (height, width, 1), np.uint8) * 255, 3, 2)
    pixels[0, 0] = first
    return pixels


def file(pixels, kind="PNG"):
    Image.fromarray(pixels).save(stream := io.BytesIO(), kind)
    return stream.getvalue()


def form(name, data):
    """multipart/form-data with a field and a file."""
    parts = b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    parts += b'--x\r\nContent-Disposition: form-data; name="%b"; filename="a.png"\r\n\r\n%b\r\n--x--\r\n' % (name, data)
    return parts, {"content-type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "form"])
def test_masks(ask, kind):
    """The classes of each pixel, in the colours of the task."""
    pixels = picture()
    body, headers = form(b"image", file(pixels)) if kind == "form" else (file(pixels, kind), {})
    answer = ask("/predict", body, headers)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    np.testing.assert_array_equal(answer.pixels, pixels[..., 0] > 127)
    colours = Image.open(io.BytesIO(answer.body)).getpalette()
    assert colours[:6] == [10, 20, 30, 200, 100, 50]


def test_overlays(ask):
    pixels = picture()
    answer = ask("/predict?answer=overlay", file(pixels))
    classes = (pixels[..., 0] > 127).astype(int)
    np.testing.assert_array_equal(answer.pixels, visualize.overlay(pixels, classes, SEMANTIC.colours))


def test_shares_and_masks_as_json(ask):
    pixels = picture()
    light = (pixels[..., 0] > 127).astype(np.uint8)
    found = ask("/predict?answer=json&picture=1", file(pixels)).json
    assert (found["task"], found["height"], found["width"]) == ("semantic", 6, 9)
    for k, one in enumerate(found["classes"]):
        assert (one["id"], one["name"], one["colour"]) == (k, SEMANTIC.classes[k], list(SEMANTIC.palette[k]))
        assert one["share"] == pytest.approx((light == k).mean()) and one["pixels"] == (light == k).sum()
        np.testing.assert_array_equal(decoded(one["rle"]), light == k)
    assert found["picture"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/predict", b"", 400, "the body is empty; send a PNG"),
        ("/predict", b"no image", 400, "the image: not an image that can be read"),
        ("/predict", file(picture())[:60], 400, "the image: damaged or cut short"),
        ("/predict?answer=maks", file(picture()), 400, "did you mean 'mask'"),
        ("/predict?anwser=mask", file(picture()), 400, "did you mean 'answer'"),
        ("/predict?picture=yes", file(picture()), 400, "picture=yes; it is 0 or 1"),
        ("/predict", bytes(2**16 + 1), 413, "the body is larger than 0.0625 MiB"),
        ("/predict", bytes(2**20), 413, "the body is larger than 0.0625 MiB"),
        ("/predict", b"a bomb", 413, "more pixels than are taken"),
        ("/predict", file(picture(first=77)), 413, "not enough memory"),
        ("/predict", file(picture(first=66)), 500, "a defect of the service (RuntimeError)"),
        ("/predictions", b"x", 404, "Not Found"),
        ("/predict", None, 405, "Method Not Allowed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(ask, path, body, status, said):
    answer = ask(path, body)
    assert answer.status == status
    assert said in answer.json["error"]


def test_forms_without_a_file(ask):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    parts = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nhello\r\n--x--\r\n'
    for body, said in ((parts, "the form has no file"), (b"--y", "Invalid multipart data")):
        answer = ask("/predict", body, headers)
        assert answer.status == 400 and said in answer.json["error"]


def test_a_full_queue_refuses_and_mixes_nothing_up(ask, light):
    """Six places: of nine images that come at once six are answered, each with its own mask, the others with 429."""
    pictures = [picture(8, 5 + k % 2) for k in range(9)]
    light.free.clear()
    light.groups.clear()
    with ThreadPoolExecutor(9) as pool:
        answers = [pool.submit(ask, "/predict", file(pixels)) for pixels in pictures]
        deadline = time.monotonic() + 10
        while sum(answer.done() for answer in answers) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        light.free.set()
    answers = [answer.result() for answer in answers]
    assert sorted(answer.status for answer in answers) == [200] * 6 + [429] * 3
    for answer, pixels in zip(answers, pictures):
        if answer.status == 200:
            np.testing.assert_array_equal(answer.pixels, pixels[..., 0] > 127)
        else:
            assert answer.headers["retry-after"] == "1" and "6 images are on their way already" in answer.json["error"]
    assert sum(light.groups) == 6 and 2 <= len(light.groups) <= 4


def test_an_image_that_fails_harms_no_other(ask, light):
    light.groups.clear()
    pictures = [picture(7, 7, first) for first in (0, 66, 255, 0)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda pixels: ask("/predict", file(pixels)), pictures))
    assert [answer.status for answer in answers] == [200, 500, 200, 200]


def test_slow_clients_hold_up_nobody(ask):
    """Ten connections that send nothing more: others are answered, they are told so (408) after half a second."""
    slow = [socket.create_connection(("127.0.0.1", ask.port)) for _ in range(10)]
    for one in slow:
        one.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n" + bytes(100))
    assert ask("/predict", file(picture())).status == 200
    for one in slow:
        assert one.recv(1000).startswith(b"HTTP/1.1 408")
        one.close()


def test_who_has_gone_is_left_out(ask, light):
    light.free.clear()
    light.groups.clear()
    body = file(picture(5, 5))
    holding = threading.Thread(target=ask, args=("/predict", file(picture(4, 4))))
    holding.start()
    with socket.create_connection(("127.0.0.1", ask.port)) as gone:
        gone.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        wait_for(ask, "fcn_waiting_images 2")
    wait_for(ask, "fcn_waiting_images 1")
    light.free.set()
    holding.join()
    assert ask("/predict", body).status == 200
    assert light.groups == [1, 1]


def wait_for(ask, line):
    deadline = time.monotonic() + 10
    while line not in ask("/metrics").body.decode().splitlines():
        assert time.monotonic() < deadline, line
        time.sleep(0.01)


def test_health_metrics_and_openapi(ask):
    assert ask("/health").json == {"status": "ok", "model": "light", "task": "semantic", "classes": ["dark", "light"]}
    before = values(ask("/metrics").body.decode())
    ask("/predict", file(picture()))
    after = values(ask("/metrics").body.decode())
    name = 'fcn_requests_total{answer="mask",status="200"}'
    assert after[name] == before.get(name, 0) + 1
    count = "fcn_request_seconds_count"
    assert after[count] == after['fcn_request_seconds_bucket{le="+Inf"}'] == before[count] + 1
    assert 0 < after['fcn_image_processor_seconds_total{part="read"}'] < after["process_cpu_seconds_total"]
    assert 0 < after["fcn_loop_processor_seconds_total"] < after["process_cpu_seconds_total"]
    paths = ask("/openapi.json").json["paths"]
    assert {*paths} == {"/", "/health", "/metrics", "/predict"}
    assert {*paths["/predict"]["post"]["responses"]} == {"200", "400", "408", "413", "429"}


def values(text):
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_the_page_needs_no_other_server(ask):
    answer = ask("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert b"http://" not in answer.body and b"https://" not in answer.body
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_the_load_test_tells_answers_apart(ask):
    """Of the benchmark: every answer is its own image's; where masks are expected that are others', it says so."""
    from experiments.benchmark.serving import Photo
    from experiments.benchmark.serving import ask as ask_by_clients

    pictures = [picture(9, 9) for _ in range(4)]
    right = [Photo(file(pixels), pixels[..., 0] > 127) for pixels in pictures]
    load = ask_by_clients(ask.port, right, clients=3, seconds=0.2)
    assert (load.mixed_up, load.lost) == (0, 0) and len(load.latencies) >= 3
    wrong = [Photo(one.data, other.mask) for one, other in zip(right, right[1:] + right[:1])]
    load = ask_by_clients(ask.port, wrong, clients=3, seconds=0.2)
    assert load.mixed_up == len(load.latencies) >= 3
    load = ask_by_clients(ask.port, [Photo(b"no image", right[0].mask)], clients=1, seconds=0.05)
    assert load.lost >= 1 and load.latencies == []


def test_the_load_test_without_answers(monkeypatch):
    """A server that speaks no HTTP gives none."""
    from experiments.benchmark import serving

    def broken(*_):
        raise http.client.BadStatusLine("nonsense")

    with monkeypatch.context() as patch:
        patch.setattr(http.client.HTTPConnection, "request", broken)
        load = serving.ask(1, [serving.Photo(b"", np.zeros((1, 1)))], clients=2, seconds=0.02)
    assert load.lost >= 2 and load.latencies == []
    for name in ("serving._save_network", "serving._photos"):
        monkeypatch.setattr(f"experiments.benchmark.{name}", lambda *_: None)
    for name in ("building.networks.from_folder", "serve.network.ServedNetwork"):
        monkeypatch.setattr(f"experiments.{name}", lambda *_: None)
    monkeypatch.setattr(serving, "_service", lambda _: contextlib.nullcontext(1))
    monkeypatch.setattr(serving, "_figures", lambda _: {})
    monkeypatch.setattr(serving, "ask", lambda *_: serving.Load([], 0, 3, 0.01))
    with pytest.raises(ValueError, match="3 requests were lost; give more --seconds"):
        serving.measure(0.02)


def test_the_load_test_does_not_wait_for_a_service_that_does_not_start(tmp_path, monkeypatch):
    from experiments.benchmark import serving

    (tmp_path / "python").write_text("#!/bin/sh\necho starting\nexec sleep 30\n")
    (tmp_path / "python").chmod(0o755)
    begun = time.monotonic()
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(RuntimeError, match="the service did not start"), serving._service(tmp_path):
        pass
    assert time.monotonic() - begun < 20
