"""A policy server as openpi publishes it, a process of its own: prints its port; the path of the URL says how it fails.

Written from the protocol (`websocket_policy_server.py`, `msgpack_numpy.py` of openpi), not from this project's client.
"""

import os
import sys
import time

import msgpack
import numpy as np
from websockets.sync.server import serve


def encode(value):
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    return value


def decode(value):
    if b"__ndarray__" in value:
        return np.ndarray(buffer=value[b"data"], dtype=np.dtype(value[b"dtype"]), shape=value[b"shape"])
    return value


def actions_of(observation):
    """Ten steps of four actions: the state's first number, an image's mean, the prompt's length, the step's number."""
    image = observation.get("observation/image", observation.get("observation/front"))
    first = [observation["observation/state"][0], image.mean() / 255, len(observation["prompt"]) / 100]
    return np.array([[*first, step / 10] for step in range(10)])


ANSWERS = {
    "shape": lambda observation: {"actions": np.zeros((10, 7))},
    "short": lambda observation: {"actions": np.zeros((2, 4))},
    "nan": lambda observation: {"actions": np.full((10, 4), np.nan)},
    "units": lambda observation: {"actions": 25 * actions_of(observation)},
    "nothing": lambda observation: {"tokens": np.zeros(3)},
    "error": lambda observation: observation["observation/joint_position"],
}


def handle(connection):
    path = connection.request.path.strip("/")
    if path == "silent":
        time.sleep(60)
    if path == "other":
        connection.send(b"\xc1 hello")
    connection.send(msgpack.packb({"robot": "test"}, default=encode))
    for message in connection:
        observation = msgpack.unpackb(message, object_hook=decode)
        if path == "hang":
            time.sleep(60)
        if path == "die":
            os._exit(1)
        try:
            answer = ANSWERS.get(path, lambda observation: {"actions": actions_of(observation)})(observation)
        except KeyError as error:
            connection.send(f"Traceback (most recent call last):\n  ...\nKeyError: {error}")
            return
        connection.send(msgpack.packb({**answer, "server_timing": {"infer_ms": np.float64(0.1)}}, default=encode))


with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:
    print(server.socket.getsockname()[1], flush=True)
    sys.stdin.close()
    server.serve_forever()
