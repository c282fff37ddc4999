"""Downloads from a server on this machine: progress to a whole, checked file, or one clear error and nothing left."""

import contextlib
import errno
import hashlib
import http.server
import multiprocessing
import os
import socket
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save

import fcn
from fcn.pretrained import WEIGHTS, weights
from fcn.pretrained.download import download, weights_folder
from tests.variables import random_variables

CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; counts requests; breaks off or fails on request."""

    def do_GET(self):
        self.server.requests += 1
        if self.path.startswith("/missing"):
            self.send_error(404)
        elif self.path.startswith("/failing"):
            self.send_error(503)
        elif self.path.startswith(("/silent", "/slow", "/endless", "/huge")):
            self.drag(self.path)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            whole = not self.path.startswith("/cut")
            self.wfile.write(self.server.content if whole else self.server.content[:1_500_000])

    def drag(self, path):
        """Answers that never end: headers, or the content, byte by byte or at once; one is announced as huge."""
        with contextlib.suppress(OSError):  # until the other side has had enough
            self.wfile.write(b"HTTP/1.1 200 OK\r\nLast-Modified: ")
            if not path.startswith("/silent"):
                length = b"Content-Length: 99999999\r\n" if path.startswith("/huge") else b""
                self.wfile.write(b"today\r\n" + length + b"\r\n")
            while True:
                self.wfile.write(bytes(10**5 if path.startswith("/endless") else 1))
                time.sleep(0 if path.startswith("/endless") else 0.02)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.requests = CONTENT, 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_download_once(server, tmp_path):
    for _ in range(2):
        path = download(f"{server.url}/net-abc.pth", DIGEST[:8], tmp_path / "new")
        assert path == tmp_path / "new" / "net-abc.pth"
        assert path.read_bytes() == CONTENT
    assert server.requests == 1
    assert [file.name for file in path.parent.iterdir()] == ["net-abc.pth"]


@pytest.mark.parametrize(
    ("file", "error", "message"),
    [
        ("missing.pth", ConnectionError, "answered 404 Not Found; download it by other means and put it at .*missing.pth"),
        ("failing.pth", ConnectionError, "answered 503 Service Unavailable"),
        ("cut.pth", ConnectionError, "broke off after 1500000 of 3000000 bytes|cannot be had"),
        ("wrong.pth", ValueError, f"has the SHA-256 {DIGEST}, not 00000000...; it was changed or damaged on its way"),
    ],
)
def test_failures_leave_nothing(server, tmp_path, file, error, message):
    with pytest.raises(error, match=message):
        download(f"{server.url}/{file}", "00000000", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "limits", "message"),
    [
        (
            "silent",
            {"_PATIENCE": 0.3},
            r"cannot be had \(no answer in 0.3 s\); download it by other means and put it at .*silent",
        ),
        ("slow", {"_PATIENCE": 0.3, "_LEAST": 1000}, r"cannot be had \(only \d\d? bytes came in 0 s\); download it"),
        ("slow", {"_LONGEST": 0.3}, r"cannot be had \(\d\d? bytes came in 0.3 s\); download it"),
        ("endless", {"_LARGEST": 10**6}, r"cannot be had \(it has more than 1,000,000 bytes\); download it"),
        ("huge", {"_LARGEST": 10**6}, r"cannot be had \(it has more than 1,000,000 bytes\); download it"),
    ],
)
def test_servers_that_never_end(server, tmp_path, monkeypatch, file, limits, message):
    for name, value in limits.items():
        monkeypatch.setattr(f"fcn.pretrained.download.{name}", value)
    with pytest.raises(ConnectionError, match=message):
        download(f"{server.url}/{file}", DIGEST, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_taken_for_the_network(server, tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no device that is always full")
    monkeypatch.setattr(Path, "open", lambda path, _: os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", 0))
    with pytest.raises(OSError, match="No space left on device") as told:
        download(f"{server.url}/net.pth", DIGEST, tmp_path)
    assert told.value.errno == errno.ENOSPC and list(tmp_path.iterdir()) == []


def test_permissions_are_those_that_the_user_asks_for(server, tmp_path):
    mask = os.umask(0o027)
    try:
        path = download(f"{server.url}/net.pth", DIGEST, tmp_path / "new")
    finally:
        os.umask(mask)
    assert [oct(file.stat().st_mode & 0o777) for file in (path.parent, path)] == ["0o750", "0o640"]


def test_no_network(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(ConnectionError, match=r"cannot be had \(.*refused\); download it by other means and put it at"):
        download(f"http://127.0.0.1:{port}/net.pth", DIGEST, tmp_path)
    assert list(tmp_path.iterdir()) == []


def _download(url, folder):
    return download(url, DIGEST, folder).read_bytes() == CONTENT


def test_several_processes_at_once(server, tmp_path):
    with multiprocessing.get_context("forkserver").Pool(3) as pool:
        assert all(pool.starmap(_download, [(f"{server.url}/net.pth", tmp_path)] * 3))
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]


def test_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("FCN_WEIGHTS_DIR", str(tmp_path))
    assert weights_folder() == tmp_path
    monkeypatch.delenv("FCN_WEIGHTS_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "fcn" / "weights"


def test_load_weights(server, tmp_path, monkeypatch):
    """From the network to variables, for the encoder and for the classifier."""
    encoder = fcn.create_encoder("vgg11", width_multiplier=1 / 32)
    variables = random_variables(encoder, 1, 32, 32, 3)
    names = {f"features.{index}": name for index, name in zip((0, 3, 6, 8, 11, 13, 16, 18), sorted(variables["params"]))}
    tensors = {f"{torch}.bias": np.asarray(variables["params"][flax]["bias"]) for torch, flax in names.items()}
    for torch, flax in names.items():
        tensors[f"{torch}.weight"] = np.ascontiguousarray(np.transpose(variables["params"][flax]["kernel"], (3, 2, 0, 1)))
    tensors["classifier.0.bias"] = np.zeros(3, np.float32)  # an encoder leaves the dense layers aside
    server.content = save(tensors)
    row = WEIGHTS["vgg11.imagenet1k_v1"]._replace(
        url=f"{server.url}/vgg11.safetensors", sha256=hashlib.sha256(server.content).hexdigest()
    )
    monkeypatch.setitem(weights.WEIGHTS, "vgg11.imagenet1k_v1", row)
    given = fcn.load_weights("vgg11.imagenet1k_v1", model=encoder, folder=tmp_path)
    jax.tree.map(np.testing.assert_array_equal, given, variables)


def test_a_file_that_is_there_already_is_checked(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=rf"net.pth is not the published file: its SHA-256 is \w+, not {DIGEST}...; remove it"):
        download("http://127.0.0.1:1/net.pth", DIGEST, tmp_path)
    assert (tmp_path / "net.pth").read_bytes() == b"damaged"


class TestHub:
    """Repositories of the Hugging Face hub; `HF_HUB_OFFLINE` is what huggingface_hub itself obeys."""

    @pytest.fixture
    def encoder(self, monkeypatch):
        monkeypatch.setitem(weights.WEIGHTS, "vgg11.hub", weights.Weights("vgg11", "smp", "hub:owner/vgg11"))
        return fcn.create_encoder("vgg11", width_multiplier=1 / 32)

    @pytest.fixture
    def content(self, encoder):
        pytest.importorskip("torch", reason="to_torch takes PyTorch")
        variables = random_variables(encoder, 1, 32, 32, 3)
        return save({name: t.numpy() for name, t in fcn.to_torch(encoder, variables, source="smp").items()}), variables

    def test_a_file_put_there_by_hand(self, encoder, content, tmp_path):
        (tmp_path / "owner--vgg11.safetensors").write_bytes(content[0])
        given = fcn.load_weights("vgg11.hub", model=encoder, folder=tmp_path)
        jax.tree.map(np.testing.assert_array_equal, given, content[1])

    def test_the_cache_is_enough(self, encoder, content, tmp_path):
        pytest.importorskip("huggingface_hub", reason="install '.[hub]'")
        repository = tmp_path / "models--owner--vgg11"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("abc")
        (repository / "snapshots" / "abc").mkdir(parents=True)
        (repository / "snapshots" / "abc" / "model.safetensors").write_bytes(content[0])
        given = fcn.load_weights("vgg11.hub", model=encoder, folder=tmp_path)
        jax.tree.map(np.testing.assert_array_equal, given, content[1])

    def test_offline(self, encoder, tmp_path, monkeypatch):
        constants = pytest.importorskip("huggingface_hub", reason="install '.[hub]'").constants
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        message = r"owner/vgg11/resolve/main/model.safetensors cannot be had \(.*put it at .*owner--vgg11.safetensors"
        with pytest.raises(ConnectionError, match=message):
            fcn.load_weights("vgg11.hub", model=encoder, folder=tmp_path)


def test_unknown_weights():
    with pytest.raises(ValueError, match=r"unknown weights 'resnet50.imagenet1k_v3'; did you mean 'resnet50.imagenet1k_v"):
        fcn.load_weights("resnet50.imagenet1k_v3")
    with pytest.raises(ValueError, match=r"'swin_tiny'; did you mean 'swin_tiny.ms_in1k'\?"):
        fcn.load_weights("swin_tiny")
    with pytest.raises(ValueError, match=rf"unknown weights 'qqqq'; the nearest of {len(WEIGHTS)} are (\S+, ){{4}}\S+$"):
        fcn.load_weights("qqqq")


def test_table():
    """Every row names what this library has, and every file its checksum."""
    for name, row in WEIGHTS.items():
        assert name.startswith(f"{row.model}.")
        assert row.model in fcn.list_models() + fcn.list_encoders()
        assert row.source in weights.default_model(row).references
        if row.source == "torchvision":
            assert row.url.endswith(f"-{row.sha256}.pth") and len(row.sha256) == 8
        elif row.url.startswith("https"):
            assert len(row.sha256) == 64
