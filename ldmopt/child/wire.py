"""Messages between processes: a length, a JSON object, and raw bytes behind it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

_HEAD = struct.Struct("<II")


def send(channel: socket.socket, message: Mapping[str, Any], blob: bytes = b"") -> None:
    """Send one message.

    Raises:
        OSError: the other side is gone.
    """
    text = json.dumps(message).encode()
    channel.sendall(_HEAD.pack(len(text), len(blob)) + text + blob)


def receive(channel: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """Wait for one message; None when the other side is gone.

    Raises:
        TimeoutError: the channel has a timeout and it passed.
    """
    head = _exactly(channel, _HEAD.size)
    if head is None:
        return None
    text_size, blob_size = _HEAD.unpack(head)
    text, blob = _exactly(channel, text_size), _exactly(channel, blob_size)
    if text is None or blob is None:
        return None
    return json.loads(text), blob


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = channel.recv(min(size - len(parts), 1 << 20))
        except ConnectionResetError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)
