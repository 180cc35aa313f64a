"""JupyterLab as we start it: nobody gets in without its token, and nobody from another machine or page."""

import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tools import lab


@pytest.fixture(scope="module")
def address():
    with lab.serve_notebooks() as address:
        yield address


def status(address, **options):
    """What the server answers a request with."""
    try:
        return urllib.request.urlopen(urllib.request.Request(address, **options), timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def test_notebooks_are_not_read_without_the_token(address):
    assert status(f"{address}/api/contents") == 403
    assert status(f"{address}/api/contents?token=guess") == 403
    assert status(f"{address}/api/contents?token={lab.TOKEN}") == 200


@pytest.mark.parametrize(("headers", "answer"), [({"Origin": "http://elsewhere"}, 404), ({}, 403)])
def test_a_kernel_is_not_started_from_another_page(address, headers, answer):
    """A browser that is logged in by its cookie sends it from any page, but not the XSRF token."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    opener.open(f"{address}/lab?token={lab.TOKEN}", timeout=10)
    assert opener.open(f"{address}/api/contents", timeout=10).status == 200
    foreign = urllib.request.Request(f"{address}/api/kernels", data=b"{}", headers=headers)
    with pytest.raises(urllib.error.HTTPError, match=str(answer)):
        opener.open(foreign, timeout=10)


def test_the_server_listens_on_this_machine_only(address):
    port = int(urllib.parse.urlparse(address).port)
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    listening = {local for _, local, _, state, *_ in sockets if state == "0A"}
    assert {local for local in listening if local.endswith(f":{port:04X}")} <= {f"0100007F:{port:04X}"}  # 127.0.0.1


def test_make_lab_switches_no_protection_off():
    recipe = re.search(r"^lab:.*\n((?:\t.*\n)+)", (lab.NOTEBOOKS.parent / "Makefile").read_text(encoding="utf-8"), re.M)
    for weakness in ("token", "password", "xsrf", "--ip", "allow_origin", "allow_remote"):
        assert weakness not in recipe[1]
