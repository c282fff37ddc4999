"""The start of a service, and its end: what is under way is finished."""

import io
import re
import signal
import socket
import subprocess
import sys
import threading

import flax.linen as nn
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="a service needs the extra: pip install -e '.[serve]'")

from experiments.building import networks
from experiments.serve import server
from experiments.serve.__main__ import main
from experiments.serve.limits import Limits
from experiments.serve.server import address, listen
from fcn.preprocessing import Preprocessing
from fcn.pretrained import Saved
from tests.conftest import ROOT
from tests.experiments.serve.conftest import Client


class Pixels(nn.Module):
    """Two classes by colour."""

    num_classes: int = 2

    def __call__(self, x):
        return x[..., :2]


PROGRAM = """
import threading
from experiments.serve import app, limits, server
from tests.experiments.serve.conftest import Light

class Slow(Light):
    def scores(self, group):
        print("begun", flush=True)
        threading.Event().wait(0.5)
        return super().scores(group)

with server.listen("127.0.0.1", 0) as listener:
    print(listener.getsockname()[1], flush=True)
    server.serve(app.make_app(Slow(), limits.Limits(window=0)), listener)
"""


@pytest.mark.slow  # a process starts
def test_sigterm_ends_it_when_all_is_answered():
    image = io.BytesIO()
    Image.fromarray(np.full((3, 3, 3), 255, np.uint8)).save(image, "PNG")
    answers = []
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        port = int(process.stdout.readline())
        asking = threading.Thread(target=lambda: answers.append(Client(port)("/predict", image.getvalue())))
        asking.start()
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        asking.join(20)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
    assert answers[0].status == 200 and (answers[0].pixels == 1).all()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_the_command(monkeypatch, capsys):
    """A published network, its limits, and where it is served."""
    saved = Saved(Pixels(), {}, ("dark", "light"), None, Preprocessing(), None)
    monkeypatch.setattr(networks, "open_network", lambda name: saved)
    served = []
    monkeypatch.setattr(server, "serve", lambda app, listener: served.append(app))
    main(["published", "--port", "0", "--compile", "8", "8", "--batch", "2", "--max-megabytes", "0.5", "--wait", "3"])
    assert re.fullmatch(r"published is served at http://127.0.0.1:\d+; Ctrl-C ends it\n", capsys.readouterr().out)
    service = served[0].routes[0].endpoint.__self__
    assert service.limits == Limits(batch=2, window=0.003, body=2**19)
    assert service.served.task.classes == ("dark", "light")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("lraspp_mobilenet_v3_larg.coco_voc", ValueError, "did you mean 'lraspp_mobilenet_v3_large.coco_voc'"),
        ("runs/none", FileNotFoundError, "runs/none is no folder"),
    ],
)
def test_networks_that_are_not_there(name, error, said):
    with pytest.raises(error, match=said):
        networks.named(name)


def test_a_port_that_is_taken_is_told():
    with listen("127.0.0.1", 0) as listener:
        host, port = listener.getsockname()
        assert address(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError, match=rf"127.0.0.1:{port} is not to be had: Address already in use.*--port"):
            listen(host, port)
