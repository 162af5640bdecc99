"""JupyterLab and voila on this machine only, with settings of their own, for browser tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    return os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, NAMES)), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path) -> dict[str, str]:
    """The variables of a Jupyter that knows none of the user's own settings, nor their cache."""
    own = {
        f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")
    }
    own["JUPYTERLAB_SETTINGS_DIR"] = str(folder / "settings")
    own["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / "workspaces")
    own["AIRLENS_CACHE"] = str(folder / "cache")
    own["IPYTHONDIR"] = str(folder / "ipython")
    own["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    own["PLOTLY_RENDERER"] = "plotly_mimetype"
    return os.environ | own


def write_settings(folder: Path, theme: str) -> None:
    """No news, no question about updates, and a theme."""
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    news = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(news))
    tracker = folder / "settings" / "@jupyterlab" / "notebook-extension"
    tracker.mkdir(parents=True, exist_ok=True)
    # Cells out of sight stay in the page, so that a test finds them.
    windowing = json.dumps({"windowingMode": "none"})
    (tracker / "tracker.jupyterlab-settings").write_text(windowing)
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))


@contextlib.contextmanager
def serve(command: list[str], folder: Path) -> Iterator[str]:
    """Start a server on a free port and yield its address when it answers."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = (folder / "server.log").open("wb")
    words = [word.replace("{port}", str(port)) for word in command]
    server = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=folder, env=environment(folder), stdout=log, stderr=log
    )
    try:
        _wait(server, port, folder / "server.log")
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def _wait(server: subprocess.Popen[bytes], port: int, log: Path, seconds: int = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return
        time.sleep(0.3)
    raise RuntimeError(f"no answer on port {port}: {log.read_text()[-2000:]}")


def jupyterlab(folder: Path, theme: str = "JupyterLab Light") -> Any:
    write_settings(folder, theme)
    return serve(
        [
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            "--ip=127.0.0.1",
            "--port={port}",
            "--ServerApp.port_retries=0",
            "--expose-app-in-browser",
            "--IdentityProvider.token=",
            "--KernelManager.transport=ipc",
            f"--ServerApp.root_dir={folder}",
        ],
        folder,
    )


def app(folder: Path, parameters: Mapping[str, object], *options: str) -> Any:
    """``airlens app`` with parameters of the explorers' notebook."""
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}={value!r}")]
    return serve(["airlens.cli", "app", "--no-browser", "--port={port}", *options, *given], folder)
