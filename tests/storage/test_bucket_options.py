"""What the environment says of a bucket and cannot be is told in words, where obstore would panic."""

from __future__ import annotations

import pytest

from storage.bucket import Bucket
from storage.bucket_options import require_sound_options
from storage.errors import PermafrostError, UsageError


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
@pytest.mark.parametrize(
    "value", ["", "minio", "localhost:9000", "ftp://a", "http://", " http://a", "http://a b", "http://a:b", "http://a:99999"]
)
def test_an_endpoint_that_is_no_address_is_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"the variable {name} of the environment is .*: expected http:// or https:// and a host"):
        require_sound_options({name: value})


def test_a_line_end_in_a_secret_is_told_without_it() -> None:
    with pytest.raises(UsageError, match="AWS_SECRET_ACCESS_KEY of the environment has a line end") as told:
        require_sound_options({"AWS_SECRET_ACCESS_KEY": "hidden\n"})
    assert "hidden" not in str(told.value)


@pytest.mark.parametrize("value", ["http://127.0.0.1:9000", "https://s3.example.org/", "http://[::1]:9000"])
def test_other_options_are_left_to_obstore(value: str) -> None:
    require_sound_options({"AWS_ENDPOINT_URL": value, "AWS_USE_FIPS_ENDPOINT": "true", "AWS_SESSION_TOKEN": ""})


def test_it_is_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "")
    with pytest.raises(PermafrostError, match="s3://of-this-test: the variable AWS_ENDPOINT_URL of the environment is ''"):
        Bucket("s3://of-this-test").size("x")
