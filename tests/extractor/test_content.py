"""Reading items from web servers: a real server on this machine, whole and broken."""

from __future__ import annotations

import pytest

from extractor import content
from extractor.content import Content, read_content, read_stamp
from tests.extractor.site import Site


def test_a_page_is_read_and_stamped_by_its_etag(site: Site) -> None:
    site.pages["/a%20b/c.jpg"] = (200, b"one")
    assert read_content(f"{site.url}/a%20b/c.jpg") == Content(b"one")
    first = read_stamp(f"{site.url}/a%20b/c.jpg")
    assert first.value
    assert read_stamp(f"{site.url}/a%20b/c.jpg") == first
    site.pages["/a%20b/c.jpg"] = (200, b"two")
    assert read_stamp(f"{site.url}/a%20b/c.jpg") != first
    assert [line.split()[0] for line in site.asked] == ["GET", "HEAD", "HEAD", "HEAD"]


def test_a_query_is_sent_and_never_shown(site: Site) -> None:
    site.pages["/a.jpg?signature=secret"] = (200, b"signed")
    assert read_content(f"{site.url}/a.jpg?signature=secret").encoded == b"signed"
    site.pages["/b.jpg?signature=secret"] = (403, b"")
    refused = read_content(f"{site.url}/b.jpg?signature=secret")
    assert refused.reason == "unreadable"
    assert "secret" not in refused.message


def test_what_a_server_does_not_have_is_missing_and_what_it_hides_is_left_to_reading(site: Site) -> None:
    site.pages["/hidden.jpg"] = (403, b"")
    assert read_stamp(f"{site.url}/gone.jpg").reason == "missing"
    hidden = read_stamp(f"{site.url}/hidden.jpg")
    assert (hidden.value, hidden.reason) == ("", "")
    assert "403" in hidden.message
    assert read_content(f"{site.url}/hidden.jpg").reason == "unreadable"


def test_a_huge_answer_is_refused_by_its_length(site: Site) -> None:
    site.pages["/a.jpg"] = (200, b"huge")
    assert read_content(f"{site.url}/a.jpg").reason == "too-large"


@pytest.mark.parametrize("location", ["foo://bar/a.jpg", "http://[bad/a.jpg", "http://127.0.0.1:9/a.jpg"])
def test_a_uri_that_leads_nowhere_is_unreadable_in_words(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_RETRIES", {"max_retries": 0})
    content._store.cache_clear()
    assert read_content(location).reason == "unreadable"
    stamp = read_stamp(location)
    assert (stamp.value, stamp.reason, bool(stamp.message)) == ("", "", True)
    content._store.cache_clear()


def test_an_endpoint_that_is_none_is_told_of_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "")
    found = read_content("s3://bucket-of-this-test/a.jpg", max_bytes=100)
    assert (found.reason, "the variable AWS_ENDPOINT_URL of the environment is ''" in found.message) == ("unreadable", True)
