"""A real JupyterLab on localhost, seen through the system's Chromium: for browser tests and for screenshots."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
INSTALL = "no Chromium found; install it with: sudo apt-get install chromium   (macOS: brew install --cask chromium)"
TOKEN = secrets.token_hex()  # another one in every process: nobody else on this machine knows it
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false"},
}


def find_chromium() -> str | None:
    """The program: what the environment variable CHROMIUM names, else the first one that is installed."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def open_browser(chromium: str) -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def serve_notebooks(notebooks: Path = NOTEBOOKS) -> Iterator[str]:
    """The address of a JupyterLab that serves a copy of a folder of notebooks, with settings of its own.

    Raises:
        RuntimeError: if it does not answer; the message holds its log.
    """
    with tempfile.TemporaryDirectory() as folder:
        home, port = Path(folder), free_port()
        shutil.copytree(notebooks, home / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        write_settings(home / "settings")
        log = home / "log.txt"
        with start_server(home, port, log) as server:
            address = f"http://localhost:{port}"
            wait_for(f"{address}/api?token={TOKEN}", server, log)
            yield address


def write_settings(folder: Path) -> None:
    """Settings under which every cell is drawn and nothing asks for attention."""
    for name, settings in SETTINGS.items():
        file = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings), encoding="utf-8")


@contextmanager
def start_server(home: Path, port: int, log: Path) -> Iterator[subprocess.Popen]:
    """The server's process, ended afterwards."""
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--ServerApp.port={port}", f"--ServerApp.root_dir={home / 'notebooks'}"]
    command += [f"--IdentityProvider.token={TOKEN}", f"--LabApp.user_settings_dir={home / 'settings'}"]
    own = {"JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_RUNTIME_DIR": str(home / "runtime")}
    with open(log, "w", encoding="utf-8") as out:
        server = subprocess.Popen(command, env=os.environ | own, stdout=out, stderr=out)
        try:
            yield server
        finally:
            server.terminate()
            server.wait(timeout=30)


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    """Return as soon as ``url`` answers.

    Raises:
        RuntimeError: if it does not within a minute; the message holds the server's log.
    """
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"JupyterLab does not answer:\n{log.read_text(encoding='utf-8', errors='replace')}")


def open_and_run(page: Page, address: str, name: str) -> None:
    """Open a notebook of the JupyterLab at ``address``, in a workspace of its own, and run all its cells."""
    page.set_default_timeout(120_000)
    page.goto(f"{address}/lab/workspaces/{uuid.uuid4().hex}/tree/{name}?token={TOKEN}")
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.context?.isReady")
    page.evaluate("window.jupyterapp.shell.currentWidget.context.ready")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")


def close(page: Page) -> None:
    """End the kernel of the notebook in ``page``, and the page."""
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
