"""What is told of errors of object stores. The texts are obstore's own, of a machine without credentials."""

from __future__ import annotations

import pytest

from storage.remote_errors import MAX_CHARACTERS, is_refusal, remote_error

SAID = "in 1.0ms - Server returned non-2xx status code: 403 Forbidden"


@pytest.mark.parametrize(
    ("error", "variable"),
    [
        (f"Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token {SAID}", "AWS_SKIP_SIGNATURE=true"),
        (
            "Generic GCS error: Error performing token request: Error performing GET "
            f"http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token?audience=x {SAID}",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
        (
            "Generic MicrosoftAzure error: Error performing token request: Error performing GET "
            f"http://169.254.169.254/metadata/identity/oauth2/token?x=y {SAID}",
            "AZURE_STORAGE_ACCOUNT_KEY",
        ),
        ("Generic MicrosoftAzure error: Account must be specified", "AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_without_credentials_the_way_out_is_told_and_no_address_of_the_machine(error: str, variable: str) -> None:
    told = remote_error(OSError(error))
    assert told.startswith("there are no credentials in the environment")
    assert variable in told
    assert "169.254" not in told


def test_other_errors_are_told_in_one_line_without_what_may_be_a_signature() -> None:
    error = OSError("Generic S3 error: Error performing GET https://b.s3.amazonaws.com/a.tar?X-Amz-Signature=secret in 1ms\n\nDebug: x")
    assert remote_error(error) == "Generic S3 error: Error performing GET https://b.s3.amazonaws.com/a.tar?..."
    assert remote_error(OSError("")) == ""


def test_a_message_does_not_tell_how_long_it_took() -> None:
    said = (
        "Generic HTTP error: Error performing GET http://h/x.jpg in {}, after 4 retries, max_retries: 4, retry_timeout: 60s  - HTTP error"
    )
    told = {remote_error(OSError(said.format(seconds))) for seconds in ("1.129223815s", "700.6ms", "12µs")}
    assert told == {"Generic HTTP error: Error performing GET http://h/x.jpg  - HTTP error"}


def test_a_long_message_ends_between_words() -> None:
    told = remote_error(OSError("cannot reach " + "http://host/" + "x" * MAX_CHARACTERS + " and more"))
    assert told == "cannot reach ..."


def test_a_refusal_is_told_from_keys_that_are_wrong() -> None:
    said = "Error performing PUT http://h/b/a - Server returned non-2xx status code: 403 Forbidden: <?xml?>\n<Error><Code>{}</Code></Error>"
    assert is_refusal(OSError(said.format("AccessDenied")))
    assert not is_refusal(OSError(said.format("SignatureDoesNotMatch")))
