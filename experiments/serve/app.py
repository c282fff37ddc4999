"""The service: what is answered to which request."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from experiments import command
from experiments.serve import metrics
from experiments.serve.answers import Answer, Kind, make_answer
from experiments.serve.batching import Batcher
from experiments.serve.bodies import Bodies
from experiments.serve.limits import Limits
from experiments.serve.openapi import describe
from experiments.serve.served import Served, TooLarge
from fcn.errors import unknown

T = TypeVar("T")
PAGE = Path(__file__).with_name("page.html")
_POLICY = "default-src 'self' 'unsafe-inline' blob: data:; frame-ancestors 'none'"
"""The page loads nothing from other servers."""


class Service:
    """Answers requests for predictions of a network."""

    def __init__(self, served: Served, limits: Limits):
        self.served, self.limits = served, limits
        self._bodies = Bodies(limits.body, 8 * limits.body, limits.seconds)
        self._threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "images")
        self._waiting, self._begun = 0, 0.0
        self._requests = metrics.Counter("fcn_requests_total", "Requests for predictions.", ("answer", "status"))
        self._seconds = metrics.Histogram("fcn_request_seconds", "From the request to its answer.", metrics.SECONDS)
        self._batches = metrics.Histogram("fcn_batch_images", "Images that were predicted together.", (1, 2, 4, 8, 16, 32))
        self._work = metrics.Counter("fcn_image_processor_seconds_total", "Spent on files of images.", ("part",))
        self._batcher = Batcher(served.scores, lambda key: served.most(key, limits.batch), limits.window, self._batches.observe)

    def metrics(self) -> str:
        """Of this process, in the format of Prometheus; asked for in the thread of the event loop."""
        return metrics.text(
            (
                *(self._requests, self._seconds, self._batches, self._work),
                metrics.Computed("fcn_waiting_images", "Images on their way.", "gauge", lambda: self._waiting),
                metrics.Computed("fcn_loop_processor_seconds_total", "Spent on requests.", "counter", self._spent),
                metrics.Computed("process_cpu_seconds_total", "Spent by the process.", "counter", time.process_time),
            )
        )

    @contextlib.asynccontextmanager
    async def running(self, _=None):
        """Inside, images are predicted."""
        self._begun = time.thread_time()
        async with self._batcher.running():
            yield
        self._threads.shutdown()

    async def predict(self, request: Request) -> Response:
        """The answer to an image; what is wrong with the request is raised as HTTPException."""
        begun, kind, status = time.perf_counter(), "unknown", "500"
        try:
            kind, picture = _wanted(request)
            answer = await self._answered(request, kind, picture)
            status = "200"
            return Response(answer.body, media_type=answer.media_type)
        except ClientDisconnect:
            status = "499"  # as nginx counts them; nobody reads the answer
            return Response(status_code=400)
        except HTTPException as error:
            status = str(error.status_code)
            raise
        finally:
            self._requests.add(1, kind, status)
            self._seconds.observe(time.perf_counter() - begun)

    def _spent(self) -> float:
        return time.thread_time() - self._begun

    async def _answered(self, request: Request, kind: Kind, picture: bool) -> Answer:
        async with self._bodies.image(request) as data:
            with self._place():
                return await _unless_gone(request, self._made(data, kind, picture))

    @contextlib.contextmanager
    def _place(self):
        """One of the places in the queue."""
        if self._waiting >= self.limits.queue:
            told = f"{self.limits.queue} images are on their way already; try again in a second"
            raise HTTPException(429, told, {"retry-after": "1"})
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _made(self, data: bytes, kind: Kind, picture: bool) -> Answer:
        asked = await self._in_thread("read", lambda: self.served.read(data))
        try:
            scores = await self._batcher.submit(asked.key, asked)
        except Exception as error:
            if not command.is_out_of_memory(error):
                raise
            raise HTTPException(413, "there is not enough memory to predict an image of this size; send it smaller") from error
        known: dict[str, Any] = {"ids": self.served.label_ids, "with_picture": picture}
        return await self._in_thread("answer", lambda: make_answer(kind, self.served.task, asked.image, scores, **known))

    async def _in_thread(self, part: str, function: Callable[[], T]) -> T:
        """The result of a function; its ValueError is what is wrong with the request."""

        def timed():
            begun = time.thread_time()
            return function(), time.thread_time() - begun

        try:
            result, seconds = await asyncio.get_running_loop().run_in_executor(self._threads, timed)
        except ValueError as error:
            raise HTTPException(413 if isinstance(error, TooLarge) else 400, str(error)) from error
        self._work.add(seconds, part)
        return result


def make_app(served: Served, limits: Limits) -> Starlette:
    """The ASGI application of a network."""
    service, page = Service(served, limits), PAGE.read_text(encoding="utf-8")
    facts = {"status": "ok", "model": served.name, "task": served.task.name, "classes": list(served.task.classes)}
    documents = {
        "/": lambda: HTMLResponse(page, headers={"content-security-policy": _POLICY}),
        "/health": lambda: JSONResponse(facts),
        "/metrics": lambda: PlainTextResponse(service.metrics(), media_type=metrics.CONTENT_TYPE),
        "/openapi.json": lambda: JSONResponse(describe(served.name, limits)),
    }
    routes = [Route("/predict", service.predict, methods=["POST"])]
    routes += [Route(path, _document(make), methods=["GET"]) for path, make in documents.items()]
    handlers: dict[Any, Any] = {HTTPException: _told, Exception: _defect}
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=service.running)


def _document(make: Callable[[], Response]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def endpoint(_: Request) -> Response:
        return make()

    return endpoint


def _wanted(request: Request) -> tuple[Kind, bool]:
    """The kind of answer that a query asks for, and whether JSON is to hold the image."""
    for name in request.query_params:
        if name not in ("answer", "picture"):
            raise HTTPException(400, str(unknown("parameter", name, ("answer", "picture"))))
    kind, picture = request.query_params.get("answer", "mask"), request.query_params.get("picture", "0")
    if kind not in get_args(Kind):
        raise HTTPException(400, str(unknown("answer", kind, get_args(Kind))))
    if picture not in ("0", "1"):
        raise HTTPException(400, f"picture={picture}; it is 0 or 1")
    return cast("Kind", kind), picture == "1"


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which ends where the client does not wait for it."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _told(_: Request, error: Any) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _defect(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"a defect of the service ({type(error).__name__}); its log has more"}, 500)
