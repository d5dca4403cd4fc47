"""Off-screen views of a MuJoCo world that stay right whatever other OpenGL contexts come and go.

An OpenGL call acts on the context that happens to be current. A renderer that draws, or frees its objects, without
making its own context current first hits a stranger's: the next frame of that stranger is silently garbage. This one
makes its own context current before drawing and before freeing, and leaves none current behind, so that a careless
renderer elsewhere in the process cannot free objects of ours either.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_open: weakref.WeakSet[OffscreenRenderer] = weakref.WeakSet()


class OffscreenRenderer:
    """Draws named cameras of one model without shadows, reflections and multisampling (3 times as fast).

    The OpenGL context is created by the first `render`, so a world that is never looked at needs no OpenGL.

    Args:
        model: the `mujoco.MjModel` to draw; its off-screen buffer settings are changed.
        cameras: view name -> camera name in the model.
        image_size: height and width of a frame [pixels], at least 8.
        geom_groups: geom groups to draw; None keeps MuJoCo's default.
    """

    def __init__(
        self, model, cameras: Mapping[str, str], image_size: int, geom_groups: Sequence[int] | None = None
    ) -> None:
        if not 8 <= image_size <= 1024:
            raise ValueError(f"image_size={image_size} is outside [8, 1024]: choose the side of a frame in pixels")
        self._model = model
        self._cameras = dict(cameras)
        self._size = image_size
        self._geom_groups = geom_groups
        self._gl: Any = None

    def render(self, data) -> dict[str, np.ndarray]:
        """Frames of every camera, view -> uint8 (image_size, image_size, 3), first row at the top.

        Raises:
            ValueError: this machine offers no off-screen OpenGL.
            RuntimeError: OpenGL reported an error, so the frame would be garbage.
        """
        import mujoco

        if self._gl is None:
            self._open_context()
        frames = {}
        rectangle = mujoco.MjrRect(0, 0, self._size, self._size)
        self._gl.make_current()
        try:
            for view, camera in self._cameras.items():
                frame = np.zeros((self._size, self._size, 3), np.uint8)
                self._camera.fixedcamid = self._model.camera(camera).id
                mujoco.mjv_updateScene(
                    self._model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
                )
                mujoco.mjr_render(rectangle, self._scene, self._drawing)
                mujoco.mjr_readPixels(frame, None, rectangle, self._drawing)
                error = mujoco.mjr_getError()
                if error:
                    raise RuntimeError(f"OpenGL error {error} while drawing view {view!r}: the frame is not usable")
                frames[view] = np.ascontiguousarray(frame[::-1])
        finally:
            _release_current_context()
        return frames

    def close(self) -> None:
        """Free the OpenGL objects; a later `render` creates them anew."""
        if self._gl is None:
            return
        gl, self._gl = self._gl, None
        gl.make_current()
        self._drawing.free()
        gl.free()
        _open.discard(self)

    def _open_context(self) -> None:
        import mujoco

        self._model.vis.quality.offsamples = 0
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = self._size
        gl = _new_context(self._size)
        gl.make_current()
        try:
            self._drawing = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)
        finally:
            _release_current_context()
        self._scene = mujoco.MjvScene(self._model, maxgeom=1000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._options = mujoco.MjvOption()
        if self._geom_groups is not None:
            self._options.geomgroup[:] = [group in self._geom_groups for group in range(mujoco.mjNGROUP)]
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        if not _open:
            # Registered after the binding's own "terminate the display at exit", therefore run before it.
            atexit.unregister(_close_all)
            atexit.register(_close_all)
        self._gl = gl
        _open.add(self)

    def __del__(self) -> None:
        if getattr(self, "_gl", None) is not None:
            self.close()


def _backend() -> str:
    default = "egl" if sys.platform == "linux" else "glfw"
    return os.environ.get("MUJOCO_GL", "").lower().strip() or default


def _new_context(size: int):
    """A context of the backend MUJOCO_GL names, EGL on Linux when unset, even if mujoco was imported before that."""
    backend = _backend()
    os.environ.setdefault("MUJOCO_GL", backend)
    try:
        if backend == "egl":
            from mujoco.egl import GLContext
        elif backend == "osmesa":
            from mujoco.osmesa import GLContext
        else:
            from mujoco import GLContext
        return GLContext(size, size)
    except Exception as error:  # the GL libraries raise many types
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"no off-screen OpenGL with MUJOCO_GL={backend} ({reason}); install libegl1, libegl-mesa0 and "
            "libgl1-mesa-dri, or set MUJOCO_GL=osmesa with libosmesa6, or ask for no cameras (cameras=())"
        ) from error


def _release_current_context() -> None:
    backend = _backend()
    if backend == "egl":
        from mujoco.egl import egl_ext

        egl_ext.eglReleaseThread()
    elif backend == "osmesa":
        from mujoco.osmesa import GL, osmesa

        osmesa.OSMesaMakeCurrent(None, None, GL.GL_FLOAT, 0, 0)


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()
