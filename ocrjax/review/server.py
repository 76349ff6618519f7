"""The server of the review page, for this machine only.

The server listens on the loopback interface. Its address holds a random token, which every request
needs; requests from other pages (`Origin`, `Host`, `Sec-Fetch-Site`) are refused, and the page may
not contact any other address.

Host code: no jax.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

import cv2
import numpy as np

from ocrcore.images import ImageError, encode_image, load_image
from ocrjax.review.session import ConflictError, EditError, Session

_MOST = 1 << 16  # most bytes of a request
_SIDE = 2560  # longest side of a served image in pixels
_KEPT = 16  # images in memory
_TIMEOUT = 30.0  # seconds within which a request must arrive
_ASSETS = {
    "": ("review.html", "text/html; charset=utf-8"),
    "review.css": ("review.css", "text/css; charset=utf-8"),
    "review.js": ("review.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class ReviewServer(ThreadingHTTPServer):
    """Serves a session.

    Args:
        session: the review.
        save: writes the current labels and returns a line for the user; raises ValueError or
            OSError.
        port: port on the loopback interface; 0: a free one.
        title: title of the page.

    Attributes:
        address: URL of the page, with the token.
    """

    daemon_threads = True

    def __init__(
        self, session: Session, save: Callable[[], str], *, port: int = 0, title: str = ""
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.session, self.save, self.title = session, save, title
        self.token = secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}
        self.address = f"http://127.0.0.1:{self.server_port}/{self.token}/"
        self.picture = lru_cache(_KEPT)(self._picture)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that closed the connection."""

    def _picture(self, number: int) -> bytes:
        """An image in the orientation of its labels, as JPEG; large ones are scaled down."""
        image = load_image(str(self.session.pages[number].path))
        scale = min(1.0, _SIDE / max(image.shape[:2]))
        if scale < 1:
            size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        return encode_image(image, suffix=".jpg", quality=92)


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    server_version = "ocrjax"
    sys_version = ""
    timeout = _TIMEOUT

    def do_GET(self) -> None:
        """Answer with the page, one of its files, words or an image."""
        place = self._place()
        if place is None:
            return
        session = self.server.session
        if place in _ASSETS:
            name, kind = _ASSETS[place]
            self._send((files("ocrjax.review") / "assets" / name).read_bytes(), kind)
        elif place == "items":
            pages = [
                {"name": str(page.path), "width": page.width, "height": page.height}
                for page in session.pages
            ]
            items = session.states()
            self._json({"title": self.server.title, "pages": pages, "items": items})
        elif (number := self._number(place, "words/")) is not None:
            self._json(session.words_of(number))
        elif (number := self._number(place, "picture/")) is not None:
            try:
                self._send(self.server.picture(number), "image/jpeg")
            except ImageError as error:
                self._json({"error": str(error)}, HTTPStatus.NOT_FOUND)
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Apply a change, or save."""
        place = self._place()
        if place is None:
            return
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get("Content-Type", "")
        if kind != "application/json" or not length.isdecimal() or int(length) > _MOST:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        try:
            value = json.loads(self.rfile.read(int(length)))
            if not isinstance(value, dict):
                raise EditError("expected a JSON object")
            if place == "edit":
                self._json(self.server.session.edit(value))
            elif place == "save":
                self._json({"said": self.server.save()})
            else:
                self._refuse(HTTPStatus.NOT_FOUND)
        except ConflictError as error:
            self._json({"error": str(error)}, HTTPStatus.CONFLICT)
        except (ValueError, RecursionError) as error:
            self._json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except OSError as error:
            self._json({"error": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log no requests: their address holds the token."""

    def _place(self) -> str | None:
        """The requested path after the token; None if the request was refused."""
        own = f"http://{self.headers.get('Host', '')}"
        foreign = (
            self.headers.get("Host") not in self.server.hosts
            or self.headers.get("Origin", own) != own
            or self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        )
        token, _, place = self.path.partition("?")[0].removeprefix("/").partition("/")
        if foreign:
            self._refuse(HTTPStatus.FORBIDDEN)
            return None
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        return place

    def _number(self, place: str, prefix: str) -> int | None:
        """The page number after a prefix; None if there is none."""
        digits = place.removeprefix(prefix)
        if digits == place or not (digits.isascii() and digits.isdecimal()) or len(digits) > 9:
            return None
        return int(digits) if int(digits) < len(self.server.session.pages) else None

    def _json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        data = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        self._send(data, "application/json", status)

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._send(status.phrase.encode(), "text/plain; charset=utf-8", status)

    def _send(self, data: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
