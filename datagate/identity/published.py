"""Key sets where issuers publish them: in a file, or at a URL that is asked seldom and believed for a while only."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from urllib.parse import SplitResult, urlsplit

from joserfc.jwk import Key

from datagate.errors import InterfaceError, TokenRefused
from datagate.identity.compact import refusal
from datagate.identity.keys import LARGEST_SET, PublishedKey, choose, read_keys

Monotonic = Callable[[], float]


class JwksFile:
    """A key set in a file; read again when the file changes.

    Args:
        path: The file, a JWK set as RFC 7517 (5) has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[PublishedKey, ...] = ()

    def find(self, kid: str | None, alg: str) -> Key:
        """The one key that may verify; TokenRefused where there is none, or the file cannot be read."""
        with self._lock:
            try:
                found = self._path.stat()
                stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
                if stamp != self._stamp:
                    self._stamp = None
                    self._keys = read_keys(self._path.read_bytes())
                    self._stamp = stamp
            except OSError as error:
                raise refusal(f"the key set cannot be read: {error.strerror}") from None
            keys = self._keys
        key = choose(keys, kid, alg)
        if key is None:
            raise refusal(f"no key of id {kid!r:.80} for {alg}")
        return key


class JwksUrl:
    """A key set at a URL, kept for a while.

    A key id that is not among the kept keys has the set fetched again, but no more often than ``refresh_seconds``: who
    makes up key ids makes no requests. Redirects are not followed.

    Args:
        url: https, or http on a loopback address.
        keep_seconds: How long a fetched set is used before it is fetched again.
        stale_seconds: How long it is used where fetching it again fails; after that, no token is accepted.
        refresh_seconds: The least time between two fetches.
        timeout_seconds: For one fetch as a whole.
        trust: The certificates to trust; the system's by default.
        clock: Counts seconds.

    Raises:
        InterfaceError: A URL that anybody on the way could answer in the issuer's place.
    """

    def __init__(
        self,
        url: str,
        *,
        keep_seconds: float = 600,
        stale_seconds: float = 3600,
        refresh_seconds: float = 30,
        timeout_seconds: float = 5,
        trust: ssl.SSLContext | None = None,
        clock: Monotonic = time.monotonic,
    ) -> None:
        self._where = _checked(url)
        self._keep, self._stale, self._refresh = keep_seconds, stale_seconds, refresh_seconds
        self._timeout = timeout_seconds
        self._trust = trust
        self._clock = clock
        self._lock = Lock()
        self._keys: tuple[PublishedKey, ...] = ()
        self._fetched: float | None = None
        self._tried: float | None = None
        self._problem = "it was never fetched"

    def find(self, kid: str | None, alg: str) -> Key:
        """The one key that may verify; TokenRefused where there is none, or the issuer does not answer."""
        with self._lock:
            if self._age() >= self._keep:
                self._fetch()
            if self._age() >= self._stale:
                raise refusal(f"the key set cannot be had: {self._problem}")
            key = choose(self._keys, kid, alg)
            if key is None:
                self._fetch()
                key = choose(self._keys, kid, alg)
        if key is None:
            raise refusal(f"no key of id {kid!r:.80} for {alg}")
        return key

    def _age(self) -> float:
        return float("inf") if self._fetched is None else self._clock() - self._fetched

    def _fetch(self) -> None:
        """Fetch the set, unless that was tried a moment ago; what was kept stays where it fails."""
        now = self._clock()
        if self._tried is not None and now - self._tried < self._refresh:
            return
        self._tried = now
        try:
            self._keys = read_keys(self._get())
        except (OSError, http.client.HTTPException) as error:
            self._problem = f"{type(error).__name__}: {error}"[:200]
        except TokenRefused as error:
            self._problem = error.audit_reason or error.message
        else:
            self._fetched = now

    def _get(self) -> bytes:
        connection = self._connection()
        deadline = self._clock() + self._timeout
        try:
            target = self._where.path or "/"
            query = f"?{self._where.query}" if self._where.query else ""
            connection.request("GET", target + query, headers={"Accept": "application/jwk-set+json, application/json"})
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise OSError(f"the issuer answered with status {response.status}")
            body = b""
            while chunk := response.read1(65_536):
                body += chunk
                if len(body) > LARGEST_SET:
                    raise OSError(f"the key set is larger than {LARGEST_SET} bytes")
                if self._clock() > deadline:
                    raise TimeoutError("the issuer is too slow")
            return body
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._where.hostname or "", self._where.port
        if self._where.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        trust = self._trust if self._trust is not None else ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=trust)


def _checked(url: str) -> SplitResult:
    where = urlsplit(url)
    local = where.scheme == "http" and _is_loopback(where.hostname or "")
    if not where.hostname or not (where.scheme == "https" or local) or where.username is not None:
        raise InterfaceError(f"a key set's URL is https://…, or http:// on a loopback address, not {url!r}")
    return where


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
