"""Cross-origin requests (CORS), where the settings name any origins."""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from anomaly_platform.serving.http.request_context import REQUEST_ID
from anomaly_platform.serving.problems import ApiProblem, problem_response

REQUEST_HEADERS: Final = (
    *("Authorization", "Content-Type", "Idempotency-Key"),
    *("Prefer", "X-API-Key", REQUEST_ID),
)
"""What a page may send."""

ANSWER_HEADERS: Final = (
    *("Accept", "Accept-Encoding", "Location", "RateLimit", "RateLimit-Policy"),
    *("Retry-After", "WWW-Authenticate", REQUEST_ID),
    *("X-Duplicates", "X-Left-Out", "X-Model-Version", "X-Quarantined"),
)
"""What a page may read of an answer, beside its body."""


class CrossOrigin(CORSMiddleware):
    """Middleware: answers preflight requests; a refusal is a problem document (403)."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return what a page may do, or why it may not."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        refused = bytes(answer.body).decode().removeprefix("Disallowed CORS ")
        problem = problem_response(
            ApiProblem(403, f"pages of other origins may not ask this: {refused}")
        )
        kept = MutableHeaders(raw=problem.raw_headers)
        for name, value in answer.headers.items():
            kept.setdefault(name, value)
        return problem
