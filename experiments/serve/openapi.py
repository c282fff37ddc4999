"""The description of the service that programs read: OpenAPI 3.1."""

from typing import Any

from experiments.serve.bodies import MEBIBYTE
from experiments.serve.limits import Limits

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_JSON = {"application/json": {}}
_REFUSED = {
    "400": "what was sent is no image that the network takes",
    "408": "the image came too slowly",
    "413": "the image has too many bytes or pixels",
    "429": "too many images are on their way; the header Retry-After says when to try again",
}


def describe(name: str, limits: Limits) -> dict[str, Any]:
    """The document for a network of that name."""
    return {
        "openapi": "3.1.0",
        "info": {"title": f"fcn: {name}", "version": "1", "description": "Segmentation of images."},
        "paths": {
            "/predict": {"post": _predict(limits)},
            "/health": {"get": _get("Which network is served.", _JSON)},
            "/metrics": {"get": _get("Figures for Prometheus.", {"text/plain": {}})},
            "/": {"get": _get("A page to try the network on.", {"text/html": {}})},
        },
        "components": {"schemas": {"Found": _found(), "Region": _region(), "Refused": _refused()}},
    }


def _get(about: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"summary": about, "responses": {"200": {"description": about, "content": content}}}


def _predict(limits: Limits) -> dict[str, Any]:
    form = {"type": "object", "required": ["image"], "properties": {"image": _BINARY["schema"]}}
    files = dict.fromkeys(("image/png", "image/jpeg", "image/tiff", "application/octet-stream"), _BINARY)
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}}
    found = {"image/png": _BINARY, "application/json": {"schema": {"$ref": "#/components/schemas/Found"}}}
    return {
        "summary": "What the network sees in an image.",
        "description": f"A PNG, JPEG or TIFF file of up to {limits.body / MEBIBYTE:g} MiB, as body or as file of a form.",
        "parameters": [
            _parameter("answer", ["mask", "overlay", "json"], "A mask (PNG), an overlay (PNG), or shares and masks (JSON)."),
            _parameter("picture", ["0", "1"], "JSON holds the image as PNG, too."),
        ],
        "requestBody": {"required": True, "content": files | {"multipart/form-data": {"schema": form}}},
        "responses": {
            "200": {"description": "What was found.", "content": found},
            **{status: {"description": why, "content": refused} for status, why in _REFUSED.items()},
        },
    }


def _parameter(name: str, values: list[str], about: str) -> dict[str, Any]:
    schema = {"type": "string", "enum": values, "default": values[0]}
    return {"name": name, "in": "query", "description": about, "schema": schema}


def _found() -> dict[str, Any]:
    regions = {"type": "array", "items": {"$ref": "#/components/schemas/Region"}}
    values = {"type": "array", "description": "Of regression: name, min, max and mean of each channel."}
    number = {"type": "integer"}
    fields = {"task": {"type": "string"}, "height": number, "width": number, "picture": {"type": "string"}}
    return {
        "type": "object",
        "required": ["task", "height", "width"],
        "properties": {**fields, "classes": regions, "objects": regions, "values": values},
    }


def _region() -> dict[str, Any]:
    numbers = {"type": "array", "items": {"type": "integer"}}
    encoding = {
        "type": "object",
        "description": "COCO's run lengths, outside and inside in turn, column by column; size is height and width.",
        "properties": {"size": numbers, "counts": numbers},
    }
    whole, text = {"type": "integer"}, {"type": "string"}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    fields = {"id": whole, "name": text, "colour": numbers, "pixels": whole, "share": share, "rle": encoding}
    more = {"class": text, "score": share}  # of objects
    return {"type": "object", "required": list(fields), "properties": {**fields, **more}}


def _refused() -> dict[str, Any]:
    return {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
