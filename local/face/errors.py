"""The Face API's errors, with its texts."""

import math


class ApiError(Exception):
    """A call that ends with an error of the API.

    Args:
        status: HTTP status.
        code: FaceError code.
        message: FaceError message.
        retry_after: seconds, for the `Retry-After` header.
        inner: code of the operation's error, where the gateway wraps it in another one.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: int | None = None,
        inner: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.inner = inner
        self.headers: dict[str, str] = {}

    @property
    def body(self) -> dict[str, object]:
        """The FaceErrorResponse."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner, "message": self.message}
        return {"error": error}


def throttled(wait: float) -> ApiError:
    """The error of a call beyond the rate limit; `wait`: seconds until one may be made again."""
    seconds = max(1, math.ceil(wait))
    unit = "second" if seconds == 1 else "seconds"
    return ApiError(
        429,
        "429",
        "Requests to the Face API have exceeded the rate limit of this resource. "
        f"Please retry after {seconds} {unit}.",
        retry_after=seconds,
    )


def unauthorized() -> ApiError:
    """The error of a call whose token is not accepted."""
    return ApiError(
        401,
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint, or the token is "
        "invalid or expired.",
    )


def method_not_allowed(allowed: str) -> ApiError:
    """The error of a call with a method that the path does not have; `allowed`: those it has."""
    error = ApiError(405, "MethodNotAllowed", "The method is not allowed.")
    error.headers["Allow"] = allowed
    return error


def session_not_found() -> ApiError:
    """The error of a call for a session that has expired or does not exist."""
    return ApiError(404, "SessionNotFound", "Session not found.")


def unknown_resource() -> ApiError:
    """The error of a call to a path or API version that does not exist."""
    return ApiError(404, "404", "Resource not found")
