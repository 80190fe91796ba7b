"""What a server says of its files, as far as it is believed."""

from email.message import Message
from http.client import HTTPResponse
from urllib.error import HTTPError

from generators.hub.download import answered, extent, remember, resumable


def test_weak_tags_do_not_tell_versions_apart(tmp_path):
    cases = [({"ETag": 'W/"1"'}, None), ({"ETag": '"1"'}, '"1"'), ({"Last-Modified": "today"}, "today")]
    for headers, version in cases:
        message = Message()
        for key, value in headers.items():
            message[key] = value
        (tmp_path / "part").write_bytes(b"123")
        remember(tmp_path / "part", "a", message)
        assert resumable("a", tmp_path / "part") == ((3, version) if version else (0, ""))


def test_numbers_of_a_server_that_are_none(tmp_path):
    for said, wanted in (("5", 5.0), ("\u00b2", 0.0), ("9" * 5000, 0.0), ("soon", 0.0)):
        error = HTTPError("a", 503, "", {"Retry-After": said}, None)  # type: ignore[arg-type]
        assert answered(error, "a", tmp_path / "part").wait == wanted  # type: ignore[attr-defined]
    response = HTTPResponse.__new__(HTTPResponse)
    response.fp, response.status = None, 206  # type: ignore[assignment]
    response.headers = Message()  # type: ignore[assignment]
    response.headers["Content-Range"] = "bytes " + "9" * 5000 + "-1/*"
    assert extent(response) == (-1, None)
