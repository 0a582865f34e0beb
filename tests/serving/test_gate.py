"""Who is let in, and what every answer says to browsers."""

import asyncio
import socket

import httpx
import pytest

from qinn.serving.gate import Gate, is_allowed_host
from qinn.serving.options import ServeOptions

from .conftest import TOKEN, Served

PAGE = ["/", "/page.js", "/api.js", "/recorder.js", "/timeline.js", "/page.css", "/clip.css", "/icon.svg"]
BELOW = [
    "/api/v1/about",
    "/api/v1/openapi.json",
    "/api/v1/clips/x",
    "/api/v1/clips/x/events",
    "/api/v1/nothing",
]
BELOW += ["/api/v1/clips/x/result", "/api/v1/clips/x/fragment", "/api/v1/clips/x/page"]


@pytest.mark.parametrize("path", BELOW)
@pytest.mark.parametrize("authorization", [None, "Bearer", f"Bearer {TOKEN}x", TOKEN, f"bearer {TOKEN}"])
def test_without_the_token_nothing_is_answered(served: Served, path, authorization):
    head = {} if authorization is None else {"Authorization": authorization}
    answer = httpx.get(served.server.url + path, headers=head, trust_env=False)
    assert answer.status_code == 403
    assert answer.json()["error"].startswith("The token is missing or wrong")


def test_a_clip_without_the_token_is_not_taken(served: Served, clip):
    assert httpx.post(served.server.url + "/api/v1/clips", content=clip, trust_env=False).status_code == 403
    assert served.spooled() == []


@pytest.mark.parametrize("path", PAGE)
def test_the_page_itself_needs_no_token_and_holds_none(served: Served, path):
    answer = httpx.get(served.server.url + path, trust_env=False)
    assert answer.status_code == 200
    assert TOKEN not in answer.text


@pytest.mark.parametrize("path", ["/", "/api/v1/about", "/nothing", "/../pyproject.toml", "/page/index.html"])
def test_every_answer_has_the_heads_that_keep_browsers_in(served: Served, path):
    refused = httpx.get(served.server.url + path, trust_env=False)
    for head in (served.client.get(path).headers, refused.headers):
        policy = dict(part.strip().split(" ", 1) for part in head["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in head["content-security-policy"]
        assert head["x-content-type-options"] == "nosniff"
        assert head["referrer-policy"] == "no-referrer"
        assert "geolocation=()" in head["permissions-policy"]
        assert head["cache-control"] == ("no-store" if path.startswith("/api") else "no-cache")
        assert "server" not in head


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.1"]
)
def test_under_the_name_of_another_nothing_is_answered(served: Served, host):
    for path in ("/", "/api/v1/about"):
        answer = served.client.get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert "--name NAME" in answer.json()["error"]


def test_who_names_no_host_is_not_answered(served: Served):
    host, port = served.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"GET /api/v1/about HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 421 ")


def test_pages_of_others_are_refused(served: Served):
    ours = served.server.url
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        ours.replace("127.0.0.1", "localhost"),
    ):
        assert served.client.get("/api/v1/about", headers={"Origin": origin}).status_code == 403
    assert served.client.get("/api/v1/about", headers={"Origin": ours}).status_code == 200
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        assert served.client.get("/api/v1/about", headers={"Sec-Fetch-Site": site}).status_code == status


@pytest.mark.parametrize(
    ("path", "heads", "status"),
    [
        ("/", {}, 200),
        ("/", {"origin": ["http://evil.example"]}, 403),
        ("/api/v1/about", {}, 200),
        ("/api/v1/about", {"origin": ["http://localhost", "http://evil.example"]}, 403),
        ("/api/v1/about", {"host": ["localhost", "evil.example"]}, 421),
        ("/api/v1/about", {"host": ["localhost", "localhost"]}, 421),
        ("/api/v1/about", {"authorization": [f"Bearer {TOKEN}", "Bearer x"]}, 403),
        ("/api/v1/about", {"authorization": [f"Bearer {TOKEN}", f"Bearer {TOKEN}"]}, 403),
    ],
    ids=str,
)
def test_whatever_is_said_twice_is_not_believed(path, heads, status):
    sent = {"host": ["localhost"], "authorization": [f"Bearer {TOKEN}"], **heads}
    said = [(name.encode(), value.encode()) for name, values in sent.items() for value in values]
    answers = []

    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        answers.append(message)

    async def receive():
        raise AssertionError("nothing of a body is needed")

    gate = Gate(answer, token=TOKEN, private=True)
    asyncio.run(gate({"type": "http", "path": path, "headers": said}, receive, send))
    assert answers[0]["status"] == status


@pytest.mark.parametrize(
    ("host", "private", "allowed"),
    [
        ("localhost", True, True),
        ("LOCALHOST:8000", True, True),
        ("[::1]:8000", True, True),
        ("192.168.1.7:8000", True, False),
        ("192.168.1.7:8000", False, True),
        ("[fe80::1]:8000", False, True),
        ("lab.example", False, True),
        ("other.example", False, False),
        ("1.2.3.4.evil.example", False, False),
    ],
)
def test_names_of_ours(host, private, allowed):
    assert is_allowed_host(host, private=private, names={"lab.example"}) is allowed


def test_only_addresses_of_this_machine_are_private():
    for host, private in (("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)):
        assert ServeOptions(host=host).is_private is private
    assert not ServeOptions(host="lab.example").is_private
