"""The end of a service: what is under way is finished."""

import io
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="a service needs the extra: pip install -e '.[serve]'")

from experiments.serve.server import address, listen
from tests.conftest import ROOT
from tests.experiments.serve.conftest import Client

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


def test_a_port_that_is_taken_is_told():
    with listen("127.0.0.1", 0) as listener:
        host, port = listener.getsockname()
        assert address(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError, match=rf"127.0.0.1:{port} is not to be had: Address already in use.*--port"):
            listen(host, port)
